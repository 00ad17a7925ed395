"""A proxy between agent and server that makes faults: HTTP is read whole, then a function of the test answers it."""

import gzip
import http.client
import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes  # decompressed

    @property
    def is_bulk(self) -> bool:
        return self.path.startswith("/_bulk")


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def raw(self) -> bytes:
        sent = dict(self.headers) | {"X-elastic-product": "Elasticsearch", "content-type": "application/json"}
        lines = [f"HTTP/1.1 {self.status} x", *(f"{key}: {value}" for key, value in sent.items())]
        return "\r\n".join([*lines, f"content-length: {len(self.body)}", "", ""]).encode() + self.body


class Cut(Exception):  # noqa: N818
    """Close the connection without an answer."""


Forward = Callable[[Request], Reply]
Fault = Callable[[Request, Forward], Reply | Iterator[bytes]]


class Proxy:
    """Listens on a port of its own while it is up. ``fault`` answers every request; ``requests`` counts bulk bodies."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        self._upstream = urlsplit(upstream)
        self._tls = tls
        self.fault: Fault = passing
        self.requests = 0
        self._port = 0
        self._server: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self.up()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def up(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self._port))
        self._port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and cut those there are."""
        if self._server:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # close alone does not wake accept
            self._server.close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with suppress(OSError, Cut, ValueError), self._secured(connection) as sock:
            file = sock.makefile("rb")
            while request := _read(file):
                self.requests += request.is_bulk
                answer = self.fault(request, self.forward)
                for part in [answer.raw()] if isinstance(answer, Reply) else answer:
                    sock.sendall(part)
        self._open.discard(connection)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def forward(self, request: Request) -> Reply:
        upstream = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port or 80, timeout=60)
        try:
            wanted = {key: value for key, value in request.headers.items() if key in {"content-type", "accept"}}
            upstream.request(request.method, request.path, request.body or None, wanted)
            response = upstream.getresponse()
            return Reply(response.status, response.read())
        finally:
            upstream.close()


def _read(file: Any) -> Request | None:
    first = file.readline()
    if not first:
        return None
    method, path, _ = first.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while line := file.readline().strip():
        key, _, value = line.decode().partition(":")
        headers[key.lower()] = value.strip()
    body = file.read(int(headers.get("content-length", "0")))
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Request(method, path, headers, body)


@contextmanager
def proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    one = Proxy(upstream, tls)
    try:
        yield one
    finally:
        one.down()


def passing(request: Request, forward: Forward) -> Reply:
    return forward(request)


class Sometimes:
    """``share`` of the bulk requests meet ``fault``, the others pass. Counts what it did."""

    def __init__(self, share: float, fault: Fault, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._fault = fault
        self.met = 0

    def __call__(self, request: Request, forward: Forward) -> Reply | Iterator[bytes]:
        if not request.is_bulk or self._random.random() >= self._share:
            return forward(request)
        self.met += 1
        return self._fault(request, forward)


def status(code: int, **headers: str) -> Fault:
    error = {"error": {"type": "fault", "reason": "made by the test"}, "status": code}

    def answer(_request: Request, _forward: Forward) -> Reply:
        return Reply(code, json.dumps(error).encode(), tuple((k.replace("_", "-"), v) for k, v in headers.items()))

    return answer


def cut_before_the_answer(request: Request, forward: Forward) -> Reply:
    """The server has taken it; nobody hears of that."""
    forward(request)
    raise Cut


def cut_amid_the_answer(request: Request, forward: Forward) -> Iterator[bytes]:
    raw = forward(request).raw()
    yield raw[: len(raw) // 2]
    raise Cut


def byte_per_second(request: Request, forward: Forward) -> Iterator[bytes]:
    for byte in forward(request).raw():
        yield bytes([byte])
        time.sleep(1)


def nonsense(_request: Request, _forward: Forward) -> Reply:
    return Reply(200, b"<html>It works!</html>")


def other_json(_request: Request, _forward: Forward) -> Reply:
    return Reply(200, b'{"items":[{"create":{}}]}')


def at_most(size: int) -> Fault:
    """413 for larger bodies, as a proxy before Elasticsearch gives it."""
    refuse = status(413)

    def answer(request: Request, forward: Forward) -> Reply | Iterator[bytes]:
        return refuse(request, forward) if len(request.body) > size else forward(request)

    return answer


class SomeItems:
    """A share of the documents is answered with ``code`` and never reaches the server."""

    def __init__(self, share: float, code: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._code = code
        self.met = 0

    def __call__(self, request: Request, forward: Forward) -> Reply:
        if not request.is_bulk:
            return forward(request)
        lines = request.body.split(b"\n")
        pairs = list(zip(lines[::2], lines[1::2], strict=False))
        failed = {place for place in range(len(pairs)) if self._random.random() < self._share}
        self.met += len(failed)
        rest = b"".join(b"%b\n%b\n" % pair for place, pair in enumerate(pairs) if place not in failed)
        passed = Request(request.method, request.path, request.headers, rest)
        found = iter(json.loads(forward(passed).body)["items"] if rest else [])
        error = {"create": {"status": self._code, "error": {"type": "es_rejected_execution_exception", "reason": "f"}}}
        items = [error if place in failed else next(found) for place in range(len(pairs))]
        return Reply(200, json.dumps({"errors": bool(failed), "items": items}).encode())
