"""What is read more slowly than at each tick: one way to say how often."""

from typing import Final

_NS_PER_S: Final = 1_000_000_000


class Every:
    """``due`` at the first call, then once in ``seconds``, on the clock of the ``now_ns`` that it is given.

    ``early_s``: so much earlier counts as due; a tick that begins a little early must not wait for the next one.
    ``offset_s``: the second time comes so much earlier, so that what began together is not due together.
    """

    __slots__ = ("_next_ns", "_offset_ns", "_pause_ns")

    def __init__(self, seconds: float, early_s: float = 0.0, offset_s: float = 0.0) -> None:
        self._pause_ns = int((seconds - early_s) * _NS_PER_S)
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
        """Put the next time at ``seconds`` after ``now_ns``, this once."""
        self._next_ns = now_ns + int(seconds * _NS_PER_S)

    def now(self) -> None:
        """Make the next call due."""
        self._next_ns = None
