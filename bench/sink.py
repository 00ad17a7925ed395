"""An Elasticsearch that stores nothing: takes bulk bodies, answers 201 for each document, counts bytes.

Runs as a process of its own (``python -m bench.sink``), so that its CPU time is not the agent's. It prints its port as
the first line, and its counts as JSON when its standard input closes.
"""

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COUNTS = {"requests": 0, "wire_bytes": 0, "body_bytes": 0, "documents": 0}
_LOCK = threading.Lock()
_STORED = b'{"create":{"status":201}}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        body = gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw
        documents = body.count(b"\n") // 2
        with _LOCK:
            for name, more in (
                ("requests", 1),
                ("wire_bytes", len(raw)),
                ("body_bytes", len(body)),
                ("documents", documents),
            ):
                COUNTS[name] += more
        self._answer(b'{"errors":false,"items":[' + b",".join([_STORED] * documents) + b"]}")

    def do_GET(self) -> None:
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Quiet."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    print(json.dumps(COUNTS), flush=True)


if __name__ == "__main__":
    main()
