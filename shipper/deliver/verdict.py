"""What a server's answer means for one document; pure.

The answers as real servers give them (8.19, 9.4)::

    201                                          stored
    201, "failure_store": "used"                 not stored in its stream, and no reason given: judged by its time
    409 version_conflict_engine_exception        stored before
    408, 429, 5xx                                try again
    503 unavailable_shards_exception             all of this index waits: its primary shard is not active
    401, 403, 404                                all of this index waits: privileges, a write block, auto_create_index
    400 timestamp_error "… is outside of ranges of currently writable indices [[FROM,TO],…]"
    400 document_parsing_exception "… @timestamp value [T] must be smaller than TO"   (less than a second past the end)
    400 of a type in DOCUMENT_TYPES              never
    400 of a type in INDEX_TYPES                 all of this index waits
    any other                                    doubtful: never, if the index took another document of the request

An answer of 400 does not tell whose fault it is; the error's type does, by these lists. The types are the names that
Elasticsearch derives from its exception classes (``ElasticsearchException.getExceptionName``): a class
``IndexClosedException`` is ``index_closed_exception``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

DOCUMENT_TYPES: Final = frozenset({
    "document_parsing_exception",  # org.elasticsearch.index.mapper: a value does not fit its field
    "mapper_parsing_exception",  # the same before 8.8
    "strict_dynamic_mapping_exception",  # a field that the mapping forbids
    "timestamp_error",  # DataStream.TimestampError, where its text names no range: no time that can be read
    "routing_missing_exception",
    "max_bytes_length_exceeded_exception",  # Lucene: a keyword of more than 32,766 bytes
    "x_content_parse_exception",  # org.elasticsearch.xcontent: not JSON
    "json_parse_exception",
    "parsing_exception",
})  # fmt: skip
INDEX_TYPES: Final = frozenset({
    "validation_exception",  # ShardLimitValidator: cluster.max_shards_per_node is reached
    "index_closed_exception",
    "invalid_index_name_exception",
    "invalid_index_template_exception",
    "unavailable_shards_exception",  # the primary shard is not active
    "process_cluster_event_timeout_exception",  # the master was too busy to create the index
})  # fmt: skip
_MISSING_PIPELINE: Final = "pipeline with id ["  # IngestService, as illegal_argument_exception
_LATE_MS: Final = (
    3_600_000  # for a document in the failure store: an older one is late, a newer one was rejected for another reason
)
_EARLY_MS: Final = 60_000


class Verdict(Enum):
    """What a server's answer means for a document."""

    STORED = auto()
    DUPLICATE = auto()  # existed before: stored by an earlier send, or by another shipper with this name
    RETRY = auto()  # the server has no room now
    SHUT = auto()  # the index accepts no documents until somebody fixes it
    EARLY = auto()  # newer than the stream's time range; the range moves
    LATE = auto()  # older than that range: belongs in the late stream
    DOUBTFUL = auto()  # the fault of the document or of the index
    REJECTED = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one document of a bulk response. ``reason`` is the server's, in one line."""

    verdict: Verdict
    status: int
    reason: str = ""


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
FAILURE_STORE: Final = "failure_store: the stream's failure store took the document; run shipper setup to turn it off"


def judge(item: Mapping[str, Any], tick_ms: int, now_ms: int) -> Answer:
    """For ``item``: ``{"create": {"status": …, "error": …}}``. ``tick_ms`` is the document's ``@timestamp``."""
    if item == _CREATED:
        return _STORED
    body = next(iter(item.values()))
    status = int(body["status"])
    if status in _OK:
        if body.get("failure_store") == "used":
            return Answer(_in_failure_store(tick_ms, now_ms), status, FAILURE_STORE)
        return Answer(Verdict.STORED, status)
    if status == _CONFLICT:
        return Answer(Verdict.DUPLICATE, status)
    error = body.get("error")
    type_ = str(error.get("type")) if isinstance(error, Mapping) else ""
    return Answer(_failure(status, type_, _reason(error), tick_ms), status, _reason(error))


def _in_failure_store(tick_ms: int, now_ms: int) -> Verdict:
    if tick_ms < now_ms - _LATE_MS:
        return Verdict.LATE
    return Verdict.EARLY if tick_ms > now_ms + _EARLY_MS else Verdict.REJECTED


def _failure(status: int, type_: str, reason: str, tick_ms: int) -> Verdict:
    if type_ in INDEX_TYPES or status in _CLOSED or _MISSING_PIPELINE in reason:
        return Verdict.SHUT
    if status in _BUSY or status in _SERVER_ERRORS:
        return Verdict.RETRY
    if status == _BAD:
        return _time(reason, tick_ms) or (Verdict.REJECTED if type_ in DOCUMENT_TYPES else Verdict.DOUBTFUL)
    return Verdict.DOUBTFUL


def _reason(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    return f"{error.get('type')}: {str(error.get('reason'))[:_MOST_WORDS]}"


def _time(reason: str, tick_ms: int) -> Verdict | None:
    """Whether ``reason`` is about the time range of the stream, and on which side of it the document is."""
    if _PAST_END.search(reason):
        return Verdict.EARLY
    if _BEFORE_START.search(reason):
        return Verdict.LATE
    if "outside of ranges of currently writable indices" not in reason:
        return None
    ends = [end for _, end in _RANGE.findall(reason)]
    newest = max((_ms(end) for end in ends), default=None)
    # The server's check and its message are cut to whole seconds
    if newest is not None and tick_ms // 1000 * 1000 >= newest // 1000 * 1000:
        return Verdict.EARLY
    return Verdict.LATE


def _ms(text: str) -> int:
    """Milliseconds of an ISO time; ``null`` and years that Python cannot represent are the end of time."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return -(1 << 63) if text.startswith("-") else 1 << 63


def kind(status: int, reason: str) -> str:
    """``400 document_parsing_exception``: the part of a reason that does not depend on a value."""
    word, colon, _ = reason.partition(":")
    return f"{status} {word}" if colon and word.isidentifier() else str(status)
