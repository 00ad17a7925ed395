"""Stand-ins for the HTTP APIs of Grafana and Kibana for alert rules, on loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Site(ThreadingHTTPServer):
    """``held``: what was put at each path. ``changes``: method and path of each request that changed something."""

    def __init__(self, answers: dict[str, Any], token: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.token = answers, token
        self.held: dict[str, Any] = {}
        self.changes: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        found = self.server.held | self.server.answers
        self._answer(200, found[self.path]) if self.path in found else self._answer(404, {"message": "not found"})

    def do_POST(self) -> None:
        self._keep()

    def do_PUT(self) -> None:
        self._keep()

    def _keep(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.token and self.headers.get("authorization") != self.server.token:
            self._answer(401, {"message": "Unauthorized"})
            return
        if "/api/alerting/" in self.path and "kbn-xsrf" not in self.headers:
            self._answer(400, {"message": "Request must contain a kbn-xsrf header."})
            return
        path = f"{self.path}/{body['uid']}" if self.path == "/api/folders" else self.path
        self.server.changes.append((self.command, path))
        # Both add fields of their own
        self.server.held[path] = {**self.server.held.get(path, {}), **body, "version": 1, "created_by": "x"}
        self._answer(200, self.server.held[path])

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: Any) -> None:
        """Log nothing: the tests report failures."""


@contextmanager
def running(answers: dict[str, Any], token: str = "") -> Iterator[Site]:
    with Site(answers, token) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
