"""Run calls with deadlines: a call that hangs or raises affects only its own result.

The collectors of a tick are such calls, and so are the mounts of one collector. One worker thread runs them in
sequence, so that a round costs one hand-over and not one per call. When a call exceeds its deadline (a dead NFS server
or a stopped FUSE daemon, which no signal interrupts), its thread is abandoned and a new one continues with the rest.
The call is not made again until that thread returns, so threads never pile up. If the host can start no thread (a pids
limit, a fork bomb), the calls fail with that error.

``Errand`` makes a call that may end after the round that began it.

``Aside`` does the same for single calls, such as those to a disk: while one hangs, further calls are refused at once.
"""

import errno
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

_NS_PER_S: Final = 1_000_000_000
NO_THREAD: Final = "no thread can be started: a pids limit is reached"


@dataclass(slots=True)
class Outcome(Generic[T]):
    """The result of one call: a value, or the error's class and message, or neither if the call hangs."""

    value: T | None = None
    error: str = ""
    stuck: bool = False
    duration_ns: int = 0


@dataclass
class _Shift(Generic[T]):
    """The calls that were handed over together, and how far the worker has come."""

    calls: Sequence[tuple[str, Callable[[], T]]]
    outcomes: dict[str, Outcome[T]] = field(default_factory=dict)
    current: str = ""
    began_ns: int = 0
    abandoned: bool = False
    done: SimpleQueue[None] = field(default_factory=SimpleQueue)  # an Event takes twice the time of it
    lock: threading.Lock = field(default_factory=threading.Lock)


class Crew(Generic[T]):
    """Runs named calls, each within ``deadline_s``; after ``total_s``, no further thread is started in that round."""

    def __init__(self, deadline_s: float, total_s: float = math.inf) -> None:
        self._deadline_ns = int(deadline_s * _NS_PER_S)
        self._total_s = total_s
        self._worker: _Worker[T] | None = None
        self._stuck: dict[str, _Worker[T]] = {}

    def run(self, calls: Sequence[tuple[str, Callable[[], T]]]) -> dict[str, Outcome[T]]:
        """The outcome of each call by name; calls for which no time was left are missing."""
        end = time.monotonic() + self._total_s
        self._stuck = {name: worker for name, worker in self._stuck.items() if worker.is_alive()}
        outcomes = {name: Outcome[T](stuck=True) for name in self._stuck}
        waiting = [call for call in calls if call[0] not in self._stuck]
        while waiting and time.monotonic() < end:
            shift = _Shift(waiting)
            if not self._hire():
                return outcomes | {name: Outcome[T](error=NO_THREAD) for name, _ in waiting}
            self._hand_over(shift)
            outcomes |= shift.outcomes
            waiting = [call for call in waiting if call[0] not in outcomes]
        return outcomes

    def _hire(self) -> bool:
        """Whether there is a worker. A worker that ended is replaced."""
        if self._worker is None or not self._worker.is_alive():
            worker = _Worker[T]()
            try:
                worker.start()
            except RuntimeError:
                self._worker = None
                return False
            self._worker = worker
        return True

    def _hand_over(self, shift: _Shift[T]) -> None:
        """Wait until the worker has finished the calls, died, or hangs in one of them."""
        worker = self._worker
        if worker is None:
            return
        worker.shifts.put(shift)
        left_ns = self._deadline_ns
        while not _is_done(shift, max(left_ns, 1) / _NS_PER_S) and worker.is_alive():
            with shift.lock:
                left_ns = self._deadline_ns - (time.monotonic_ns() - shift.began_ns) if shift.current else left_ns
                if left_ns <= 0 and shift.current:
                    shift.abandoned = True
                    shift.outcomes[shift.current] = Outcome(stuck=True, duration_ns=self._deadline_ns)
                    self._stuck[shift.current] = worker
                    self._worker = None
                    return


class _Worker(threading.Thread, Generic[T]):
    """Processes shifts until it is abandoned in one."""

    def __init__(self) -> None:
        super().__init__(name="crew", daemon=True)
        self.shifts: SimpleQueue[_Shift[T]] = SimpleQueue()

    def run(self) -> None:
        while self._work(self.shifts.get()):
            pass

    def _work(self, shift: _Shift[T]) -> bool:
        for name, call in shift.calls:
            with shift.lock:
                shift.current, shift.began_ns = name, time.monotonic_ns()
            outcome = _attempt(call)
            with shift.lock:
                if shift.abandoned:
                    return False
                outcome.duration_ns = time.monotonic_ns() - shift.began_ns
                shift.outcomes[name], shift.current = outcome, ""
        shift.done.put(None)
        return True


def _is_done(shift: _Shift[T], wait_s: float) -> bool:
    try:
        shift.done.get(timeout=wait_s)
    except Empty:
        return False
    return True


def _attempt(call: Callable[[], T]) -> Outcome[T]:
    try:
        return Outcome(call())
    except Exception as error:  # noqa: BLE001 – a fault in one collector must not end the others
        return Outcome(error=f"{type(error).__name__}: {error}")


class Errand(Generic[T]):
    """Makes one call at a time in a thread of its own, and keeps its outcome until it is taken."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._outcomes: SimpleQueue[Outcome[T]] = SimpleQueue()
        self.busy = False

    def begin(self, call: Callable[[], T]) -> None:
        """Start ``call``; only when it is not ``busy``."""
        self.busy = True
        try:
            threading.Thread(target=self._work, args=(call,), name=self._name, daemon=True).start()
        except RuntimeError:
            self._outcomes.put(Outcome(error=NO_THREAD))

    def take(self, wait_s: float) -> Outcome[T] | None:
        """The outcome of the call, once; None if there is none after ``wait_s``."""
        if not self.busy:
            return None
        try:
            outcome = self._outcomes.get(timeout=wait_s) if wait_s > 0 else self._outcomes.get_nowait()
        except Empty:
            return None
        self.busy = False
        return outcome

    def _work(self, call: Callable[[], T]) -> None:
        began_ns = time.monotonic_ns()
        outcome = _attempt(call)
        outcome.duration_ns = time.monotonic_ns() - began_ns
        self._outcomes.put(outcome)


class Aside:
    """Makes calls in a separate thread and waits for each no longer than a deadline.

    A call that exceeds its deadline continues; until it ends, further calls raise TimeoutError at once. Threads may
    share an ``Aside``: it makes their calls one after the other.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hanging: _Call | None = None
        self._posted: _Call | None = None
        self._turn = threading.Lock()

    def run(self, call: Callable[[], T], deadline_s: float) -> T:
        """Return the value of ``call`` or raise its error. Raises TimeoutError; OSError if no thread can be started."""
        with self._turn:
            if self._hanging and not self._hanging.done:
                raise TimeoutError(errno.ETIMEDOUT, "does not respond")
            self._hanging = None
            self._start()
            asked = _Call(call)
            self._calls.put(asked)
            try:
                outcome = asked.reply.get(timeout=deadline_s)
            except Empty:
                self._hanging = asked
                raise TimeoutError(errno.ETIMEDOUT, "does not respond") from None
        if isinstance(outcome, _Raised):
            try:
                raise outcome.error
            finally:
                del outcome, asked  # the error's traceback has this frame: a cycle that would keep all callers' objects
        value: T = outcome
        return value

    def post(self, call: Callable[[], object]) -> None:
        """Make ``call`` without waiting for its end; it is left out while an earlier one does not end.

        Raises OSError if no thread can be started.
        """
        with self._turn:
            if any(earlier and not earlier.done for earlier in (self._hanging, self._posted)):
                return
            self._start()
            self._posted = _Call(call)
            self._calls.put(self._posted)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                raise OSError(errno.EAGAIN, NO_THREAD) from None
            self._thread = thread

    def _work(self) -> None:
        while True:
            asked = self._calls.get()
            try:
                outcome = asked.call()
            except BaseException as error:  # noqa: BLE001 – raised where the call was asked for
                outcome = _Raised(error)
            asked.done = True
            asked.reply.put(outcome)
            del asked, outcome  # else they stay until the next call


class _Call:
    """One call of an ``Aside``."""

    __slots__ = ("call", "done", "reply")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.done = False
        self.reply: SimpleQueue[Any] = SimpleQueue()


class _Raised(NamedTuple):
    error: BaseException
