"""A captured host of ``tests/hosts`` as a root whose cgroup files come from memory, with its two moments in turn."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captured import CapturedRoot

from shipper.kernel.source import Files

_STEP_NS = 10_000_000_000


class _Replayed(Files):
    """Files without system calls and paths, so that only the agent's own work is counted."""

    __slots__ = ("_texts",)

    def __init__(self, root: "ReplayedRoot", path: Callable[[int], str], count: int) -> None:
        super().__init__(root, path, count)
        self._texts = [root.both(path(at)) for at in range(count)]

    def read(self, at: int) -> bytes:
        text = self._texts[at][self._root.moment]  # type: ignore[attr-defined]
        if text is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return text


class ReplayedRoot(CapturedRoot):
    """``advance`` shows the other moment, one period later."""

    def __init__(self, host: Path, directory: Path) -> None:
        self.moment = 0
        self._ticks = 0
        self._moments: dict[int, dict[str, Any]] = {}
        self._links: dict[str, int] = {}
        super().__init__(host, directory)
        self._began_ns = super().now_ns()

    def advance(self) -> None:
        """Go to the next tick."""
        self._ticks += 1
        self.moment = self._ticks % 2
        self.show(self.moment)

    def show(self, moment: int) -> None:
        """Like the base class, but reads each moment's notes only once."""
        if moment in self._moments:
            self._moment = self._moments[moment]
            self._link.unlink()
            self._link.symlink_to(self._host / str(moment))
            self.forget()
        else:
            super().show(moment)
            self._moments[moment] = self._moment

    def open(self, path: str, flags: int) -> int:
        """Plain open: valgrind does not support openat2, and its replacement is not part of the measurement."""
        return os.open(self.absolute(path), flags)

    def stat(self, path: str) -> os.stat_result:
        """With the number of links that a cgroup's directory would have."""
        plain = super().stat(path)
        if path not in self._links:
            self._links[path] = 2 + len(self.directories(path)) if os.path.isdir(self.absolute(path)) else 1
        return os.stat_result((*plain[:3], self._links[path], *plain[4:10]))

    def now_ns(self) -> int:
        """The simulated clock."""
        return self._began_ns + self._ticks * _STEP_NS

    def both(self, path: str) -> tuple[bytes | None, bytes | None]:
        """The texts of a file at both moments; None where it does not exist."""
        first, second = (self._text(moment, path) for moment in (0, 1))
        return first, second

    def _text(self, moment: int, path: str) -> bytes | None:
        file = self._host / str(moment) / path
        return file.read_bytes() if file.is_file() else None

    def files(self, path: Callable[[int], str], count: int) -> Files:
        return _Replayed(self, path, count)
