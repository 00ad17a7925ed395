"""Where every document ended: collected = stored + late + spooled + rejected + dropped, kept across restarts.

The files ``SLOTS`` in the spool directory are overwritten in turn whenever fates change; that step is the
acknowledgement. A crash damages at most the file that is being written, which was the older one; the other has what was
acknowledged before. Of two whole files, the one with the higher ``serial`` counts.

A segment in ``settled`` is finished, whether or not its file still exists. ``open`` lists, by position, the unsettled
documents of partly settled segments. ``last`` is the highest sequence number ever used. ``duplicate`` is how many of
the stored documents already existed at a resend. While nothing is delivered, the ledger is saved at each tick instead,
so that it knows how many documents the directory must hold, whatever happens to them while no agent runs.

If the disk does not accept the ledger, fates are counted in memory and no segment is unlinked: after a crash the server
receives those documents again and answers 409. If the ledger is lost or damaged, counting starts again: ``since`` says
when.
"""

import json
import os
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from shipper.base.durable import no_links
from shipper.base.tick_times import Used
from shipper.deliver.segment import Entry, Segment
from shipper.deliver.spool import Spool

SLOTS: Final = ("ledger.0.json", "ledger.1.json")
FORMER: Final = "ledger.json"  # until format 2, replaced atomically
FORMAT: Final = 3
HELD_TICKS: Final = 30  # ticks kept in memory while the disk accepts none
_REASONS_MOST: Final = 50
OTHER: Final = "other"


class Fate(StrEnum):
    """The ways in which a document can end."""

    STORED = "stored"
    LATE = "late"
    REJECTED = "rejected"
    DROPPED = "dropped"


@dataclass
class Counts:
    """Documents since the ledger was created."""

    collected: int = 0
    stored: int = 0
    late: int = 0
    rejected: int = 0
    dropped: int = 0
    duplicate: int = 0

    @property
    def ended(self) -> int:
        return self.stored + self.late + self.rejected + self.dropped


@dataclass
class DeliveryState:
    """What the agent document reports about delivery, counted since the agent started."""

    reachable: bool = False
    trouble: str = ""
    circuit: str = "closed"  # open: waits before the next attempt; half-open: the next request decides
    requests: int = 0
    failures: int = 0
    bytes: int = 0
    latency_ms: int | None = None  # of the slowest request that was answered since it was read
    twins: int = 0  # 409 to a document that was not sent before: another shipper uses this name
    skew_ms: int | None = None  # this host's clock minus the server's; None while unknown
    findings: list[str] = field(default_factory=list)  # what is wrong on the server, checked once
    server_ms: int | None = None  # the server's time at the moment when the host's CLOCK_BOOTTIME was 0
    restarts: int = 0  # of the delivery thread, which had ended
    resting: dict[str, str] = field(default_factory=dict)  # index that accepts no documents → why


@dataclass
class Ledger:
    """The counts, and which documents of the segments in ``spool`` are already accounted for."""

    spool: Spool
    counts: Counts = field(default_factory=Counts)
    open: dict[int, list[int]] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)  # why how many were rejected
    used: Used = field(default_factory=Used)
    since_ms: int = 0  # when counting started; 0: unknown
    recovered: int = 0  # documents that the start could not find
    unread: int = 0  # documents in segment files that cannot be read now
    unreadable: str = ""  # why the existing ledger cannot be used
    trouble: str = ""  # why the disk accepts no data; empty if it does
    lock: threading.RLock = field(default_factory=threading.RLock)  # ticks write, deliveries settle
    _known_last: int = 0  # the highest segment that the ledger knew when it was loaded
    _behind: bool = False  # documents were collected since the ledger was saved
    _serial: int = 0  # of the file that was written last

    @classmethod
    def load(cls, spool: Spool) -> "Ledger":
        """The ledger of a spool directory, reconciled with the segments that exist.

        Documents whose segment is lost or damaged count as dropped. Without a readable ledger, counting starts with the
        documents that wait; earlier counts are unknown.
        """
        content, serial, unreadable = _read(spool)
        ledger = cls(spool, _counts(content), _open(content), _whole_numbers(content.get("settled")))
        ledger.unreadable, ledger._serial = unreadable, serial
        ledger.reasons = _reasons(content)
        ledger.used = Used.of(_whole_numbers(content.get("clock")))
        ledger.since_ms = max([0, *_whole_numbers([content.get("since_ms")])])
        known = max([0, *_whole_numbers([content.get("last")])])
        for segment in spool.segments.values():
            if segment.sequence > known:  # of the others the ledger knew
                ledger.used.note(segment.tick_ms)
        ledger.open = {sequence: items for sequence, items in ledger.open.items() if sequence in spool.segments}
        ledger.settled = [sequence for sequence in ledger.settled if sequence in spool.segments]
        if content:
            ledger._known_last = known
            ledger._balance()
        else:
            ledger._begin()
        spool.last = ledger._known_last = max(spool.last, known)
        ledger._commit()
        if ledger._serial > serial:
            with suppress(OSError):
                spool.remove(FORMER)
        return ledger

    def _begin(self) -> None:
        """Start counting with the documents that exist."""
        self.counts = Counts(collected=self.spooled)
        self.since_ms = time.time_ns() // 1_000_000
        if self.spool.segments and not self.unreadable:
            self.unreadable = "it is missing"

    def _balance(self) -> None:
        """Add the segments that are newer than the ledger. What is missing then is lost, or in files that cannot be
        read now.
        """
        counts = self.counts
        new = [segment for segment in self.spool.segments.values() if segment.sequence > self._known_last]
        with_new = counts.collected + sum(segment.documents for segment in new)
        counts.collected = max([with_new, counts.ended, *(segment.collected for segment in new)])
        self.unread = counts.collected - counts.ended - self.spooled
        if self.unread < 0:  # segments came back that were accounted for
            counts.collected -= self.unread
            self.unread = 0
        self._give_up_unread()

    def _give_up_unread(self) -> None:
        if not self.spool.unread and self.unread:
            self.recovered += self.unread
            self.counts.dropped += self.unread
            self.unread = 0

    def look_again(self) -> None:
        """Add segments that could not be read before."""
        if not self.spool.unread:
            return
        with self.lock, suppress(OSError):
            for segment in self.spool.look_again():
                missing = segment.documents - self.unread if segment.sequence <= self._known_last else segment.documents
                self.counts.collected += max(missing, 0)
                self.unread -= segment.documents - max(missing, 0)
            self._give_up_unread()
            self._commit()

    @property
    def spooled(self) -> int:
        """How many documents are not settled."""
        with self.lock:
            ended = sum(self.spool.segments[sequence].documents - len(items) for sequence, items in self.open.items())
            settled = sum(self.spool.segments[sequence].documents for sequence in self.settled)
            return self.spool.documents - ended - settled + self.unread

    def put(self, tick_ms: int, entries: Sequence[Entry], oldest_ms: int = 0, *, old_run: bool = True) -> None:
        """Write the documents of one tick to disk. The oldest documents, and those before ``oldest_ms``, make room.

        ``old_run``: this run has lasted long enough for its own documents to be that old, whatever their timestamps.
        Documents that the disk does not accept are held in memory, at most the last HELD_TICKS ticks.
        """
        with self.lock:
            self.used.note(tick_ms)
            self.counts.collected += len(entries)
            self._make_room(entries, oldest_ms, old_run=old_run)
            self._take(tick_ms, entries)
            if self._behind:
                self._commit()
            self._behind = True

    def _take(self, tick_ms: int, entries: Sequence[Entry]) -> None:
        try:
            self.spool.write(tick_ms, entries, self.counts.collected)
            self.trouble = ""
        except OSError as error:
            self.trouble = _reason(error)
            if len(self.spool.held) > HELD_TICKS:
                self.drop([self.spool.segments[next(iter(self.spool.held))]])
        if self.spool.vanished:
            vanished, self.spool.vanished = self.spool.vanished, []
            self.drop(vanished)

    def _make_room(self, entries: Iterable[Entry], oldest_ms: int, *, old_run: bool) -> None:
        size = sum(entry.size for entry in entries)
        over = {segment.sequence: segment for segment in self.spool.over(size)}
        for segment in self.spool.segments.values():
            if segment.tick_ms >= oldest_ms or (segment.sequence > self._known_last and not old_run):
                break
            over[segment.sequence] = segment
        if over:
            self.drop(over.values())

    def close(self) -> int:
        """Account for the documents held in memory: on disk now, or dropped. Returns how many are lost."""
        with self.lock:
            with suppress(OSError):
                self.spool.flush()
            held = [self.spool.segments[sequence] for sequence in self.spool.held]
            lost = sum(len(list(self.items(segment))) for segment in held if segment.sequence not in self.settled)
            self.drop(held)
            self._commit()
            return lost

    def take_back(
        self, entries: Iterable[tuple[int, list[Entry]]], lost: int = 0, kinds: Mapping[str, int] | None = None
    ) -> None:
        """Add rejected documents (with their tick in ms) to the spool again. ``lost``: how many are unreadable.

        ``kinds``: how many documents were rejected, by reason.
        """
        entries = list(entries)
        with self.lock:
            again = sum(len(documents) for _, documents in entries)
            self.counts.collected += max(0, again + lost - self.counts.rejected)
            self.counts.rejected = max(0, self.counts.rejected - again - lost)
            self.counts.dropped += lost
            for tick_ms, documents in entries:
                self._take(tick_ms, documents)
            self.forget(kinds or {})

    def forget(self, kinds: Mapping[str, int]) -> None:
        """Subtract rejected documents that are no longer on disk, by reason."""
        with self.lock:
            left = Counter(self.reasons)
            left.subtract(kinds)
            self.reasons = dict(+left)
            self._commit()

    def rejected_for(self) -> list[str]:
        """``3 × 400 document_parsing_exception``, the most frequent first."""
        return [
            f"{count} × {why}"
            for why, count in sorted(self.reasons.items(), key=lambda reason: (-reason[1], reason[0]))
        ]

    def due(self) -> list[Segment]:
        """Segments with unsettled documents, oldest first."""
        with self.lock:
            settled = set(self.settled)
            return [segment for segment in self.spool.segments.values() if segment.sequence not in settled]

    def items(self, segment: Segment) -> Iterable[int]:
        """Positions of the unsettled documents of ``segment``."""
        return self.open.get(segment.sequence, range(segment.documents))

    def settle(
        self, fates: Mapping[int, Mapping[int, Fate]], duplicates: int = 0, reasons: Mapping[str, int] | None = None
    ) -> None:
        """Record the fates of documents (by segment and position) on disk, then unlink finished segments."""
        with self.lock:
            for sequence, by_place in fates.items():
                if sequence in self.spool.segments and sequence not in self.settled:
                    self._account(self.spool.segments[sequence], by_place)
            self.counts.duplicate += duplicates
            for reason, count in (reasons or {}).items():
                known = reason if reason in self.reasons or len(self.reasons) < _REASONS_MOST else OTHER
                self.reasons[known] = self.reasons.get(known, 0) + count
            self._commit()

    def _account(self, segment: Segment, by_place: Mapping[int, Fate]) -> None:
        waiting = list(self.items(segment))
        left = [place for place in waiting if place not in by_place]
        for fate, number in Counter(by_place[place] for place in waiting if place in by_place).items():
            setattr(self.counts, fate.value, getattr(self.counts, fate.value) + number)
        if left:
            self.open[segment.sequence] = left
        else:
            self.open.pop(segment.sequence, None)
            self.settled.append(segment.sequence)

    def drop(self, segments: Iterable[Segment]) -> None:
        """Give up whole segments: their documents count as dropped."""
        self.settle({segment.sequence: dict.fromkeys(self.items(segment), Fate.DROPPED) for segment in segments})

    def _commit(self) -> None:
        """Save the ledger, then unlink settled segments; if that fails, the next commit does it."""
        self._behind = False
        serial = self._serial + 1
        try:
            self.settled = self.spool.settle(SLOTS[serial % len(SLOTS)], self._content(serial), self.settled)
            self._serial = serial
        except OSError as error:
            self.trouble = _reason(error)
        self.settled = [sequence for sequence in self.settled if sequence in self.spool.segments]

    def _content(self, serial: int) -> bytes:
        content = {
            "counts": vars(self.counts),
            "open": self.open,
            "settled": self.settled,
            "reasons": self.reasons,
            "clock": self.used.saved(),
            "last": self.spool.last,
            "since_ms": self.since_ms,
        }
        text = json.dumps(content)
        check = _check(text, serial)
        return b'{"format": %d, "serial": %d, "check": %d, "ledger": %b}' % (FORMAT, serial, check, text.encode())


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _check(text: str, serial: int = 0) -> int:
    return zlib.crc32(text.encode(), serial)


def _read(spool: Spool) -> tuple[dict[str, Any], int, str]:
    """The newest content, its serial number, and why there is none that can be used.

    Files that cannot be used are kept under another name for inspection, unless one can.
    """
    whole: list[tuple[tuple[int, int], dict[str, Any]]] = []
    damaged: dict[str, str] = {}
    for name in (FORMER, *SLOTS):
        path = os.path.join(spool.directory, name)
        try:
            content, serial = _read_one(path)
        except FileNotFoundError:
            continue
        except ValueError as error:
            damaged[path] = str(error)
        else:
            last = max([0, *_whole_numbers([content.get("last")])])
            whole.append(((last, serial), content))
    if whole:
        (_, serial), content = max(whole, key=lambda found: found[0])
        return content, serial, ""
    for path in damaged:
        with suppress(OSError):
            os.replace(path, f"{path}.unreadable")
    return {}, 0, next(iter(damaged.values()), "")


def _read_one(path: str) -> tuple[dict[str, Any], int]:
    """Content and serial number. Raises FileNotFoundError; ValueError with why it cannot be used."""
    found: Any = None
    try:
        with open(path, "rb", opener=no_links) as file:
            found = json.loads(file.read())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError):
        found = None
    found = found if isinstance(found, dict) else {"format": FORMAT}
    content, form, serial = found.get("ledger"), found.get("format"), found.get("serial", 0)
    if form == 1:
        return found, 0
    if form not in (2, FORMAT):
        raise ValueError(f"its format is {str(form)[:20]}")
    numbered = type(serial) is int and 0 <= serial < 1 << 32
    if not isinstance(content, dict) or not numbered or found.get("check") != _check(json.dumps(content), serial):
        raise ValueError("it is damaged")
    return content, serial


def _counts(content: Mapping[str, Any]) -> Counts:
    counts = content.get("counts")
    known = Counts()
    if isinstance(counts, dict):
        for name, value in counts.items():
            if name in asdict(known) and type(value) is int and value >= 0:
                setattr(known, name, value)
    return known


def _open(content: Mapping[str, Any]) -> dict[int, list[int]]:
    segments = content.get("open")
    if not isinstance(segments, dict):
        return {}
    return {int(key): _whole_numbers(items) for key, items in segments.items() if str(key).isdecimal()}


def _reasons(content: Mapping[str, Any]) -> dict[str, int]:
    reasons = content.get("reasons")
    return (
        {str(key): number for key, number in reasons.items() if type(number) is int}
        if isinstance(reasons, dict)
        else {}
    )


def _whole_numbers(numbers: Any) -> list[int]:
    return [number for number in numbers if type(number) is int and number >= 0] if isinstance(numbers, list) else []
