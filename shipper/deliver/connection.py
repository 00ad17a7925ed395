"""HTTP connections to Elasticsearch: the gzip level, and the limits of ``bounds`` for each request.

This is the only module that depends on internals of the client's transport. urllib3 makes each connection, with proxy
and TLS, and the first request on it. Later requests on an open connection take a shorter way: the head that http.client
makes is kept, and http.client reads the answer. That takes half of the CPU time. An answer is abandoned when it is
longer than the request can need: it may be endless, or unpack to gigabytes.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import elastic_transport
import urllib3
from elastic_transport import ApiResponseMeta, HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from urllib3.connection import ProxyConfig

from shipper.base.isolate import Aside
from shipper.deliver.bounds import BOUNDS, Timed
from shipper.deliver.compression import compress

_PIECE: Final = 64 << 10
_SMALLEST_COMPRESSED: Final = 512
_DEFAULT_S: Final = 60.0
_PROXY_PORT: Final = 80
_MOST_HEADS: Final = 16

_LOOKUPS: Final = Aside("look-up")

_Answer = tuple[int, HttpHeaders, bytes]
"""Status, headers, body."""


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
                    self.timeout = BOUNDS.left_s()
                    try:
                        sock: socket.socket = super()._new_conn()
                    except urllib3.exceptions.HTTPError:
                        if number == len(addresses):
                            raise
                    else:
                        sock.settimeout(BOUNDS.left_s())
                        return sock
            finally:
                self._dns_host = name
            raise urllib3.exceptions.NewConnectionError(self, "the name resolves to no address")

        def _tunnel(self) -> None:
            """Ask the proxy for a connection to the server, within the deadline."""
            plain = self.sock
            self.sock = Timed(plain)
            super()._tunnel()
            self.sock = plain

        def connect(self) -> None:
            super().connect()
            self.sock = Timed(self.sock)

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
        answers = _LOOKUPS.run(lambda: socket.getaddrinfo(plain, port, type=socket.SOCK_STREAM), BOUNDS.left_s())
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


class _Node(Urllib3HttpNode):
    """One server. It compresses at gzip ``level`` (0: off); the library's own ``http_compress`` always uses 9."""

    level = 0

    @staticmethod
    def proxy_of(_server: str) -> str:
        """The URL of the proxy for a server; empty without one."""
        return ""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.pool.ConnectionCls = _timed(self.pool.ConnectionCls)
        proxy = self.proxy_of(self.base_url)
        if proxy:
            _lead_through(self.pool, proxy)
        # Without TLS, a proxy has to be told the server with each request
        self._prefix = self.base_url if proxy and self.scheme == "http" else self.path_prefix
        self._heads: dict[tuple[Any, ...], bytes] = {}
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
        BOUNDS.address = self.base_url
        BOUNDS.ends_at = began + (self.config.request_timeout or _DEFAULT_S)
        sent = {**self._headers, **(headers or {})}
        if body and self.level and len(body) >= _SMALLEST_COMPRESSED and "content-encoding" not in sent:
            body = compress(body, self.level)
            sent["content-encoding"] = "gzip"
        url = self._prefix + target
        try:
            answer = self._on_open(method, url, body, sent) or self._on_new(method, url, body, sent)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _translated(error) from error
        status, headers_back, data = answer
        took_s = time.monotonic() - began
        return NodeApiResponse(ApiResponseMeta(status, "1.1", headers_back, took_s, self.config), data)

    def _on_new(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> _Answer:
        response = self.pool.urlopen(
            method,
            url,
            body,
            headers,
            retries=False,
            preload_content=False,
            assert_same_host=False,  # with a proxy, the target names the server
        )
        return response.status, HttpHeaders(response.headers), _read(response)

    def _on_open(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> _Answer | None:
        """The answer on a connection that is open; None if there is none."""
        pool: Any = self.pool
        connection = pool._get_conn()  # noqa: SLF001
        try:
            if connection.is_closed:
                return None
            try:
                return _exchange(connection, method, self._head(method, url, headers), body)
            except BaseException:
                connection.close()
                raise
        finally:
            pool._put_conn(connection)  # noqa: SLF001

    def _head(self, method: str, url: str, headers: dict[str, str]) -> bytes:
        """The head of a request without its last line, as http.client makes it."""
        key = (method, url, *headers.items())
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            pool: Any = self.pool
            of_proxy = pool.proxy_headers if self.scheme == "http" else {}
            target = urllib3.util.parse_url(url).url
            head = self._heads[key] = _made(pool._new_conn(), method, target, {**headers, **of_proxy})  # noqa: SLF001
        return head


def node_class(level: int, proxy_of: Callable[[str], str] = lambda _server: "") -> type[Urllib3HttpNode]:
    """The class of servers with this gzip level; ``proxy_of`` gives the URL of the proxy for a server."""
    return type("Node", (_Node,), {"level": level, "proxy_of": staticmethod(proxy_of)})


def _made(unconnected: Any, method: str, target: str, headers: dict[str, str]) -> bytes:
    parts: list[bytes] = []
    unconnected.send = parts.append
    unconnected.putrequest(method, target)
    for name, value in headers.items():
        unconnected.putheader(name, value)
    unconnected.endheaders()
    return b"".join(parts).removesuffix(b"\r\n")


def _exchange(connection: Any, method: str, head: bytes, body: bytes | None) -> _Answer:
    """Send a request and read its answer on an open ``connection``, which stays open if the server keeps it."""
    length = b"" if body is None else b"content-length: %d\r\n" % len(body)
    sent = False
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # the server may have answered before it closed
            connection.sock.sendall(b"%b%b\r\n%b" % (head, length, body or b""))
            sent = True
        response = http.client.HTTPResponse(connection.sock, method=method)
        response.begin()
        headers = HttpHeaders(dict(response.headers.items()))
        data = _decoded(response, method) if "content-encoding" in headers else _plain(response)
    except TimeoutError:
        raise
    except ssl.SSLError as error:
        raise urllib3.exceptions.SSLError(error) from error
    except (http.client.HTTPException, OSError) as error:
        raise urllib3.exceptions.ProtocolError("Connection aborted.", error) from error
    if response.will_close or not sent:
        connection.close()
    return response.status, headers, data


def _plain(response: http.client.HTTPResponse) -> bytes:
    """The body of a known length, or in pieces."""
    if response.length is not None:
        return response.read() if response.length <= BOUNDS.most else _too_long()
    return _in_pieces(response.read)


def _in_pieces(read: Callable[[int], bytes]) -> bytes:
    whole = bytearray()
    while len(whole) <= BOUNDS.most and (piece := read(_PIECE)):
        whole += piece
    return bytes(whole) if len(whole) <= BOUNDS.most else _too_long()


def _too_long() -> bytes:
    raise urllib3.exceptions.HTTPError(f"the response is longer than {BOUNDS.most} bytes")


def _decoded(response: http.client.HTTPResponse, method: str) -> bytes:
    headers = urllib3.HTTPHeaderDict(response.headers.items())
    return _read(urllib3.HTTPResponse(response, headers, response.status, preload_content=False, request_method=method))


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        data = _in_pieces(partial(response.read, decode_content=True))
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return data


def _translated(error: Exception) -> elastic_transport.TransportError:
    """``error`` as an error of the transport."""
    if time.monotonic() >= BOUNDS.ends_at or isinstance(error, TimeoutError):
        return elastic_transport.ConnectionTimeout("the request timed out", errors=(error,))
    if isinstance(error, urllib3.exceptions.SSLError):
        return elastic_transport.TlsError(str(error), errors=(error,))
    return elastic_transport.ConnectionError(str(error), errors=(error,))
