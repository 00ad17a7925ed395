"""An Elasticsearch that stores nothing: accepts bulk bodies, answers 201 for each document, counts bytes.

Runs as a separate process (``python -m bench.sink``), so that its CPU time is not counted as the agent's. It prints its
port as the first line, then its counts as JSON for every line on standard input, and when standard input closes. With
``--numbers`` it also counts the numbers in everything that is posted; with ``--tls=DIRECTORY`` it speaks TLS, with
``node.crt`` and ``node.key`` from there.
"""

import gzip
import json
import ssl
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COUNTS = {"requests": 0, "wire_bytes": 0, "body_bytes": 0, "documents": 0, "numbers": 0}
_LOCK = threading.Lock()
_ROOT = (
    b'{"name":"sink","cluster_name":"sink","version":{"number":"8.19.0","build_flavor":"default"},'
    b'"tagline":"You Know, for Search"}'
)
_NUMBERS = "--numbers" in sys.argv


def numbers(value: Any) -> int:
    """Number of leaves that are numbers, including those sent as text."""
    if isinstance(value, dict):
        return sum(map(numbers, value.values()))
    if isinstance(value, list):
        return sum(map(numbers, value))
    if isinstance(value, str):
        return value.lstrip("-").replace(".", "", 1).isdigit()
    return isinstance(value, int | float) and not isinstance(value, bool)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body of an answer go together, as Elasticsearch sends them

    def do_POST(self) -> None:
        raw = self._body()
        encoding = self.headers.get("content-encoding", "")
        body = gzip.decompress(raw) if encoding == "gzip" else zlib.decompress(raw) if encoding == "deflate" else raw
        lines = [line for line in body.split(b"\n") if line]
        bulk = "_bulk" in self.path
        operation = b"index" if bulk and lines[0].startswith(b'{"index"') else b"create"
        documents = len(lines) // 2 if bulk else 1
        leaves = sum(numbers(json.loads(line)) for line in (lines[1::2] if bulk else lines)) if _NUMBERS else 0
        added = {
            "requests": 1,
            "wire_bytes": len(raw),
            "body_bytes": len(body),
            "documents": documents,
            "numbers": leaves,
        }
        with _LOCK:
            for name, more in added.items():
                COUNTS[name] += more
        stored = b'{"%b":{"status":201}}' % operation
        items = b",".join([stored] * documents)
        self._answer(b'{"took":1,"errors":false,"items":[' + items + b"]}" if bulk else b'{"cluster":{},"index":{}}')

    def do_GET(self) -> None:
        no_streams = b'{"data_streams":[]}' if self.path.startswith("/_data_stream") else b"{}"
        self._answer(_ROOT if self.path.split("?")[0] == "/" else no_streams)

    def do_PUT(self) -> None:
        if "_bulk" in self.path:
            self.do_POST()
            return
        self._body()
        self._answer(b'{"acknowledged":true}')

    def do_HEAD(self) -> None:
        self._answer(b"")

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """No log."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    folder = next((word.partition("=")[2] for word in sys.argv if word.startswith("--tls=")), "")
    if folder:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/node.crt", f"{folder}/node.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for _ in sys.stdin:
        print(json.dumps(COUNTS), flush=True)
    print(json.dumps(COUNTS), flush=True)


if __name__ == "__main__":
    main()
