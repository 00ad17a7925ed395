"""How often to read what is not read at every tick."""

from functools import cache
from typing import Final

_NS_PER_S: Final = 1_000_000_000


@cache
def _pause_ns(seconds: float) -> int:
    """The same object for the same seconds, because each cgroup has some."""
    return int(seconds * _NS_PER_S)


class Every:
    """Is ``due`` at the first call, then once in ``seconds`` on the clock of ``now_ns``.

    ``early_s``: it is due this much earlier, so that a tick that begins a little early need not wait for the next one.
    ``offset_s``: the second time is this much earlier, so that things that began together are not due together.
    """

    __slots__ = ("_next_ns", "_offset_ns", "_pause_ns")

    def __init__(self, seconds: float, early_s: float = 0.0, offset_s: float = 0.0) -> None:
        self._pause_ns = _pause_ns(seconds - early_s)
        self._offset_ns = int(offset_s * _NS_PER_S)
        self._next_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Whether it is time; if so, the next time is counted from ``now_ns``."""
        if self._next_ns is not None and now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + self._pause_ns - self._offset_ns
        self._offset_ns = 0
        return True

    def wait(self, now_ns: int, seconds: float) -> None:
        """Set the next time to ``seconds`` after ``now_ns``."""
        self._next_ns = now_ns + int(seconds * _NS_PER_S)

    def now(self) -> None:
        """Make the next call due."""
        self._next_ns = None
