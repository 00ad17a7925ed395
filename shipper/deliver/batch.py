"""Choose the documents of the next request.

Three things are skipped for a while. A *segment* rests after the server had no room for some of its documents, or after
its file could not be read. An *index* is shut while it accepts no documents (missing privileges, a write block, no
primary shard) or no documents that new (a time series that is not open yet). Of a shut index, only one document from
each end of the backlog is sent, every few seconds and in a request of its own, as a probe.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from shipper.base import log, messages
from shipper.deliver.ledger import Ledger
from shipper.deliver.segment import Damaged, Entry, Segment

SHARE: Final = 4
_SEARCHED: Final = 256  # segments to read in search of a document of a shut index


class Item(NamedTuple):
    """One document of a batch and its position in its segment."""

    segment: Segment
    place: int
    entry: Entry

    @property
    def target(self) -> str:
        """The index that the document's action names."""
        return index_of(self.entry)


class Batch(NamedTuple):
    """The documents of one request; ``probe``: it only asks whether a shut index accepts documents again."""

    items: list[Item]
    probe: bool  # of shut indices; a probe must be cheap


def index_of(entry: Entry) -> str:
    """The index that the action of ``entry`` names."""
    index: str = json.loads(entry.action)["create"]["_index"]
    return index


class Backoff:
    """Pauses in seconds between attempts: exponential, starting at one second, with full jitter."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self.failures = 0

    def fail(self) -> float:
        self.failures += 1
        return random.uniform(0, min(self._most_s, 2.0 ** min(self.failures, 30)))  # noqa: S311 – no secret

    def succeed(self) -> None:
        self.failures = 0


@dataclass
class _Shut:
    """An index whose documents from ``from_ms`` on are not sent."""

    until: float
    backoff: Backoff
    from_ms: int


class Selector:
    """Chooses batches from the unsettled documents of ``ledger``.

    One of SHARE batches starts at the other end of the backlog: with newest-first, the oldest documents are sent before
    they are dropped for their age; with oldest-first, fresh documents get at least that share of the requests.
    """

    def __init__(self, ledger: Ledger, out: log.Log, *, newest_first: bool, pause_most_s: float) -> None:
        self._ledger = ledger
        self._log = out
        self._newest_first = newest_first
        self._most_s = pause_most_s
        self._turn = 0
        self._rests: dict[int, tuple[float, Backoff]] = {}
        self._shut: dict[str, _Shut] = {}
        self._only: dict[int, frozenset[str]] = {}  # segments that hold documents of these shut indices only

    def choose(self, limit: int) -> Batch:
        """The documents of the next request of up to ``limit`` bytes; at least one, if any may be sent."""
        self._forget()
        probe = self._probe()
        if probe:
            return Batch(probe, probe=True)
        self._turn += 1
        newest_first = self._newest_first != (self._turn % SHARE == 0)
        items: list[Item] = []
        size = 0
        for item in self._open_items(newest_first=newest_first):
            size += item.entry.size
            if items and size > limit:
                break
            items.append(item)
        return Batch(items, probe=False)

    def rest(self, sequence: int) -> None:
        """Skip the segment for a pause."""
        now = time.monotonic()
        until, backoff = self._rests.get(sequence, (0.0, Backoff(self._most_s)))
        if until <= now:
            self._rests[sequence] = (now + backoff.fail(), backoff)

    def shut(self, index: str, from_ms: int = 0) -> None:
        """Send no documents of ``index`` from that time on, except probes."""
        now = time.monotonic()
        entry = self._shut.setdefault(index, _Shut(0.0, Backoff(self._most_s), from_ms))
        entry.from_ms = min(entry.from_ms, from_ms)
        if entry.until <= now:
            entry.until = now + entry.backoff.fail()

    def open(self, index: str) -> bool:
        """Send documents of the index again. Returns whether it was shut."""
        self._only = {} if index in self._shut else self._only
        return self._shut.pop(index, None) is not None

    def is_shut(self, index: str, tick_ms: int) -> bool:
        entry = self._shut.get(index)
        return entry is not None and tick_ms >= entry.from_ms

    @property
    def any_shut(self) -> bool:
        return bool(self._shut)

    def rest_s(self) -> float | None:
        """Seconds until a segment that rests may be sent again; None if none rests."""
        return _soonest_s(until for until, _ in self._rests.values())

    def until(self) -> float | None:
        """Seconds until the next pause ends; None if nothing is paused."""
        shut = (entry.until for entry in self._shut.values())
        return _soonest_s(chain((until for until, _ in self._rests.values()), shut))

    def _forget(self) -> None:
        known = self._ledger.spool.segments
        if len(self._rests) + len(self._only) > len(known):
            self._rests = {sequence: rest for sequence, rest in self._rests.items() if sequence in known}
            self._only = {sequence: left for sequence, left in self._only.items() if sequence in known}

    def _probe(self) -> list[Item]:
        now = time.monotonic()
        asking = [(index, entry) for index, entry in self._shut.items() if entry.until <= now]
        due = self._ledger.due() if asking else []
        items: list[Item] = []
        for index, entry in asking:
            probes = [self._first_of(index, entry.from_ms, due)]
            if not entry.from_ms:
                probes.append(self._first_of(index, 0, due[::-1]))
            items += dict.fromkeys(filter(None, probes))
            if not any(probes):
                self.open(index)
        return items

    def _first_of(self, index: str, from_ms: int, segments: Sequence[Segment]) -> Item | None:
        searched = 0
        for segment in segments:
            if segment.tick_ms < from_ms or self._is_resting(segment) or index not in self._only_of(segment, index):
                continue
            for item in self._items(segment):
                if item.target == index:
                    return item
            searched += 1
            if searched >= _SEARCHED:
                break
        return None

    def _only_of(self, segment: Segment, index: str) -> frozenset[str]:
        return self._only.get(segment.sequence, frozenset({index}))

    def _is_resting(self, segment: Segment) -> bool:
        rest = self._rests.get(segment.sequence)
        return rest is not None and rest[0] > time.monotonic()

    def _open_items(self, *, newest_first: bool) -> Iterator[Item]:
        due = self._ledger.due()
        for segment in reversed(due) if newest_first else due:
            if self._is_resting(segment) or self._is_shut_whole(segment):
                continue
            items = self._items(segment)
            may_go = [item for item in items if not self.is_shut(item.target, segment.tick_ms)] if self._shut else items
            if items and not may_go:
                self._only[segment.sequence] = frozenset(item.target for item in items)
            yield from may_go

    def _is_shut_whole(self, segment: Segment) -> bool:
        left = self._only.get(segment.sequence)
        return left is not None and all(self.is_shut(index, segment.tick_ms) for index in left)

    def _items(self, segment: Segment) -> list[Item]:
        """The segment's unsettled documents; empty if it cannot be read, so that the next segment is sent."""
        try:
            entries = self._ledger.spool.read(segment)
        except Damaged:
            self._set_aside(segment)
        except FileNotFoundError:
            self._give_up(segment, "its file was deleted")
        except OSError as error:
            self._cannot(segment, "read", error)
        else:
            places = self._ledger.items(segment)
            return [Item(segment, place, entries[place]) for place in places if place < len(entries)]
        return []

    def _set_aside(self, segment: Segment) -> None:
        with self._ledger.lock:
            if segment.sequence not in self._ledger.spool.segments:
                return  # it was dropped meanwhile, to make room
            try:
                self._ledger.spool.set_aside(segment)
            except OSError as error:
                self._cannot(segment, "set aside", error)
                return
            self._give_up(segment, "it is damaged; moved to damaged/")

    def _give_up(self, segment: Segment, why: str) -> None:
        with self._ledger.lock:
            if segment.sequence not in self._ledger.spool.segments:
                return
            self._ledger.drop([segment])
        count, sequence = segment.documents, segment.sequence
        self._log.once(messages.SEGMENT_LOST, f"lost {why}", count=count, sequence=sequence, why=why)

    def _cannot(self, segment: Segment, what: str, error: OSError) -> None:
        self.rest(segment.sequence)
        self._log.once(messages.SEGMENT_KEPT, f"segment {what}", what=what, error=error.strerror)


def _soonest_s(ends: Iterable[float]) -> float | None:
    """Seconds until the first of the times that are still ahead."""
    now = time.monotonic()
    ahead = [end - now for end in ends if end > now]
    return max(min(ahead), 0.01) if ahead else None
