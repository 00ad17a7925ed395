"""From spool to server: bodies straight from the segments, one verdict per document, nothing given up in silence.

One thread, ``Delivery``, wakes when a tick is on disk. It sends the open documents in batches in the order configured,
but one batch in SHARE begins at the other end: with newest-first the oldest still go before they are dropped for their
age, with oldest-first fresh documents keep at least that share of all requests while a backlog is caught up. A batch
that fails as a whole is kept and tried again after a pause (exponential, full jitter, at least what ``Retry-After``
asks for); documents that the server puts off rest with their segment while others pass; an index that takes nothing
(no rights, a write block) rests as a whole. What will never be taken goes to ``rejected.ndjson`` with its reason.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from shipper import log
from shipper.config import Bulk
from shipper.errors import BadRequest, TooLarge, Unavailable
from shipper.ledger import DeliveryState, Fate, Ledger
from shipper.spool import Damaged, Entry, Segment, body_of
from shipper.templates import late_stream
from shipper.verdict import Answer, Verdict, judge

FILTER_PATH: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
SHARE: Final = 4
SKEW_MS: Final = 10_000  # a difference of the clocks that is worth a line
_SMALLEST: Final = 4 << 10  # bytes: a server that refuses even this is not refusing the size
_EARLY_S: Final = (60.0, 900.0)  # least and most that documents rest for which the range of times is not open yet
_RETRY_AFTER_MOST_S: Final = 3600.0
_LOOKED_AT: Final = 64  # segments read in vain before others get their turn
_FATES: Final = {Verdict.STORED: Fate.STORED, Verdict.DUPLICATE: Fate.STORED, Verdict.REJECTED: Fate.REJECTED}


Send = Callable[[bytes], Any]
"""Bulk body → decoded response, with ``skew_ms`` (this clock less the server's) where that is known.

Raises TooLarge, BadRequest, Unavailable.
"""
Ready = Callable[[], str]
"""Why nothing may be sent yet; empty when it may. Raises Unavailable."""


class Item(NamedTuple):
    """One document in a batch, and its place in its segment."""

    segment: Segment
    place: int
    entry: Entry


class Backoff:
    """Pauses in seconds between attempts: exponential from one, full jitter."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self.failures = 0

    def fail(self) -> float:
        self.failures += 1
        return random.uniform(0, min(self._most_s, 2.0 ** min(self.failures, 30)))  # noqa: S311 – no secret

    def succeed(self) -> None:
        self.failures = 0


class Delivery:
    """Sends what is in ``ledger``'s spool by ``send``. ``step`` is one batch; the thread goes on until ``stop``."""

    def __init__(
        self,
        ledger: Ledger,
        send: Send,
        bulk: Bulk,
        out: log.Log,
        ready: Ready = str,
        *,
        phase_s: float = 0.0,
        on_idle: Callable[[], object] = str,
    ) -> None:
        """``phase_s``: how long after a tick its documents are sent, so that not all of a fleet send at once.

        ``on_idle`` is called by the thread when it has sent what it could.
        """
        self._phase_s = phase_s
        self._on_idle = on_idle
        self.state = DeliveryState()
        self._ledger = ledger
        self._send = send
        self._ask_ready = ready
        self._ready = False
        self._log = out
        self._limit = bulk.max_bytes
        self._newest_first = bulk.order == "newest-first"
        self._turn = 0
        self._most_s = float(bulk.backoff_max_s)
        self._backoff = Backoff(self._most_s)
        self._not_before = 0.0
        self._rests: dict[int, tuple[float, Backoff]] = {}
        self._shut: dict[str, tuple[float, Backoff]] = {}
        # Documents of these may have reached the server: a 409 to them is no surprise
        self._maybe_sent = {segment.sequence for segment in ledger.due()}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new on disk."""
        self._wake.set()

    def stop(self, flush_s: float) -> None:
        """Send what can be sent in ``flush_s``, then end the thread; the rest stays in the spool."""
        self._not_before = 0.0
        self._stopping.set()
        self._wake.set()
        self._thread.join(flush_s)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while self.step():
                    pass
            except Exception as error:  # noqa: BLE001 – delivery outlives its own faults: the documents are on disk
                self._log.once(log.ERROR, f"delivery {error!r}", f"delivery failed, will be tried again: {error!r}")
                self._pause(0.0)
            self._on_idle()
            if self._stopping.is_set():
                return
            self._wake.wait(self._until_due())
            self._stopping.wait(self._phase_s)

    def step(self) -> bool:
        """Send one batch. False when there is none to send now, and when sending failed."""
        if time.monotonic() < self._not_before or not self._ledger.spooled:
            return False
        if self._backoff.failures:
            self.state.circuit = "half-open"
        batch: list[Item] = []
        try:
            self._require_ready()  # after a failure a small question comes before a large body
            batch = self._batch()
            if not batch:
                return False
            self._deliver(batch)
        except TooLarge:
            return self._shrink(batch)
        except Unavailable as error:
            return self._unavailable(error, {item.segment.sequence for item in batch})
        except Exception:
            self._maybe_sent.update(item.segment.sequence for item in batch)
            raise
        self._available()
        return True

    def _require_ready(self) -> None:
        if not self._ready:
            reason = self._ask_ready()
            if reason:
                raise Unavailable(reason)
            self._ready = True

    def _available(self) -> None:
        self._backoff.succeed()
        self.state.reachable, self.state.trouble, self.state.circuit = True, "", "closed"
        if self._log.over("unavailable"):
            self._log.line(log.INFO, f"Elasticsearch is back; {self._ledger.spooled} documents wait")

    def _batch(self) -> list[Item]:
        """Open documents of what does not rest, up to the size of a request."""
        self._turn += 1
        newest_first = self._newest_first != (self._turn % SHARE == 0)
        batch: list[Item] = []
        size = 0
        for item in self._open_items(newest_first=newest_first):
            size += item.entry.size
            if batch and size > self._limit:
                break
            batch.append(item)
        return batch

    def _open_items(self, *, newest_first: bool) -> Iterator[Item]:
        due = self._ledger.due()
        known = self._ledger.spool.segments
        now = time.monotonic()
        self._rests = {one: rest for one, rest in self._rests.items() if one in known}
        shut = {index: until for index, (until, _) in self._shut.items() if until > now}
        in_vain = 0
        for segment in reversed(due) if newest_first else due:
            if segment.sequence in self._rests and self._rests[segment.sequence][0] > now:
                continue
            items = [one for one in self._items(segment) if not shut or _index(one.entry) not in shut]
            if not items and shut and segment.sequence in known:
                self._rests[segment.sequence] = (min(shut.values()), Backoff(self._most_s))
                in_vain += 1
                if in_vain >= _LOOKED_AT:
                    return
            yield from items

    def _items(self, segment: Segment) -> list[Item]:
        try:
            entries = self._ledger.spool.read(segment)
        except (Damaged, OSError) as error:
            self._give_up(segment, error)
            return []
        return [Item(segment, place, entries[place]) for place in self._ledger.items(segment) if place < len(entries)]

    def _give_up(self, segment: Segment, error: Exception) -> None:
        with self._ledger.lock:
            if segment.sequence not in self._ledger.spool.segments:
                return  # it made room for a newer one meanwhile
            if isinstance(error, Damaged):
                self._ledger.spool.set_aside(segment)
            self._ledger.drop([segment])
        self._log.line(log.ERROR, f"spool: {segment.documents} documents are lost: {error}")

    def _deliver(self, batch: Sequence[Item]) -> None:
        try:
            answers = self._ask(batch)
        except BadRequest as error:
            if len(batch) > 1:  # find the one that the server cannot read
                half = len(batch) // 2
                self._deliver(batch[:half])
                self._deliver(batch[half:])
                return
            answers = [Answer(Verdict.REJECTED, 400, str(error))]
        answered = list(zip(batch, answers, strict=True))
        late = [item for item, answer in answered if answer.verdict is Verdict.LATE]
        self._settle([pair for pair in answered if pair[1].verdict is not Verdict.LATE], Fate.STORED)
        if late:
            moved = [Item(item.segment, item.place, _to_late(item.entry)) for item in late]
            self._settle(list(zip(moved, self._ask(moved), strict=True)), Fate.LATE)

    def _ask(self, batch: Sequence[Item]) -> list[Answer]:
        body = body_of([item.entry for item in batch])
        self.state.requests += 1
        self.state.bytes += len(body)
        response = self._send(body)
        try:
            items = response["items"]
            if len(items) != len(batch):
                raise Unavailable(f"the server answered {len(items)} of {len(batch)} documents")
            answers = [judge(answer, item.segment.tick_ms) for item, answer in zip(batch, items, strict=True)]
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError):
            raise Unavailable("the answer is not that of a bulk request") from None
        self._compare_clocks(response.get("skew_ms"))
        return answers

    def _compare_clocks(self, skew_ms: int | None) -> None:
        if skew_ms is None:
            return
        self.state.skew_ms = skew_ms
        if abs(skew_ms) < SKEW_MS:
            self._log.over("skew")
            return
        way = "ahead of" if skew_ms > 0 else "behind"
        self._log.once(log.WARNING, "skew", f"this host's clock is {abs(skew_ms) / 1000:.0f} s {way} the server's")

    def _settle(self, answered: Sequence[tuple[Item, Answer]], stored: Fate) -> None:
        """Account for the answers; a document that was stored counts as ``stored``."""
        kept = self._keep_rejected([pair for pair in answered if pair[1].verdict is Verdict.REJECTED])
        fates: dict[int, dict[int, Fate]] = {}
        reasons: dict[str, int] = {}
        for item, answer in answered:
            fate = _FATES.get(answer.verdict)
            if fate is None or (fate is Fate.REJECTED and not kept):
                self._put_off(item, answer)
                continue
            fates.setdefault(item.segment.sequence, {})[item.place] = stored if fate is Fate.STORED else fate
            if fate is Fate.REJECTED:
                reason = _kind(answer)
                reasons[reason] = reasons.get(reason, 0) + 1
        duplicates = [item for item, answer in answered if answer.verdict is Verdict.DUPLICATE]
        self._suspect([item for item in duplicates if item.segment.sequence not in self._maybe_sent])
        if fates:
            self._ledger.settle(fates, len(duplicates), reasons)

    def _put_off(self, item: Item, answer: Answer) -> None:
        sequence = item.segment.sequence
        now = time.monotonic()
        self._maybe_sent.add(sequence)  # a 503 may come after the document was written
        if answer.verdict is Verdict.SHUT:
            index = _index(item.entry)
            until, backoff = self._shut.get(index, (0.0, Backoff(self._most_s)))
            if until <= now:
                self._shut[index] = (now + backoff.fail(), backoff)
        else:
            until, backoff = self._rests.get(sequence, (0.0, Backoff(self._most_s)))
            early = min(max(answer.ahead_s, _EARLY_S[0]), _EARLY_S[1])
            if until <= now:
                self._rests[sequence] = (now + (early if answer.verdict is Verdict.EARLY else backoff.fail()), backoff)
        self._log.once(log.WARNING, f"put off {answer.status}", f"Elasticsearch puts documents off: {answer.reason}")

    def _keep_rejected(self, refused: Sequence[tuple[Item, Answer]]) -> bool:
        """Whether the disk took them."""
        if not refused:
            return True
        lines = b"".join(_rejected_line(item, answer) for item, answer in refused)
        try:
            with self._ledger.lock:  # not while the file is given back
                self._ledger.spool.reject(lines)
        except OSError as error:
            self._log.once(log.ERROR, "rejected", f"spool: refused documents cannot be kept: {error.strerror}")
            return False
        for item, answer in refused:
            self._log.once(
                log.ERROR,
                f"rejected {answer.status} {answer.reason[:40]}",
                f"Elasticsearch refuses a document of {_index(item.entry)}, kept in the spool: {answer.reason}",
            )
        return True

    def _suspect(self, twins: Sequence[Item]) -> None:
        self.state.twins += len(twins)
        for item in twins:
            self._log.once(
                log.ERROR,
                f"twin {_index(item.entry)}",
                "a document not sent before is in Elasticsearch already: another shipper has this host's name and id, "
                f"or a dimension is missing: {item.entry.action.decode()}",
            )

    def _shrink(self, batch: Sequence[Item]) -> bool:
        """Learn the size of request that the server takes."""
        size = sum(item.entry.size for item in batch)
        if len(batch) == 1:
            self._settle([(batch[0], Answer(Verdict.REJECTED, 413, f"one document of {size} bytes"))], Fate.STORED)
            self._limit = max(min(self._limit, size), _SMALLEST)
        else:
            self._limit = max(min(self._limit, size) // 2, _SMALLEST)
        self._log.once(log.WARNING, "413", f"Elasticsearch takes no {size} bytes at once; now sending {self._limit}")
        return True

    def _unavailable(self, error: Unavailable, sequences: set[int]) -> bool:
        """Whether another node can be asked at once."""
        self._maybe_sent |= sequences
        self._maybe_sent.intersection_update(self._ledger.spool.segments)
        self._ready = False
        self.state.failures += 1
        self.state.reachable, self.state.trouble = False, str(error)
        self._log.once(log.WARNING, "unavailable", f"{error}; documents wait in the spool")
        if self._backoff.failures + 1 < error.nodes and not error.retry_after_s:
            self._backoff.fail()
            return True
        self._pause(error.retry_after_s)
        return False

    def _pause(self, least_s: float) -> None:
        self.state.circuit = "open"
        pause_s = max(self._backoff.fail(), min(least_s, _RETRY_AFTER_MOST_S))
        self._not_before = time.monotonic() + pause_s

    def _until_due(self) -> float | None:
        """Seconds until something rests no longer; None: until woken."""
        now = time.monotonic()
        if self._not_before > now:
            return self._not_before - now
        ends = [until for until, _ in (*self._rests.values(), *self._shut.values()) if until > now]
        return max(min(ends) - now, 0.01) if ends else None


def _index(entry: Entry) -> str:
    index: str = json.loads(entry.action)["create"]["_index"]
    return index


def _kind(answer: Answer) -> str:
    """``400 document_parsing_exception``."""
    word, colon, _ = answer.reason.partition(":")
    return f"{answer.status} {word}" if colon and word.isidentifier() else str(answer.status)


def _to_late(entry: Entry) -> Entry:
    """The same document for the plain stream; its id is made from its text, so that a resend meets its twin."""
    _, dataset, namespace = _index(entry).split("-", 2)
    index = late_stream(dataset.removeprefix("shipper."), namespace)
    document_id = hashlib.sha256(entry.document).hexdigest()[:32]
    return Entry(json.dumps({"create": {"_index": index, "_id": document_id}}).encode(), entry.document)


def _rejected_line(item: Item, answer: Answer) -> bytes:
    why = json.dumps({"status": answer.status, "reason": answer.reason})[1:-1].encode()
    return b'{%b,"action":%b,"document":%b}\n' % (why, item.entry.action, item.entry.document)
