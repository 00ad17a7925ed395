"""Times of ticks: aligned to the period, and never used twice, however the host's clock is set.

A document is identified by its dimensions and ``@timestamp``. After the clock was set back, aligned times recur that
older documents already have: the server would answer 409 and the new documents would be lost. Therefore, after the k-th
step back, ticks are shifted by k ms from the aligned times until they pass the newest time ever used. The times used
are kept in the ledger, or found in the segments.

A step back by less than one period needs no shift: the recurring time is skipped.

The same shift keeps a cloned host from losing documents: an agent that meets documents of another agent under its own
host name moves to a shift of its own.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_MS_PER_S: Final = 1000  # periods are whole seconds, so a tick's milliseconds tell how many steps there were
_STEPS_MOST: Final = 999
_NOTICED_MS: Final = 500


@lru_cache(maxsize=1)  # the datasets of a tick have the same
def timestamp(tick_ms: int) -> str:
    """``2026-11-23T18:00:00.000Z``."""
    return datetime.fromtimestamp(tick_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Used:
    """The times used. ``last_ms``: the last tick. ``high_ms``: the newest tick ever. ``steps``: how often the clock
    went back.

    ``apart``: another shipper uses the aligned times under this host's name, so this one shifts its ticks for good.
    """

    last_ms: int = 0
    high_ms: int = 0
    steps: int = 0
    apart: bool = False

    @classmethod
    def of(cls, saved: Sequence[int]) -> "Used":
        """From the value of ``saved``; an invalid value counts as nothing known."""
        last_ms, high_ms, steps, apart = (*saved, *(0, 0, 0, 0)[len(saved) :])[:4]
        return cls(last_ms, high_ms, steps if steps <= _STEPS_MOST else 0, bool(apart))

    def saved(self) -> list[int]:
        return [self.last_ms, self.high_ms, self.steps, int(self.apart)]

    def note(self, tick_ms: int) -> None:
        self.last_ms = tick_ms
        self.high_ms = max(self.high_ms, tick_ms)
        self.steps = max(self.steps, tick_ms % _MS_PER_S)

    def choose(self, aligned_ms: int, period_ms: int) -> int:
        """The time of the tick for ``aligned_ms``; 0 if that tick was already made."""
        if aligned_ms > self.high_ms and not self.apart:
            return aligned_ms
        last_aligned_ms = self.last_ms - self.last_ms % _MS_PER_S
        if aligned_ms in {last_aligned_ms, last_aligned_ms - period_ms}:
            return 0
        if aligned_ms < last_aligned_ms or self.last_ms % _MS_PER_S == 0:
            # After so many steps back the first ones are so long ago that their times may come again
            self.steps = self.steps % _STEPS_MOST + 1
        return aligned_ms + self.steps

    def move_apart(self, tick_ms: int) -> int:
        """Shift the ticks, because tick ``tick_ms`` met another shipper's. Returns the shift in ms; 0 if already
        shifted.
        """
        if self.apart and tick_ms % _MS_PER_S != self.steps:
            return 0
        self.apart = True
        self.steps = random.randint(1, _STEPS_MOST)  # noqa: S311 – a clone draws its own
        return self.steps

    def forget_future(self, limit_ms: int) -> bool:
        """Whether a newest time beyond ``limit_ms`` was forgotten: no server accepted documents of that time."""
        wrong = self.high_ms > limit_ms >= self.last_ms
        if wrong:
            self.high_ms = self.last_ms
        return wrong


@dataclass
class Clock:
    """Decides which tick is due. Call ``choose`` at every wake-up with the time of day and CLOCK_BOOTTIME, in ns."""

    period_ms: int
    used: Used
    missed: int = 0  # aligned times that passed without a tick while the host ran or slept
    stepped_ms: int = 0  # how far the time of day was set, since the tick before
    _before: tuple[int, int] = (0, 0)

    def choose(self, now_ns: int, boot_ns: int) -> int:
        """The time of the tick that is due, in ms; 0 if that tick was already made."""
        tick_ms = self.used.choose(now_ns // 1_000_000 // self.period_ms * self.period_ms, self.period_ms)
        if not tick_ms:
            return 0
        self.stepped_ms = 0
        if self._before != (0, 0):
            passed_ms = (boot_ns - self._before[1]) // 1_000_000
            stepped_ms = (now_ns - self._before[0]) // 1_000_000 - passed_ms
            self.stepped_ms = stepped_ms if abs(stepped_ms) >= _NOTICED_MS else 0
            self.missed += max(0, round(passed_ms / self.period_ms) - 1)
        self._before = (now_ns, boot_ns)
        return tick_ms
