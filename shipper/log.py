"""The agent's log: one line to standard error, with the priority prefix that journald understands (sd-daemon(3)).

Quiet when all is well; a cause that goes on is told once per hour with the number of times it came.
"""

import sys
import time
from typing import Final

ERROR: Final = 3
WARNING: Final = 4
INFO: Final = 6

_AGAIN_S: Final = 3600.0
_CAUSES_MOST: Final = 1000


class Log:
    """Lines to ``stream``. Control characters in a message are shown as escapes: what is logged may be hostile."""

    def __init__(self, *, journal: bool | None = None) -> None:
        self._journal = not sys.stderr.isatty() if journal is None else journal
        self._told: dict[str, tuple[float, int]] = {}

    def line(self, priority: int, message: str) -> None:
        text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in message)
        prefix = f"<{priority}>" if self._journal else ""
        print(f"{prefix}shipper: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def once(self, priority: int, cause: str, message: str) -> None:
        """``message`` unless ``cause`` was told in the last hour; then it is only counted."""
        now = time.monotonic()
        last, count = self._told.get(cause, (-_AGAIN_S, 0))
        if now - last < _AGAIN_S:
            self._told[cause] = (last, count + 1)
            return
        if len(self._told) >= _CAUSES_MOST:
            self._told.clear()
        self._told[cause] = (now, 0)
        self.line(priority, f"{message} (and {count} times more since last told)" if count else message)

    def over(self, cause: str) -> bool:
        """Whether ``cause`` had been told; it will be told anew when it comes back."""
        return self._told.pop(cause, None) is not None
