"""The HTTP connections to Elasticsearch: gzip at a level of our own, and a deadline for the request as a whole.

The only module that needs the insides of the client's transport.
"""

import gzip
import math
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final, Self

import elastic_transport
from elastic_transport import HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType

_SMALLEST_COMPRESSED: Final = 512


class _Clockwork(threading.local):
    """The connections that the request of this thread goes through."""

    def __init__(self) -> None:
        self.used: list[Any] = []


def _cuttable(kind: type[Any], clockwork: _Clockwork) -> type[Any]:
    """A connection class of urllib3 whose connection another thread can cut, also amid the TLS handshake."""

    class Connection(kind):  # type: ignore[misc]
        handle: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            sock: socket.socket = super()._new_conn()
            self.handle = sock.dup()
            clockwork.used.append(self)
            return sock

        def request(self, *args: Any, **named: Any) -> None:
            clockwork.used.append(self)
            super().request(*args, **named)

        def cut(self) -> None:
            with suppress(OSError):
                if self.handle:
                    self.handle.shutdown(socket.SHUT_RDWR)

        def close(self) -> None:
            if self.handle:
                self.handle.close()
                self.handle = None
            super().close()

    return Connection


class _Deadlines:
    """Cuts the connections of requests that are over their time; one thread, which sleeps while none is under way.

    A thread for each request would cost more than the request's own work.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[_Deadline, float] = {}
        self._looks_at = math.inf  # the time at which the thread wakes up by itself
        self._thread: threading.Thread | None = None

    def add(self, one: "_Deadline", at: float) -> None:
        with self._changed:
            self._open[one] = at
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif at < self._looks_at:
                self._changed.notify()

    def remove(self, one: "_Deadline") -> None:
        with self._changed:
            self._open.pop(one, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for one in [one for one, at in self._open.items() if at <= now]:
                    del self._open[one]
                    one.cut()
                self._looks_at = min(self._open.values(), default=math.inf)
                self._changed.wait(None if self._looks_at == math.inf else max(self._looks_at - time.monotonic(), 0.0))


_DEADLINES: Final = _Deadlines()


class _Deadline:
    """Cuts the connections of the request made within the block when ``seconds`` have passed."""

    def __init__(self, seconds: float, clockwork: _Clockwork) -> None:
        self._used: list[Any] = []
        clockwork.used = self._used
        self.passed = False
        self._at = time.monotonic() + seconds

    def cut(self) -> None:
        self.passed = True
        for connection in self._used:
            connection.cut()

    def __enter__(self) -> Self:
        _DEADLINES.add(self, self._at)
        return self

    def __exit__(self, *_: object) -> None:
        _DEADLINES.remove(self)


def node_class(level: int) -> type[Urllib3HttpNode]:
    """A node that compresses at gzip ``level`` (0: not at all); the client's own ``http_compress`` is always 9."""

    class Node(Urllib3HttpNode):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self._clockwork = _Clockwork()
            self.pool.ConnectionCls = _cuttable(self.pool.ConnectionCls, self._clockwork)
            if config.client_cert:  # the base class forgets it where it does not verify by authority
                pool: Any = self.pool
                pool.cert_file, pool.key_file = config.client_cert, config.client_key

        def perform_request(
            self,
            method: str,
            target: str,
            body: bytes | None = None,
            headers: HttpHeaders | None = None,
            request_timeout: DefaultType | float | None = DEFAULT,
        ) -> NodeApiResponse:
            sent = HttpHeaders(headers or {})
            if body and level and len(body) >= _SMALLEST_COMPRESSED and "content-encoding" not in sent:
                body = gzip.compress(body, level, mtime=0)
                sent["content-encoding"] = "gzip"
            with _Deadline(self.config.request_timeout or 60.0, self._clockwork) as deadline:
                try:
                    return super().perform_request(method, target, body, sent, request_timeout)
                except elastic_transport.TransportError as error:
                    if deadline.passed:
                        raise elastic_transport.ConnectionTimeout("no answer in time", errors=(error,)) from error
                    raise

        def _log_request(self, *_args: Any, **_kwargs: Any) -> None:
            """Not logged: the base class makes text of each body as soon as any log handler is set up."""

    return Node
