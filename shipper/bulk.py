"""From spool to server: bodies straight from the segments, one verdict per document, nothing given up in silence.

One thread, ``Delivery``, wakes when a tick is on disk. It sends the open documents in batches, oldest first; a batch
that fails as a whole is kept and tried again after a pause (exponential, full jitter); documents that the server puts
off rest with their segment while newer ones pass. What it will never take goes to ``rejected.ndjson`` with its reason.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper import log
from shipper.config import Bulk
from shipper.errors import TooLarge, Unavailable
from shipper.ledger import DeliveryState, Fate, Ledger
from shipper.spool import Damaged, Entry, Segment
from shipper.templates import late_stream
from shipper.verdict import Answer, Verdict, judge

FILTER_PATH: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
_SMALLEST: Final = 4 << 10  # bytes: a server that refuses even this is not refusing the size
_EARLY_S: Final = 60.0  # how long documents rest for which the server's range of times is not open yet
_FATES: Final = {Verdict.STORED: Fate.STORED, Verdict.DUPLICATE: Fate.STORED, Verdict.REJECTED: Fate.REJECTED}


Send = Callable[[bytes], Any]
"""Bulk body → decoded response. Raises TooLarge, Unavailable."""


@dataclass(frozen=True, slots=True)
class Item:
    """One document in a batch, and its place in its segment."""

    segment: Segment
    place: int
    entry: Entry

    def lines(self) -> bytes:
        return b"%b\n%b\n" % (self.entry.action, self.entry.document)


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

    def __init__(self, ledger: Ledger, send: Send, bulk: Bulk, out: log.Log) -> None:
        self.state = DeliveryState()
        self._ledger = ledger
        self._send = send
        self._log = out
        self._limit = bulk.max_bytes
        self._most_s = float(bulk.backoff_max_s)
        self._backoff = Backoff(self._most_s)
        self._not_before = 0.0
        self._rests: dict[int, tuple[float, Backoff]] = {}
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
                self._pause()
            if self._stopping.is_set():
                return
            self._wake.wait(self._until_due())

    def step(self) -> bool:
        """Send one batch. False when there is none to send now, and when sending failed."""
        if time.monotonic() < self._not_before:
            return False
        batch = self._batch()
        if not batch:
            return False
        try:
            self._deliver(batch)
        except TooLarge:
            return self._shrink(batch)
        except Unavailable as error:
            self._unavailable(batch, str(error))
            return False
        self._backoff.succeed()
        self.state.reachable, self.state.trouble = True, ""
        if self._log.over("unavailable"):
            self._log.line(log.INFO, f"Elasticsearch is back; {self._ledger.spooled} documents wait")
        return True

    def _batch(self) -> list[Item]:
        """Open documents, oldest first, of segments that do not rest, up to the size of a request."""
        batch: list[Item] = []
        size = 0
        for item in self._open_items():
            size += len(item.lines())
            if batch and size > self._limit:
                break
            batch.append(item)
        return batch

    def _open_items(self) -> Iterator[Item]:
        due = self._ledger.due()
        self._rests = {one.sequence: self._rests[one.sequence] for one in due if one.sequence in self._rests}
        now = time.monotonic()
        for segment in due:
            if segment.sequence in self._rests and self._rests[segment.sequence][0] > now:
                continue
            try:
                entries = self._ledger.spool.read(segment)
            except (Damaged, OSError) as error:
                self._give_up(segment, error)
                continue
            yield from (Item(segment, place, entries[place]) for place in self._ledger.items(segment))

    def _give_up(self, segment: Segment, error: Exception) -> None:
        with self._ledger.lock:
            if segment.sequence not in self._ledger.spool.segments:
                return  # it made room for a newer one meanwhile
            if isinstance(error, Damaged):
                self._ledger.spool.set_aside(segment)
            self._ledger.drop([segment])
        self._log.line(log.ERROR, f"spool: {segment.documents} documents are lost: {error}")

    def _deliver(self, batch: Sequence[Item]) -> None:
        answered = list(zip(batch, self._ask(batch), strict=True))
        late = [item for item, answer in answered if answer.verdict is Verdict.LATE]
        self._settle([pair for pair in answered if pair[1].verdict is not Verdict.LATE], Fate.STORED)
        if late:
            moved = [Item(item.segment, item.place, _to_late(item.entry)) for item in late]
            self._settle(list(zip(moved, self._ask(moved), strict=True)), Fate.LATE)

    def _ask(self, batch: Sequence[Item]) -> list[Answer]:
        body = b"".join(item.lines() for item in batch)
        self.state.requests += 1
        self.state.bytes += len(body)
        items = self._send(body)["items"]
        if len(items) != len(batch):
            raise Unavailable(f"the server answered {len(items)} of {len(batch)} documents")
        return [judge(answer, item.segment.tick_ms) for item, answer in zip(batch, items, strict=True)]

    def _settle(self, answered: Sequence[tuple[Item, Answer]], stored: Fate) -> None:
        """Account for the answers; a document that was stored counts as ``stored``."""
        fates: dict[int, dict[int, Fate]] = {}
        for item, answer in answered:
            fate = _FATES.get(answer.verdict)
            if fate is None:
                self._rest(item.segment, answer)
            else:
                fates.setdefault(item.segment.sequence, {})[item.place] = stored if fate is Fate.STORED else fate
        self._keep_rejected([pair for pair in answered if pair[1].verdict is Verdict.REJECTED])
        duplicates = [item for item, answer in answered if answer.verdict is Verdict.DUPLICATE]
        self._suspect([item for item in duplicates if item.segment.sequence not in self._maybe_sent])
        if fates:
            self._ledger.settle(fates, len(duplicates))

    def _rest(self, segment: Segment, answer: Answer) -> None:
        _, backoff = self._rests.get(segment.sequence, (0.0, Backoff(self._most_s)))
        pause = _EARLY_S if answer.verdict is Verdict.EARLY else backoff.fail()
        self._rests[segment.sequence] = (time.monotonic() + pause, backoff)
        self._log.once(log.WARNING, f"put off {answer.status}", f"Elasticsearch puts documents off: {answer.reason}")

    def _keep_rejected(self, refused: Sequence[tuple[Item, Answer]]) -> None:
        if not refused:
            return
        self._ledger.spool.reject(b"".join(_rejected_line(item, answer) for item, answer in refused))
        for item, answer in refused:
            self._log.once(
                log.ERROR,
                f"rejected {answer.status} {answer.reason[:40]}",
                f"Elasticsearch refuses a document of {item.entry.action.decode()}, kept in the spool: {answer.reason}",
            )

    def _suspect(self, twins: Sequence[Item]) -> None:
        self.state.twins += len(twins)
        for item in twins:
            self._log.once(
                log.ERROR,
                f"twin {item.entry.action.decode()}",
                "a document not sent before is in Elasticsearch already: another shipper has this host's name and id, "
                f"or a dimension is missing: {item.entry.action.decode()}",
            )

    def _shrink(self, batch: Sequence[Item]) -> bool:
        """Learn the size of request that the server takes."""
        size = sum(len(item.lines()) for item in batch)
        if len(batch) == 1:
            self._settle([(batch[0], Answer(Verdict.REJECTED, 413, f"one document of {size} bytes"))], Fate.STORED)
        self._limit = max(min(self._limit, size) // 2, _SMALLEST)
        self._log.once(log.WARNING, "413", f"Elasticsearch takes no {size} bytes at once; now sending {self._limit}")
        return True

    def _unavailable(self, batch: Sequence[Item], reason: str) -> None:
        self._maybe_sent.update(item.segment.sequence for item in batch)
        self._maybe_sent.intersection_update(self._ledger.spool.segments)
        self.state.failures += 1
        self.state.reachable, self.state.trouble = False, reason
        self._log.once(log.WARNING, "unavailable", f"{reason}; documents wait in the spool")
        self._pause()

    def _pause(self) -> None:
        self._not_before = time.monotonic() + self._backoff.fail()

    def _until_due(self) -> float | None:
        """Seconds until something rests no longer; None: until woken."""
        now = time.monotonic()
        if self._not_before > now:
            return self._not_before - now
        return max(min((rest for rest, _ in self._rests.values()), default=now) - now, 0.01) if self._rests else None


def _to_late(entry: Entry) -> Entry:
    """The same document for the plain stream; its id is made from its text, so that a resend meets its twin."""
    _, dataset, namespace = json.loads(entry.action)["create"]["_index"].split("-", 2)
    index = late_stream(dataset.removeprefix("shipper."), namespace)
    document_id = hashlib.sha256(entry.document).hexdigest()[:32]
    return Entry(json.dumps({"create": {"_index": index, "_id": document_id}}).encode(), entry.document)


def _rejected_line(item: Item, answer: Answer) -> bytes:
    why = json.dumps({"status": answer.status, "reason": answer.reason})[1:-1].encode()
    return b'{%b,"action":%b,"document":%b}\n' % (why, item.entry.action, item.entry.document)
