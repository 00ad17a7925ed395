"""Deliver documents from the spool to the server: one verdict per document, and every loss is counted.

One thread, ``Delivery``, wakes up when a tick is on disk and sends what ``batch`` chooses. A batch that fails as a
whole is retried after a pause (exponential with full jitter, a few seconds at most). Before the retry, a small request
must succeed, so that a server in trouble is asked often but not loaded. Documents that the server will never accept go
to ``rejected.ndjson`` with the reason. Whether that is so depends on the type of the error and on the server's answers
for the other documents; see ``verdict``.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from shipper.base import log, messages
from shipper.base.errors import BadRequest, TooLarge, Unavailable
from shipper.base.isolate import NO_THREAD
from shipper.deliver.batch import Backoff, Batch, Item, Selector
from shipper.deliver.ledger import DeliveryState, Fate, Ledger
from shipper.deliver.segment import Entry, body_of
from shipper.deliver.verdict import Answer, Verdict, judge, kind
from shipper.schema.stream_names import late_stream
from shipper.settings.config import Bulk

FILTER_PATH: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
SHARD_S: Final = (
    3.0  # how long the server may wait for a shard; its default is a minute, during which the whole request waits
)
PROBE_S: Final = 0.5  # the same for a probe
SKEW_MS: Final = 10_000  # clock skew that is worth a log line
_SMALLEST: Final = 4 << 10  # bytes: a server that rejects even this does not reject the size
_ASK_S: Final = 5.0  # upper limit for Retry-After; then a small request checks the server
_REFUSED_PAUSE_S: Final = 1.0  # at most, between two refusals of a size
_GROW_S: Final = (
    5.0,
    600.0,
)  # from a rejected size to the next attempt to increase it; the maximum, if increasing always fails
_SAMPLES: Final = 3  # documents to send singly, to find out whether they are what the server cannot parse
_FATES: Final = {Verdict.STORED: Fate.STORED, Verdict.DUPLICATE: Fate.STORED, Verdict.REJECTED: Fate.REJECTED}


Send = Callable[[bytes, float], Any]
"""Bulk body, seconds that the server may wait for a shard → decoded response, with ``skew_ms`` (this clock less the
server's) where that is known.

Raises TooLarge, BadRequest, Unavailable.
"""
Ready = Callable[[], str]
"""Why nothing may be sent yet; empty when it may. Raises Unavailable."""


class _Size:
    """The size of one request in bytes: halved when the server rejects it, increased again while requests succeed."""

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
    """Sends the documents of ``ledger``'s spool with ``send``. ``step`` sends one batch; the thread runs until
    ``stop``.
    """

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
        """``phase_s``: how long after a tick its documents are sent, so that the hosts of a fleet do not send at the
        same moment.

        The thread calls ``on_idle`` when it has sent what it could.
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
        self._passed = 0  # requests that the server accepted
        self._refused_alone: dict[tuple[int, int], int] = {}  # document too large by itself → _passed at that time
        # Documents of these may have reached the server: for them a 409 is expected
        self._maybe_sent = {segment.sequence for segment in ledger.due()}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._flush_by = 0.0  # while stopping
        self._started = self._waiting = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        self._started = True
        with suppress(RuntimeError):  # no thread can be started now; ``revive`` retries
            self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there are new documents on disk."""
        self._wake.set()

    def stop(self, flush_s: float) -> None:
        """Send documents for at most ``flush_s`` seconds, then end the thread; the rest stays in the spool.

        Documents that the server deferred are sent again within that time; if it does not answer, nothing is.
        """
        self._not_before = 0.0
        self._flush_by = time.monotonic() + flush_s
        self._stopping.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(flush_s)

    def revive(self) -> None:
        """Start the thread again if it ended without ``stop``."""
        if self._thread.is_alive() or self._stopping.is_set() or not self._started:
            return
        thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # at the next tick
            return
        former, self._thread = self._thread, thread
        if former.ident:  # else it could not be started before
            self.state.restarts += 1
            self._log.line(messages.DELIVERY_RESTARTED)

    def why_stalled(self, limit_s: float) -> str:
        """Empty if the thread is idle, or has started or finished a request in the last ``limit_s`` seconds."""
        if not self._started:
            return ""
        if not self._thread.is_alive():
            return NO_THREAD
        return "" if self._waiting or time.monotonic() - self._beat < limit_s else f"no progress for {limit_s:g} s"

    def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while self.step():
                    pass
            except Exception as error:  # noqa: BLE001 – delivery outlives its own faults: the documents are on disk
                self._log.once(messages.DELIVERY_FAILED, f"delivery {error!r}", error=repr(error))
                self._pause(0.0)
            self._on_idle()
            if self._stopping.is_set():
                again_s = self._selector.rest_s() if self.state.reachable else None
                if again_s is None or time.monotonic() + again_s > self._flush_by:
                    return
                self._wake.wait(again_s)
                continue
            self._waiting = True
            self._wake.wait(self._until_due())
            self._stopping.wait(self._phase_s)
            self._waiting = False

    def step(self) -> bool:
        """Send one batch. Returns False if there was none to send, or if sending failed."""
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
        """After a failure, make a small request before the next large body."""
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
            self._log.line(messages.REACHABLE, count=self._ledger.spooled)

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
        """Find the document that the server cannot parse, which makes it reject the whole request, by splitting the
        batch.

        If the server cannot parse single documents either, the documents are not at fault: raises Unavailable.
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
        self._maybe_sent.add(item.segment.sequence)  # it is resent with the others
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
        begin = self._beat = time.monotonic()
        response = self._send(body, shard_s)
        self._beat = time.monotonic()
        self.state.latency_ms = max(round((self._beat - begin) * 1000), self.state.latency_ms or 0)
        now_ms = self._now_ms()
        try:
            answers = response["items"]
            if len(answers) != len(items):
                raise Unavailable(f"the response covers {len(answers)} of {len(items)} documents")
            judged = [judge(answer, item.segment.tick_ms, now_ms) for item, answer in zip(items, answers, strict=True)]
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError):
            raise Unavailable("the response is not a valid bulk response") from None
        self._compare_clocks(response.get("skew_ms"))
        return _weighed(list(zip(items, judged, strict=True)))

    def _now_ms(self) -> int:
        """The server's time if it is known, else this host's."""
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
        self._log.once(messages.SKEW, "skew", seconds=f"{abs(skew_ms) / 1000:.0f}", way=way)

    def _settle(self, answered: Sequence[tuple[Item, Answer]], stored: Fate) -> None:
        """Record the answers; a document that already existed counts as ``stored``."""
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
        """Reject a document that existed before it was first sent: another shipper stored it, and ours was not stored.

        The same is assumed of a resend from before the two shippers moved apart: nobody can tell whose document was
        stored.
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
            self._log.line(messages.TWIN, ms=beside_ms, action=item.entry.action.decode())
        reason = "twin: another shipper stored a document with this host's name, id and time"
        return item, Answer(Verdict.REJECTED, answer.status, reason)

    def _put_off(self, item: Item, answer: Answer) -> None:
        sequence, index = item.segment.sequence, item.target
        self._maybe_sent.add(sequence)  # a 503 may come after the document was written
        if answer.verdict in {Verdict.SHUT, Verdict.EARLY}:
            if answer.verdict is Verdict.SHUT and index not in self.state.resting:
                self._log.once(messages.RESTING, f"shut {index}", index=index, reason=answer.reason)
                self.state.resting = {**self.state.resting, index: answer.reason}
            self._selector.shut(index, item.segment.tick_ms if answer.verdict is Verdict.EARLY else 0)
        else:
            self._selector.rest(sequence)
        if answer.verdict is not Verdict.SHUT:
            self._log.once(messages.DEFERRED, f"deferred {answer.status} {index}", index=index, reason=answer.reason)

    def _reopen(self, item: Item) -> None:
        index = item.target if self.state.resting or self._selector.any_shut else ""
        if index and self._selector.is_shut(index, item.segment.tick_ms):
            self._selector.open(index)
            self.state.resting = {name: why for name, why in self.state.resting.items() if name != index}
            if self._log.over(f"shut {index}"):
                self._log.line(messages.OPEN_AGAIN, index=index)

    def _keep_rejected(self, refused: Sequence[tuple[Item, Answer]]) -> bool:
        """Write rejected documents to disk. Returns whether the disk accepted them."""
        if not refused:
            return True
        lines = b"".join(_rejected_line(item, answer) for item, answer in refused)
        try:
            with self._ledger.lock:  # not while ``shipper spool`` takes the file
                self._ledger.spool.reject(lines)
        except OSError as error:
            self._log.once(messages.REJECTED_NOT_KEPT, "rejected", error=error.strerror)
            return False
        for item, answer in refused:
            cause = f"rejected {kind(answer.status, answer.reason)} {item.target}"
            self._log.once(messages.REJECTED, cause, index=item.target, reason=answer.reason)
        return True

    def _shrink(self, items: Sequence[Item]) -> bool:
        """Reduce the request size to what the server accepts."""
        size = sum(item.entry.size for item in items)
        if len(items) == 1:
            self._refuse_alone(items[0], Answer(Verdict.REJECTED, 413, f"a document of {size} bytes is too large"))
        self._size.refused(size if len(items) > 1 else 2 * size)  # other requests need no smaller size
        self._log.once(messages.TOO_LARGE, "413", size=size, now=self._size.now)
        self._not_before = time.monotonic() + self._refusals.fail()
        return False

    def _refuse_alone(self, item: Item, answer: Answer) -> None:
        """Reject a document that is too large by itself: twice, with accepted requests in between."""
        place = (item.segment.sequence, item.place)
        if self._refused_alone.get(place, self._passed) < self._passed:
            del self._refused_alone[place]
            self._settle([(item, answer)], Fate.STORED)
        else:
            self._refused_alone[place] = self._passed
            self._selector.rest(item.segment.sequence)

    def _unavailable(self, error: Unavailable, sequences: set[int]) -> bool:
        """Record a failed request. Returns whether another server can be tried at once."""
        self._maybe_sent |= sequences
        self._maybe_sent.intersection_update(self._ledger.spool.segments)
        self._ready = False
        self.state.failures += 1
        if self._backoff.failures + 1 < error.nodes and not error.retry_after_s:
            self._backoff.fail()
            self._log.once(messages.NEXT_SERVER, f"server {error}", error=error)
            return True
        self.state.reachable, self.state.trouble = False, str(error)
        self._log.once(messages.UNAVAILABLE, "unavailable", error=error)
        self._pause(error.retry_after_s)
        return False

    def _pause(self, least_s: float) -> None:
        self.state.circuit = "open"
        pause_s = max(self._backoff.fail(), min(least_s, _ASK_S))
        self._not_before = time.monotonic() + pause_s

    def _until_due(self) -> float | None:
        """Seconds until the next pause ends; None to wait until woken."""
        now = time.monotonic()
        return self._not_before - now if self._not_before > now else self._selector.until()


def _weighed(answered: list[tuple[Item, Answer]]) -> list[tuple[Item, Answer]]:
    """Decide doubtful answers: the document's fault if its index accepted another document of the request, else the
    index's.

    If a server rejects all documents of several indices with 400, it is not the fault of any of them.
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
    """The same document for the late stream. Its id is a hash of its text, so that a resend is recognised."""
    _, dataset, namespace = json.loads(entry.action)["create"]["_index"].split("-", 2)
    index = late_stream(dataset.removeprefix("shipper."), namespace)
    document_id = hashlib.sha256(entry.document).hexdigest()[:32]
    return Entry(json.dumps({"create": {"_index": index, "_id": document_id}}).encode(), entry.document)


def _rejected_line(item: Item, answer: Answer) -> bytes:
    why = json.dumps({"status": answer.status, "reason": answer.reason})[1:-1].encode()
    return b'{%b,"action":%b,"document":%b}\n' % (why, item.entry.action, item.entry.document)
