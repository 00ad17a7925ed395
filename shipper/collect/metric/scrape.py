"""Endpoints in the Prometheus text format or OpenMetrics on this host, over HTTP, HTTPS or a unix socket.

If the configuration names no unit, the numbers belong to the cgroup of the process that listens on the port or socket.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from shipper.collect.metric.exposition import Exposition
from shipper.collect.metric.listener import Listener
from shipper.collect.metric.samples import Batch, Sample
from shipper.kernel.source import Reader
from shipper.settings.sources import Scrape

_ACCEPT: Final = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5"
_CHUNK: Final = 1 << 16
_LONGEST_TOKEN: Final = 1 << 14
_OK: Final = 200


class Endpoint:
    """One endpoint; each reading makes a connection of its own."""

    def __init__(self, source: Scrape, reader: Reader) -> None:
        self._source, self._root = source, reader.root
        self._url = urlsplit(source.url)
        self._listener = None if source.unit else Listener(reader, self._url.hostname or "", self._port, source.socket)
        self._context: ssl.SSLContext | None = None
        self._damaged = 0

    @property
    def _port(self) -> int:
        return self._url.port or (443 if self._url.scheme == "https" else 80)

    def read(self) -> Batch:
        """The samples of the endpoint. Raises OSError."""
        text = self._fetch()
        batch = Batch((), self._root.now_ns(), unit=self._listener.cgroup() if self._listener else "")
        batch.samples = self._samples(Exposition(text), batch)
        return batch

    def _samples(self, exposition: Exposition, batch: Batch) -> Iterator[Sample]:
        yield from exposition
        self._damaged += exposition.damaged
        batch.values["metricset.damaged.count"] = self._damaged
        if exposition.damaged:
            batch.problems["text"] = f"{exposition.damaged} damaged lines, such as {exposition.example}"

    def _fetch(self) -> bytes:
        end = time.monotonic() + self._source.deadline_s
        connection = self._connection()
        path = f"{self._url.path or '/metrics'}{'?' * bool(self._url.query)}{self._url.query}"
        try:
            connection.request("GET", path, headers={"accept": _ACCEPT, "connection": "close", **self._authorization()})
            answer = connection.getresponse()
            if answer.status != _OK:
                raise OSError(f"the endpoint answers {answer.status} {answer.reason[:40]}")
            return self._body(answer, end)
        except http.client.HTTPException as error:
            raise OSError(f"no answer in HTTP: {type(error).__name__}") from None
        finally:
            connection.close()

    def _body(self, answer: http.client.HTTPResponse, end: float) -> bytes:
        """All of the answer. A server that sends slowly is given up at ``end`` (time.monotonic)."""
        body = bytearray()
        while chunk := answer.read1(_CHUNK):
            body += chunk
            if len(body) > self._source.max_bytes:
                raise OSError(f"the answer is longer than max_bytes = {self._source.max_bytes}")
            if time.monotonic() > end:
                raise TimeoutError(f"the answer takes longer than {self._source.deadline_s} s")
        return bytes(body)

    def _connection(self) -> http.client.HTTPConnection:
        host, timeout = self._url.hostname or "localhost", self._source.deadline_s
        if self._url.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, self._port, timeout=timeout, context=self._tls()
            )
        else:
            connection = http.client.HTTPConnection(host, self._port, timeout=timeout)
        if self._source.socket:
            one = socket.socket(socket.AF_UNIX)
            one.settimeout(timeout)
            try:
                one.connect(self._root.absolute(self._source.socket))
            except OSError:
                one.close()
                raise
            connection.sock = one
        return connection

    def _tls(self) -> ssl.SSLContext:
        """Made once: it takes milliseconds. Raises OSError for files that cannot be read."""
        if self._context is None:
            context = ssl.create_default_context(cafile=self._source.ca_file or None)
            if self._source.client_cert_file:
                context.load_cert_chain(self._source.client_cert_file, self._source.client_key_file or None)
            self._context = context
        return self._context

    def _authorization(self) -> dict[str, str]:
        """Read each time, because tokens are renewed. Raises OSError; no message has the token."""
        path = self._source.bearer_token_file
        if not path:
            return {}
        with open(path, "rb") as file:
            token = file.read(_LONGEST_TOKEN).strip()
        if not token.isascii() or not token.decode("ascii").isprintable() or b" " in token:
            raise OSError(f"bearer_token_file {path}: not a token")
        return {"authorization": f"Bearer {token.decode()}"}
