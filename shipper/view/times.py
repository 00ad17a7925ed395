"""Moments as people write them, in UTC: ``02:10``, ``-30m``, ``yesterday 14:00``, ``2026-11-23T02:10``."""

import argparse
import re
import time as clock
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Final

from shipper.settings.options import NotAllowed, duration

ALLOWED: Final = "must be a time such as 02:10, -30m, yesterday 14:00 or 2026-11-23T02:10; UTC unless it has an offset"
_BACK: Final = duration(1, 366 * 86_400)
_CLOCK: Final = re.compile(r"(?:(?P<day>today|yesterday)\s+)?(?P<clock>\d{1,2}:\d\d(?::\d\d)?)")


def argument(text: str) -> int:
    """``moment`` for an option of the command line, as of now."""
    try:
        return moment(text, round(clock.time() * 1000))
    except ValueError:
        raise argparse.ArgumentTypeError(ALLOWED) from None


def moment(text: str, now_ms: int) -> int:
    """Milliseconds since 1970. A time of day without a day is the last one that has passed. Raises ValueError."""
    text = text.strip()
    if text == "now":
        return now_ms
    if text.startswith("-"):
        try:
            return now_ms - int(_BACK.read(text[1:])) * 1000
        except NotAllowed:
            raise ValueError(ALLOWED) from None
    try:
        found = _CLOCK.fullmatch(text)
        if found:
            return _of_day(found["clock"], found["day"], now_ms)
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(ALLOWED) from None
    return _ms(given.replace(tzinfo=given.tzinfo or UTC))


def _of_day(clock: str, day: str | None, now_ms: int) -> int:
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    at = datetime.combine(today, time.fromisoformat(clock.zfill(len(clock) + (clock[1] == ":"))), UTC)
    if day == "yesterday" or (day is None and _ms(at) > now_ms):
        at -= timedelta(days=1)
    return _ms(at)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def length(low_s: int, high_s: int) -> Callable[[str], int]:
    """The type of an option that is a length of time: ``90m`` or ``7d``, from ``low_s`` to ``high_s``; in ms."""
    kind = duration(low_s, high_s)

    def read(text: str) -> int:
        try:
            return int(kind.read(text)) * 1000
        except NotAllowed:
            raise argparse.ArgumentTypeError(f"must be {kind.allowed}") from None

    return read
