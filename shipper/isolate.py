"""Calls side by side with their deadlines: one that hangs or raises costs its own result and no others.

The collectors of a tick are such calls, and so are the mounts of one collector. All run in one worker thread, one after
the other: a round costs one hand-over, not one per call. Only when a call is over its deadline (a dead NFS server, a
stopped FUSE daemon: what no signal ends) its thread is left behind and a new one goes on with the rest. Until that
thread comes back the call is not made again, so threads never pile up.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_NS_PER_S: Final = 1_000_000_000


@dataclass(slots=True)
class Outcome(Generic[T]):
    """What one call gave: a value, or the error's class and words, or neither: it hangs."""

    value: T | None = None
    error: str = ""
    stuck: bool = False
    duration_ns: int = 0


@dataclass
class _Shift(Generic[T]):
    """The calls handed over at one time, and how far the worker has come."""

    calls: Sequence[tuple[str, Callable[[], T]]]
    outcomes: dict[str, Outcome[T]] = field(default_factory=dict)
    current: str = ""
    began_ns: int = 0
    abandoned: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Crew(Generic[T]):
    """Runs named calls, each within ``deadline_s``; after ``total_s`` no thread is begun for the rest of a round."""

    def __init__(self, deadline_s: float, total_s: float = math.inf) -> None:
        self._deadline_ns = int(deadline_s * _NS_PER_S)
        self._total_s = total_s
        self._worker: _Worker[T] | None = None
        self._stuck: dict[str, _Worker[T]] = {}

    def run(self, calls: Sequence[tuple[str, Callable[[], T]]]) -> dict[str, Outcome[T]]:
        """The outcome of each call by its name; those for which no time was left are missing."""
        end = time.monotonic() + self._total_s
        self._stuck = {name: worker for name, worker in self._stuck.items() if worker.is_alive()}
        outcomes = {name: Outcome[T](stuck=True) for name in self._stuck}
        waiting = [call for call in calls if call[0] not in self._stuck]
        while waiting and time.monotonic() < end:
            shift = _Shift(waiting)
            if self._worker is None:
                self._worker = _Worker()
                self._worker.start()
            self._worker.shifts.put(shift)
            self._wait(shift)
            outcomes |= shift.outcomes
            waiting = [call for call in waiting if call[0] not in outcomes]
        return outcomes

    def _wait(self, shift: _Shift[T]) -> None:
        left_ns = self._deadline_ns
        while not shift.done.wait(max(left_ns, 1) / _NS_PER_S):
            with shift.lock:
                left_ns = self._deadline_ns - (time.monotonic_ns() - shift.began_ns) if shift.current else left_ns
                if left_ns <= 0 and shift.current:
                    shift.abandoned = True
                    shift.outcomes[shift.current] = Outcome(stuck=True, duration_ns=self._deadline_ns)
                    if self._worker:
                        self._stuck[shift.current] = self._worker
                    self._worker = None
                    return


class _Worker(threading.Thread, Generic[T]):
    """Works off shifts until it is abandoned in one."""

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
        shift.done.set()
        return True


def _attempt(call: Callable[[], T]) -> Outcome[T]:
    try:
        return Outcome(call())
    except Exception as error:  # noqa: BLE001 – a fault in one collector must not end the others
        return Outcome(error=f"{type(error).__name__}: {error}")
