"""Where every document ended: collected = stored + late + spooled + rejected + dropped, kept over restarts.

``ledger.json`` in the spool directory is replaced in one step whenever fates change; that step is the acknowledgement.
A segment in ``settled`` is done with, whether or not its file is gone; ``open`` names the documents (by their place) of
segments that are settled in part. ``duplicate`` tells how many of the stored were there already: a resend met its twin.
"""

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from shipper.spool import Entry, Segment, Spool, write_durably

FILE: Final = "ledger.json"
HELD_TICKS: Final = 30  # ticks kept in memory while the disk takes none


class Fate(StrEnum):
    """The places in which a document can end."""

    STORED = "stored"
    LATE = "late"
    REJECTED = "rejected"
    DROPPED = "dropped"


@dataclass
class Counts:
    """Documents since the spool directory was made."""

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
    """What the agent document tells of delivery, counted since the agent started."""

    reachable: bool = False
    trouble: str = ""
    requests: int = 0
    failures: int = 0
    bytes: int = 0
    twins: int = 0  # 409 to a document that was not sent before: someone else ships under this name


@dataclass
class Ledger:
    """The counts, and which documents of the segments in ``spool`` are accounted for already."""

    spool: Spool
    counts: Counts = field(default_factory=Counts)
    open: dict[int, list[int]] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    recovered: int = 0  # documents that the start could not find
    trouble: str = ""  # why the disk takes no segment, empty when it does
    lock: threading.RLock = field(default_factory=threading.RLock)  # ticks write, deliveries settle
    _held: deque[tuple[int, list[Entry]]] = field(default_factory=deque)

    @classmethod
    def load(cls, spool: Spool) -> "Ledger":
        """The ledger of a spool directory, brought in line with the segments that are really there.

        Documents whose segment is lost or damaged, or which only an unreadable ledger knew of, count as dropped.
        """
        content = _read(os.path.join(spool.directory, FILE))
        ledger = cls(spool, _counts(content), _open(content), _whole_numbers(content.get("settled")))
        for sequence in ledger.settled:
            spool.unlink(sequence)
        ledger.settled = []
        ledger.open = {sequence: items for sequence, items in ledger.open.items() if sequence in spool.segments}
        counts = ledger.counts
        counts.collected = max([counts.collected, counts.ended, *(one.collected for one in spool.segments.values())])
        lost = counts.collected - counts.ended - ledger.spooled
        ledger.recovered = lost
        if lost > 0:
            counts.dropped += lost
        elif lost < 0:
            counts.collected -= lost
        return ledger

    @property
    def spooled(self) -> int:
        """Documents on disk whose fate is open."""
        with self.lock:
            held = sum(len(entries) for _, entries in self._held)
            return held + sum(self.waiting(segment) for segment in self.spool.segments.values())

    def put(self, tick_ms: int, entries: list[Entry]) -> None:
        """Take the documents of one tick to disk; the oldest make room. What the disk refuses is held in memory."""
        with self.lock:
            self.counts.collected += len(entries)
            self._held.append((tick_ms, entries))
            try:
                while self._held:
                    self._write(*self._held[0])
                    self._held.popleft()
                self.trouble = ""
            except OSError as error:
                self.trouble = error.strerror or type(error).__name__
                if len(self._held) > HELD_TICKS:
                    self.counts.dropped += len(self._held.popleft()[1])

    def _write(self, tick_ms: int, entries: list[Entry]) -> None:
        size = sum(len(entry.action) + len(entry.document) + 2 for entry in entries)
        over = self.spool.over(size)
        if over:
            self.drop(over)
        later = sum(len(held) for _, held in list(self._held)[1:])
        self.spool.write(tick_ms, entries, self.counts.collected - later)

    def due(self) -> list[Segment]:
        """Segments with open documents, oldest first."""
        with self.lock:
            return sorted(self.spool.segments.values(), key=lambda segment: segment.sequence)

    def waiting(self, segment: Segment) -> int:
        items = self.open.get(segment.sequence)
        return segment.documents if items is None else len(items)

    def items(self, segment: Segment) -> Iterable[int]:
        """Places of the documents of ``segment`` whose fate is open."""
        return self.open.get(segment.sequence, range(segment.documents))

    def settle(self, fates: Mapping[int, Mapping[int, Fate]], duplicates: int = 0) -> None:
        """Record the fates of documents (by segment and place), on disk, then unlink what is done. Raises OSError."""
        with self.lock:
            for sequence, by_place in fates.items():
                if sequence in self.spool.segments:
                    self._account(self.spool.segments[sequence], by_place)
            self.counts.duplicate += duplicates
            self.save()
            for sequence in self.settled:
                self.spool.unlink(sequence)
            self.settled = []

    def _account(self, segment: Segment, by_place: Mapping[int, Fate]) -> None:
        waiting = list(self.items(segment))
        left = [place for place in waiting if place not in by_place]
        for place in waiting:
            if place in by_place:
                fate = by_place[place].value
                setattr(self.counts, fate, getattr(self.counts, fate) + 1)
        if left:
            self.open[segment.sequence] = left
        else:
            self.open.pop(segment.sequence, None)
            self.settled.append(segment.sequence)

    def drop(self, segments: Iterable[Segment]) -> None:
        """Give up whole segments: they count as dropped."""
        self.settle({one.sequence: dict.fromkeys(self.items(one), Fate.DROPPED) for one in segments})

    def save(self) -> None:
        content = {"format": 1, "counts": asdict(self.counts), "open": self.open, "settled": self.settled}
        write_durably(os.path.join(self.spool.directory, FILE), json.dumps(content).encode())


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _counts(content: Mapping[str, Any]) -> Counts:
    found = content.get("counts")
    known = Counts()
    if isinstance(found, dict):
        for name, value in found.items():
            if name in asdict(known) and type(value) is int and value >= 0:
                setattr(known, name, value)
    return known


def _open(content: Mapping[str, Any]) -> dict[int, list[int]]:
    found = content.get("open")
    if not isinstance(found, dict):
        return {}
    return {int(key): _whole_numbers(items) for key, items in found.items() if str(key).isdecimal()}


def _whole_numbers(found: Any) -> list[int]:
    return [one for one in found if type(one) is int and one >= 0] if isinstance(found, list) else []
