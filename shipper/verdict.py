"""What a server's answer means for one document; pure.

The answers as real servers give them (8.19, 9.4)::

    201                                          stored
    201, "failure_store": "used"                 not stored where it belongs
    409 version_conflict_engine_exception        there already
    408, 429, 5xx                                later
    401, 403, 404                                later, all of this index: rights, a write block, auto_create_index
    400 timestamp_error "… is outside of ranges of currently writable indices [[FROM,TO],…]"
    400 document_parsing_exception "… @timestamp value [T] must be smaller than TO"   (less than a second past the end)
    anything else                                never
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final


class Verdict(Enum):
    STORED = auto()
    DUPLICATE = auto()  # stored by an earlier send
    RETRY = auto()  # the server has no room now
    SHUT = auto()  # the index takes nothing until somebody mends it
    EARLY = auto()  # newer than the range of times that the stream takes; the range moves
    LATE = auto()  # older than that range: belongs into the plain stream
    REJECTED = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """One item of a bulk response. ``reason`` is the server's own, in one line."""

    verdict: Verdict
    status: int
    reason: str = ""
    ahead_s: float = 0.0  # of an EARLY document: how far beyond the end of the range it is


_MOST_WORDS: Final = 8000  # characters of a reason that are kept: it may quote a document
_OK: Final = range(200, 300)
_CONFLICT: Final = 409
_BUSY: Final = frozenset({408, 429})
_CLOSED: Final = frozenset({401, 403, 404})
_BAD: Final = 400
_SERVER_ERRORS: Final = range(500, 600)
_RANGE: Final = re.compile(r"\[(-?\d{4,}-[^,\[\]]+|null),(-?\d{4,}-[^,\[\]]+|null)\]")
_PAST_END: Final = re.compile(r"@timestamp value \[[^\]]+\] must be smaller than ")
_BEFORE_START: Final = re.compile(r"@timestamp value \[[^\]]+\] must be larger than ")


_CREATED: Final = {"create": {"status": 201}}
_STORED: Final = Answer(Verdict.STORED, 201)


def judge(item: Mapping[str, Any], tick_ms: int) -> Answer:
    """``item``: ``{"create": {"status": …, "error": …}}``. ``tick_ms`` is the document's ``@timestamp``."""
    if item == _CREATED:
        return _STORED
    body = next(iter(item.values()))
    status = int(body["status"])
    if status in _OK:
        if body.get("failure_store") == "used":
            return Answer(Verdict.REJECTED, status, "taken by the failure store")
        return Answer(Verdict.STORED, status)
    if status == _CONFLICT:
        return Answer(Verdict.DUPLICATE, status)
    reason = _reason(body.get("error"))
    if status == _BAD:
        return Answer(*_time_verdict(reason, tick_ms, status))
    return Answer(_failure(status), status, reason)


def _failure(status: int) -> Verdict:
    if status in _BUSY or status in _SERVER_ERRORS:
        return Verdict.RETRY
    return Verdict.SHUT if status in _CLOSED else Verdict.REJECTED


def _reason(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    return f"{error.get('type')}: {str(error.get('reason'))[:_MOST_WORDS]}"


def _time_verdict(reason: str, tick_ms: int, status: int) -> tuple[Verdict, int, str, float]:
    if _PAST_END.search(reason):
        return Verdict.EARLY, status, reason, 0.0
    if _BEFORE_START.search(reason):
        return Verdict.LATE, status, reason, 0.0
    if "outside of ranges of currently writable indices" not in reason:
        return Verdict.REJECTED, status, reason, 0.0
    ends = [end for _, end in _RANGE.findall(reason)]
    newest = max((_ms(end) for end in ends), default=None)
    # The server's check and its message are cut to whole seconds
    if newest is not None and tick_ms // 1000 * 1000 >= newest // 1000 * 1000:
        return Verdict.EARLY, status, reason, (tick_ms - newest) / 1000
    return Verdict.LATE, status, reason, 0.0


def _ms(text: str) -> int:
    """Milliseconds of an ISO time; years Python cannot hold, and ``null``, are the end of time."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return -(1 << 63) if text.startswith("-") else 1 << 63
