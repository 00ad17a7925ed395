"""Times of ticks: aligned to the period, and never the same one twice, however the host's clock is set.

A document is known by its dimensions and ``@timestamp``. After the clock was set back, the aligned times come once more
that older documents have already: the server would answer 409 and the new ones would be lost. So after the k-th step
back ticks stand k ms beside the aligned time, until they have passed the newest time ever used; nothing is silent and
nothing meets a twin. Which times were used is kept in the ledger, or found in the segments.

Steps back over one aligned time need none of this: the times that come again are left out.
"""

from dataclasses import dataclass
from typing import Final

_MS_PER_S: Final = 1000  # periods are whole seconds, so a tick's milliseconds tell how many steps there were
_STEPS_MOST: Final = 999
_NOTICED_MS: Final = 500
LEAP_MS: Final = 3_600_000  # a clock that was set forth this far says nothing of the age of documents


@dataclass
class Used:
    """``last_ms``: time of the last tick. ``high_ms``: the newest ever. ``steps``: how often the clock went back."""

    last_ms: int = 0
    high_ms: int = 0
    steps: int = 0

    def note(self, tick_ms: int) -> None:
        self.last_ms = tick_ms
        self.high_ms = max(self.high_ms, tick_ms)
        self.steps = max(self.steps, tick_ms % _MS_PER_S)

    def choose(self, aligned_ms: int, period_ms: int) -> int:
        """The time for a tick at ``aligned_ms``; 0 if that time has its tick, or no time is free."""
        if aligned_ms > self.high_ms:
            return aligned_ms
        last_aligned_ms = self.last_ms - self.last_ms % _MS_PER_S
        if aligned_ms in {last_aligned_ms, last_aligned_ms - period_ms}:
            return 0
        if aligned_ms < last_aligned_ms or self.last_ms % _MS_PER_S == 0:
            self.steps += 1
        return aligned_ms + self.steps if self.steps <= _STEPS_MOST else 0


@dataclass
class Clock:
    """``choose`` is asked at every wake-up, with the time of day and the time since boot (suspend included), in ns."""

    period_ms: int
    used: Used
    missed: int = 0  # aligned times that passed without a tick while the host ran or slept
    stepped_ms: int = 0  # how far the time of day was set, since the tick before
    leapt: bool = False  # it was set forth by more than LEAP_MS in this run
    _before: tuple[int, int] = (0, 0)

    def choose(self, now_ns: int, boot_ns: int) -> int:
        """The time of the tick that is due, in ms; 0 if it was taken already."""
        tick_ms = self.used.choose(now_ns // 1_000_000 // self.period_ms * self.period_ms, self.period_ms)
        if not tick_ms:
            return 0
        self.stepped_ms = 0
        if self._before != (0, 0):
            passed_ms = (boot_ns - self._before[1]) // 1_000_000
            stepped_ms = (now_ns - self._before[0]) // 1_000_000 - passed_ms
            self.stepped_ms = stepped_ms if abs(stepped_ms) >= _NOTICED_MS else 0
            self.missed += max(0, round(passed_ms / self.period_ms) - 1)
            self.leapt |= stepped_ms > LEAP_MS
        self._before = (now_ns, boot_ns)
        return tick_ms
