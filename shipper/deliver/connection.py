"""HTTP connections to Elasticsearch: the gzip level, one deadline and one size limit for each request.

This is the only module that depends on internals of the client's transport. The deadline covers a request as a whole:
name look-up, connecting, TLS, sending, headers and body. Each call to the socket gets the remaining time, so a server
that answers one byte per second holds nobody up. An answer is read in pieces and abandoned when it is longer than the
request can need: it may be endless, or unpack to gigabytes.
"""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

import elastic_transport
import urllib3
from elastic_transport import ApiResponseMeta, HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from urllib3.connection import ProxyConfig

from shipper.base.isolate import Aside
from shipper.deliver.compression import compress

ANSWER_MOST: Final = 64 << 20  # bytes, unless ``at_most`` sets another limit
_PIECE: Final = 64 << 10
_SMALLEST_COMPRESSED: Final = 512
_DEFAULT_S: Final = 60.0
_PROXY_PORT: Final = 80
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


_BOUNDS: Final = _Bounds()
_LOOKUPS: Final = Aside("look-up")


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Within the block, requests of this thread abandon answers of more than ``size`` bytes."""
    _BOUNDS.most = size
    try:
        yield
    finally:
        _BOUNDS.most = ANSWER_MOST


def asked() -> str:
    """The address of the server that this thread asked last; empty before the first request."""
    return _BOUNDS.address


class _Timed:
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
            self._sock.settimeout(_BOUNDS.left_s())
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
        self._sock.settimeout(_BOUNDS.left_s())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _timed(kind: type[Any]) -> type[Any]:
    """A connection class of urllib3 that keeps the deadline of the request, name look-up included."""

    class Connection(kind):  # type: ignore[misc]
        _dns_host: str
        sock: Any

        def _new_conn(self) -> socket.socket:
            name: str = self._dns_host
            addresses = _addresses(name, self.port)
            try:
                for number, address in enumerate(addresses, 1):
                    self._dns_host = address
                    self.timeout = _BOUNDS.left_s()
                    try:
                        sock: socket.socket = super()._new_conn()
                    except urllib3.exceptions.HTTPError:
                        if number == len(addresses):
                            raise
                    else:
                        sock.settimeout(_BOUNDS.left_s())
                        return sock
            finally:
                self._dns_host = name
            raise urllib3.exceptions.NewConnectionError(self, "the name resolves to no address")

        def _tunnel(self) -> None:
            """Ask the proxy for a connection to the server, within the deadline."""
            plain = self.sock
            self.sock = _Timed(plain)
            super()._tunnel()
            self.sock = plain

        def connect(self) -> None:
            super().connect()
            self.sock = _Timed(self.sock)

    return Connection


def _addresses(name: str, port: int) -> list[str]:
    """The addresses of ``name``, resolved in a thread that may hang. Raises urllib3's errors, OSError."""
    plain = name.strip("[]")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, plain)
        except OSError:
            continue
        return [plain]
    try:
        answers = _LOOKUPS.run(lambda: socket.getaddrinfo(plain, port, type=socket.SOCK_STREAM), _BOUNDS.left_s())
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(name, None, error) from error  # type: ignore[arg-type]
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def _lead_through(pool: Any, address: str) -> None:
    """Let ``pool`` reach its server through the proxy at ``address``, as urllib3's ProxyManager does."""
    proxy = urllib3.util.parse_url(address)
    pool.proxy = proxy
    pool.proxy_config = ProxyConfig(None, False, None, None)  # noqa: FBT003 – a named tuple
    pool.proxy_headers = urllib3.make_headers(proxy_basic_auth=unquote(proxy.auth)) if proxy.auth else {}
    pool.conn_kw |= {"proxy": proxy, "proxy_config": pool.proxy_config}
    if pool.scheme == "http":  # the proxy makes the request; for https it only passes on what is encrypted
        pool.host, pool.port = proxy.host, proxy.port or _PROXY_PORT


def node_class(level: int, proxy_of: Callable[[str], str] = lambda _server: "") -> type[Urllib3HttpNode]:
    """A node class that compresses at gzip ``level`` (0: off); the client's own ``http_compress`` always uses 9.

    ``proxy_of`` gives the URL of the proxy for a server; empty without one.
    """

    class Node(Urllib3HttpNode):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.pool.ConnectionCls = _timed(self.pool.ConnectionCls)
            proxy = proxy_of(self.base_url)
            if proxy:
                _lead_through(self.pool, proxy)
            # Without TLS, a proxy has to be told the server with each request
            self._prefix = self.base_url if proxy and self.scheme == "http" else self.path_prefix
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
            del request_timeout  # the configuration's is the only one
            began = time.monotonic()
            _BOUNDS.address = self.base_url
            _BOUNDS.ends_at = began + (self.config.request_timeout or _DEFAULT_S)
            sent = self._headers.copy()
            sent.update(headers or {})
            if body and level and len(body) >= _SMALLEST_COMPRESSED and "content-encoding" not in sent:
                body = compress(body, level)
                sent["content-encoding"] = "gzip"
            try:
                response = self.pool.urlopen(
                    method,
                    self._prefix + target,
                    body,
                    sent,
                    retries=False,
                    preload_content=False,
                    assert_same_host=False,  # with a proxy, the target names the server
                )
                data = _read(response)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _translated(error) from error
            headers_back = HttpHeaders(response.headers)
            took_s = time.monotonic() - began
            return NodeApiResponse(ApiResponseMeta(response.status, "1.1", headers_back, took_s, self.config), data)

    return Node


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    whole = bytearray()
    try:
        while len(whole) <= _BOUNDS.most and (piece := response.read(_PIECE, decode_content=True)):
            whole += piece
    except BaseException:
        response.close()
        raise
    if len(whole) > _BOUNDS.most:
        response.close()
        raise urllib3.exceptions.HTTPError(f"the response is longer than {_BOUNDS.most} bytes")
    response.release_conn()
    return bytes(whole)


def _translated(error: Exception) -> elastic_transport.TransportError:
    """``error`` as an error of the transport."""
    if time.monotonic() >= _BOUNDS.ends_at or isinstance(error, TimeoutError):
        return elastic_transport.ConnectionTimeout("the request timed out", errors=(error,))
    if isinstance(error, urllib3.exceptions.SSLError):
        return elastic_transport.TlsError(str(error), errors=(error,))
    return elastic_transport.ConnectionError(str(error), errors=(error,))
