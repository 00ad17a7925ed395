"""From spool to server: bodies straight from the segments, one verdict per document, nothing given up in silence.

One thread, ``Delivery``, wakes when a tick is on disk and sends what ``batch`` chooses. A batch that fails as a whole
is kept and tried again after a pause (exponential, full jitter, a few seconds at most); before it goes again, a small
question has to be answered, so that a server in trouble is asked often and burdened seldom. What will never be taken
goes to ``rejected.ndjson`` with its reason; whether that is so is judged by the error's type and by what the server
says of the other documents, see ``verdict``.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from shipper.base import log
from shipper.base.errors import BadRequest, TooLarge, Unavailable
from shipper.deliver.batch import Backoff, Batch, Item, Selector
from shipper.deliver.ledger import DeliveryState, Fate, Ledger
from shipper.deliver.segment import Entry, body_of
from shipper.deliver.verdict import Answer, Verdict, judge, kind
from shipper.schema.stream_names import late_stream
from shipper.settings.config import Bulk

FILTER_PATH: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
SHARD_S: Final = 3.0  # how long the server may wait for a shard; it would wait a minute, and all of the request with it
PROBE_S: Final = 0.5  # the same for a request that is to find out whether an index takes anything
SKEW_MS: Final = 10_000  # a difference of the clocks that is worth a line
_SMALLEST: Final = 4 << 10  # bytes: a server that refuses even this is not refusing the size
_ASK_S: Final = 5.0  # a server that wants to be left alone for longer is asked a small question all the same
_REFUSED_PAUSE_S: Final = 1.0  # at most, between two refusals of a size
_GROW_S: Final = (5.0, 600.0)  # from a refusal to the attempt to send more at once; the most, where that always fails
_SAMPLES: Final = 3  # documents that are sent one by one to see whether it is they that the server cannot read
_FATES: Final = {Verdict.STORED: Fate.STORED, Verdict.DUPLICATE: Fate.STORED, Verdict.REJECTED: Fate.REJECTED}


Send = Callable[[bytes, float], Any]
"""Bulk body, seconds that the server may wait for a shard → decoded response, with ``skew_ms`` (this clock less the
server's) where that is known.

Raises TooLarge, BadRequest, Unavailable.
"""
Ready = Callable[[], str]
"""Why nothing may be sent yet; empty when it may. Raises Unavailable."""


class _Size:
    """Bytes of one request: halved when they are refused, grown again while they pass."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.now = most
        self._grown = False  # the last change was upward
        self._hold_s = _GROW_S[0]
        self._grow_at = 0.0

    def refused(self, size: int) -> None:
        self._hold_s = min(self._hold_s * 2, _GROW_S[1]) if self._grown else _GROW_S[0]
        self._grow_at = time.monotonic() + self._hold_s
        self._grown = False
        self.now = max(min(self.now, size) // 2, _SMALLEST)

    def passed(self) -> None:
        if self.now < self._most and time.monotonic() >= self._grow_at:
            self.now = min(self.now * 2, self._most)
            self._grown = True


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
        self._size = _Size(bulk.max_bytes)
        most_s = float(bulk.backoff_max_s)
        self._selector = Selector(ledger, out, newest_first=bulk.order == "newest-first", pause_most_s=most_s)
        self._backoff = Backoff(most_s)
        self._refusals = Backoff(_REFUSED_PAUSE_S)
        self._not_before = 0.0
        self._passed = 0  # requests that the server took
        self._refused_alone: dict[tuple[int, int], int] = {}  # document too large by itself → _passed at that time
        # Documents of these may have reached the server: a 409 to them is no surprise
        self._maybe_sent = {segment.sequence for segment in ledger.due()}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._started = self._waiting = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        self._started = True
        with suppress(RuntimeError):  # no thread can be started now: ``revive`` tries again
            self._thread.start()

    def wake(self) -> None:
        """Say that there is something new on disk."""
        self._wake.set()

    def stop(self, flush_s: float) -> None:
        """Send what can be sent in ``flush_s``, then end the thread; the rest stays in the spool."""
        self._not_before = 0.0
        self._stopping.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(flush_s)

    def revive(self) -> None:
        """Start the thread again if it ended although nobody stopped it."""
        if self._thread.is_alive() or self._stopping.is_set() or not self._started:
            return
        thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # at the next tick
            return
        self._thread = thread
        self.state.restarts += 1
        self._log.line(log.ERROR, "the delivery thread had stopped; restarted it")

    def is_alive(self, limit_s: float) -> bool:
        """Whether the thread is idle, or has begun or ended a request in the last ``limit_s`` seconds."""
        if not self._started:
            return True
        return self._thread.is_alive() and (self._waiting or time.monotonic() - self._beat < limit_s)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while self.step():
                    pass
            except Exception as error:  # noqa: BLE001 – delivery outlives its own faults: the documents are on disk
                self._log.once(log.ERROR, f"delivery {error!r}", f"delivery failed; retrying: {error!r}")
                self._pause(0.0)
            self._on_idle()
            if self._stopping.is_set():
                return
            self._waiting = True
            self._wake.wait(self._until_due())
            self._stopping.wait(self._phase_s)
            self._waiting = False

    def step(self) -> bool:
        """Send one batch. False when there is none to send now, and when sending failed."""
        self._beat = time.monotonic()
        if self._beat < self._not_before or not self._ledger.spooled:
            return False
        if self._backoff.failures:
            self.state.circuit = "half-open"
        batch = Batch([], probe=False)
        try:
            self._require_ready()
            batch = self._selector.choose(self._size.now)
            if not batch.items:
                return False
            self._deliver(batch)
        except TooLarge:
            return self._shrink(batch.items)
        except Unavailable as error:
            return self._unavailable(error, {item.segment.sequence for item in batch.items})
        except Exception:
            self._maybe_sent.update(item.segment.sequence for item in batch.items)
            raise
        self._available(batch)
        return True

    def _require_ready(self) -> None:
        """After a failure a small question comes before a large body."""
        if not self._ready:
            reason = self._ask_ready()
            if reason:
                raise Unavailable(reason)
            self._ready = True

    def _available(self, batch: Batch) -> None:
        self._backoff.succeed()
        self._refusals.succeed()
        self._passed += 1
        if not batch.probe:
            self._size.passed()
        self.state.reachable, self.state.trouble, self.state.circuit = True, "", "closed"
        if self._log.over("unavailable"):
            self._log.line(log.INFO, f"Elasticsearch is reachable again; {self._ledger.spooled} documents wait")

    def _deliver(self, batch: Batch) -> None:
        try:
            answered = self._ask(batch.items, PROBE_S if batch.probe else SHARD_S)
        except BadRequest as error:
            answered = self._find_unreadable(batch.items, error)
        late = [item for item, answer in answered if answer.verdict is Verdict.LATE]
        self._settle([pair for pair in answered if pair[1].verdict is not Verdict.LATE], Fate.STORED)
        if late:
            moved = [Item(item.segment, item.place, _to_late(item.entry)) for item in late]
            self._settle(self._ask(moved, SHARD_S), Fate.LATE)

    def _find_unreadable(self, items: Sequence[Item], error: BadRequest) -> list[tuple[Item, Answer]]:
        """One document that the server cannot read makes it refuse the whole request: split until it is alone.

        Where it cannot read a few documents one by one either, it is not their fault. Raises Unavailable then.
        """
        if len(items) == 1:
            self._refuse_alone(items[0], Answer(Verdict.REJECTED, 400, str(error)))
            return []
        if not any(map(self._is_readable, random.sample(list(items), min(_SAMPLES, len(items))))):
            raise Unavailable(str(error), nodes=error.nodes) from error
        return self._split(items)

    def _is_readable(self, item: Item) -> bool:
        try:
            self._ask([item], SHARD_S)
        except BadRequest:
            return False
        self._maybe_sent.add(item.segment.sequence)  # it is sent again with the others
        return True

    def _split(self, items: Sequence[Item]) -> list[tuple[Item, Answer]]:
        try:
            return self._ask(items, SHARD_S)
        except BadRequest as error:
            if len(items) == 1:
                return [(items[0], Answer(Verdict.REJECTED, 400, str(error)))]
        half = len(items) // 2
        return self._split(items[:half]) + self._split(items[half:])

    def _ask(self, items: Sequence[Item], shard_s: float) -> list[tuple[Item, Answer]]:
        body = body_of([item.entry for item in items])
        self.state.requests += 1
        self.state.bytes += len(body)
        self._beat = time.monotonic()
        response = self._send(body, shard_s)
        self._beat = time.monotonic()
        now_ms = self._now_ms()
        try:
            answers = response["items"]
            if len(answers) != len(items):
                raise Unavailable(f"the server answered for {len(answers)} of {len(items)} documents")
            judged = [judge(answer, item.segment.tick_ms, now_ms) for item, answer in zip(items, answers, strict=True)]
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError):
            raise Unavailable("the answer is not a bulk response") from None
        self._compare_clocks(response.get("skew_ms"))
        return _weighed(list(zip(items, judged, strict=True)))

    def _now_ms(self) -> int:
        """The server's time where it is known."""
        if self.state.server_ms is None:
            return time.time_ns() // 1_000_000
        return self.state.server_ms + time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def _compare_clocks(self, skew_ms: int | None) -> None:
        if skew_ms is None:
            return
        self.state.skew_ms = skew_ms
        boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        self.state.server_ms = time.time_ns() // 1_000_000 - skew_ms - boot_ms
        if abs(skew_ms) < SKEW_MS:
            self._log.over("skew")
            return
        way = "ahead of" if skew_ms > 0 else "behind"
        self._log.once(log.WARNING, "skew", f"this host's clock is {abs(skew_ms) / 1000:.0f} s {way} the server's")

    def _settle(self, answered: Sequence[tuple[Item, Answer]], stored: Fate) -> None:
        """Account for the answers; a document that was stored counts as ``stored``."""
        answered = [self._without_twin(item, answer) for item, answer in answered]
        kept = self._keep_rejected([pair for pair in answered if pair[1].verdict is Verdict.REJECTED])
        fates: dict[int, dict[int, Fate]] = {}
        reasons: dict[str, int] = {}
        for item, answer in answered:
            fate = _FATES.get(answer.verdict)
            if fate is None or (fate is Fate.REJECTED and not kept):
                self._put_off(item, answer)
                continue
            self._reopen(item)
            fates.setdefault(item.segment.sequence, {})[item.place] = stored if fate is Fate.STORED else fate
            if fate is Fate.REJECTED:
                reason = kind(answer.status, answer.reason)
                reasons[reason] = reasons.get(reason, 0) + 1
        if fates:
            duplicates = sum(answer.verdict is Verdict.DUPLICATE for _, answer in answered)
            self._ledger.settle(fates, duplicates, reasons)

    def _without_twin(self, item: Item, answer: Answer) -> tuple[Item, Answer]:
        """A document that is there before its first send is another shipper's: this one was not stored.

        The same is assumed of a resend from the time before the two moved apart: nobody can tell whose was stored.
        """
        if answer.verdict is not Verdict.DUPLICATE:
            return item, answer
        with_twin = self.state.twins and item.segment.tick_ms % 1000 != self._ledger.used.steps
        if item.segment.sequence in self._maybe_sent and not with_twin:
            return item, answer
        self.state.twins += 1
        with self._ledger.lock:
            beside_ms = self._ledger.used.move_apart(item.segment.tick_ms)
        if beside_ms:
            self._log.line(
                log.ERROR,
                "another shipper uses this host's name and id and stored its documents first; the documents of this "
                "host are kept as rejected; give each host its own name and /etc/machine-id. Until then this host "
                f"shifts its ticks by {beside_ms} ms, so that no more are lost: {item.entry.action.decode()}",
            )
        return item, Answer(Verdict.REJECTED, answer.status, "twin: another shipper stored a document in this place")

    def _put_off(self, item: Item, answer: Answer) -> None:
        sequence, index = item.segment.sequence, item.target
        self._maybe_sent.add(sequence)  # a 503 may come after the document was written
        if answer.verdict in {Verdict.SHUT, Verdict.EARLY}:
            if answer.verdict is Verdict.SHUT and index not in self.state.resting:
                text = (
                    f"Elasticsearch rejects all documents for {index}: {answer.reason}; other indices are not affected"
                )
                self._log.once(log.WARNING, f"shut {index}", text)
                self.state.resting = {**self.state.resting, index: answer.reason}
            self._selector.shut(index, item.segment.tick_ms if answer.verdict is Verdict.EARLY else 0)
        else:
            self._selector.rest(sequence)
        if answer.verdict is not Verdict.SHUT:
            text = f"Elasticsearch deferred documents for {index}: {answer.reason}; retrying"
            self._log.once(log.WARNING, f"deferred {answer.status} {index}", text)

    def _reopen(self, item: Item) -> None:
        index = item.target if self.state.resting or self._selector.any_shut else ""
        if index and self._selector.is_shut(index, item.segment.tick_ms):
            self._selector.open(index)
            self.state.resting = {name: why for name, why in self.state.resting.items() if name != index}
            if self._log.over(f"shut {index}"):
                self._log.line(log.INFO, f"Elasticsearch accepts documents for {index} again")

    def _keep_rejected(self, refused: Sequence[tuple[Item, Answer]]) -> bool:
        """Whether the disk took them."""
        if not refused:
            return True
        lines = b"".join(_rejected_line(item, answer) for item, answer in refused)
        try:
            with self._ledger.lock:  # not while the file is given back
                self._ledger.spool.reject(lines)
        except OSError as error:
            self._log.once(log.ERROR, "rejected", f"spool: cannot keep rejected documents: {error.strerror}")
            return False
        for item, answer in refused:
            text = f"Elasticsearch rejected a document for {item.target}; kept in the spool: {answer.reason}"
            self._log.once(log.ERROR, f"rejected {kind(answer.status, answer.reason)} {item.target}", text)
        return True

    def _shrink(self, items: Sequence[Item]) -> bool:
        """Learn the size of request that the server takes."""
        size = sum(item.entry.size for item in items)
        if len(items) == 1:
            self._refuse_alone(items[0], Answer(Verdict.REJECTED, 413, f"a document of {size} bytes is too large"))
        self._size.refused(size if len(items) > 1 else 2 * size)  # others of half a document's size need no halving
        text = f"Elasticsearch rejected a request of {size} bytes (413); retrying with {self._size.now}"
        self._log.once(log.WARNING, "413", text)
        self._not_before = time.monotonic() + self._refusals.fail()
        return False

    def _refuse_alone(self, item: Item, answer: Answer) -> None:
        """A document is at fault if it is refused by itself twice, and other requests were taken in between."""
        place = (item.segment.sequence, item.place)
        if self._refused_alone.get(place, self._passed) < self._passed:
            del self._refused_alone[place]
            self._settle([(item, answer)], Fate.STORED)
        else:
            self._refused_alone[place] = self._passed
            self._selector.rest(item.segment.sequence)

    def _unavailable(self, error: Unavailable, sequences: set[int]) -> bool:
        """Whether another node can be asked at once."""
        self._maybe_sent |= sequences
        self._maybe_sent.intersection_update(self._ledger.spool.segments)
        self._ready = False
        self.state.failures += 1
        if self._backoff.failures + 1 < error.nodes and not error.retry_after_s:
            self._backoff.fail()
            self._log.once(log.WARNING, f"server {error}", f"{error}; trying the next server")
            return True
        self.state.reachable, self.state.trouble = False, str(error)
        self._log.once(log.WARNING, "unavailable", f"{error}; documents stay in the spool")
        self._pause(error.retry_after_s)
        return False

    def _pause(self, least_s: float) -> None:
        self.state.circuit = "open"
        pause_s = max(self._backoff.fail(), min(least_s, _ASK_S))
        self._not_before = time.monotonic() + pause_s

    def _until_due(self) -> float | None:
        """Seconds until something rests no longer; None: until woken."""
        now = time.monotonic()
        return self._not_before - now if self._not_before > now else self._selector.until()


def _weighed(answered: list[tuple[Item, Answer]]) -> list[tuple[Item, Answer]]:
    """Doubtful answers decided: the document's fault if its index took another one of the request, else the index's.

    Where a server refuses all documents of several indices with 400, it is not the fault of any of them.
    """
    if all(answer.verdict is Verdict.STORED for _, answer in answered):
        return answered
    takes = {item.target for item, answer in answered if answer.verdict in {Verdict.STORED, Verdict.DUPLICATE}}
    refused = [item.target for item, answer in answered if answer.verdict in {Verdict.REJECTED, Verdict.DOUBTFUL}]
    nobodys_fault = len(refused) == len(answered) and len(set(refused)) > 1

    def decided(item: Item, answer: Answer) -> Answer:
        if answer.verdict is Verdict.REJECTED and not (nobodys_fault and answer.status == 400):  # noqa: PLR2004
            return answer
        if answer.verdict in {Verdict.DOUBTFUL, Verdict.REJECTED}:
            fate = Verdict.REJECTED if item.target in takes else Verdict.SHUT
            return Answer(fate, answer.status, answer.reason)
        return answer

    return [(item, decided(item, answer)) for item, answer in answered]


def _to_late(entry: Entry) -> Entry:
    """The same document for the plain stream; its id is made from its text, so that a resend meets its twin."""
    _, dataset, namespace = json.loads(entry.action)["create"]["_index"].split("-", 2)
    index = late_stream(dataset.removeprefix("shipper."), namespace)
    document_id = hashlib.sha256(entry.document).hexdigest()[:32]
    return Entry(json.dumps({"create": {"_index": index, "_id": document_id}}).encode(), entry.document)


def _rejected_line(item: Item, answer: Answer) -> bytes:
    why = json.dumps({"status": answer.status, "reason": answer.reason})[1:-1].encode()
    return b'{%b,"action":%b,"document":%b}\n' % (why, item.entry.action, item.entry.document)
