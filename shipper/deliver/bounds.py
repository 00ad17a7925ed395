"""The limits of a request: one deadline and one size limit, and a socket each call of which gets the remaining time.

The deadline covers a request as a whole: name look-up, connecting, TLS, sending, headers and body. So a server that
answers one byte per second holds nobody up.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

ANSWER_MOST: Final = 64 << 20  # bytes, unless ``at_most`` sets another limit
_AT_ONCE_S: Final = 0.001  # a socket timeout of 0 means non-blocking


class _Bounds(threading.local):
    """The limits of the request that this thread makes."""

    def __init__(self) -> None:
        self.ends_at = 0.0  # monotonic
        self.address = ""  # of the server that was asked last
        self.most = ANSWER_MOST

    def left_s(self) -> float:
        """Seconds until the deadline. Raises TimeoutError when it has passed."""
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request timed out")
        return max(left_s, _AT_ONCE_S)


BOUNDS: Final = _Bounds()


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Within the block, requests of this thread abandon answers of more than ``size`` bytes."""
    BOUNDS.most = size
    try:
        yield
    finally:
        BOUNDS.most = ANSWER_MOST


def asked() -> str:
    """The address of the server that this thread asked last; empty before the first request."""
    return BOUNDS.address


class Timed:
    """A connected socket, plain or TLS, each call of which gets the remaining time of the request."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, _seconds: float | None) -> None:
        """Ignored: the deadline applies."""

    def sendall(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            self._sock.settimeout(BOUNDS.left_s())
            view = view[self._sock.send(view) :]

    def makefile(self, *_args: object, **_named: object) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock))


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(BOUNDS.left_s())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
