"""A Grafana and a Kibana as far as their HTTP APIs for dashboards go, on the loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Of these types Kibana wants to see what is referred to: REF_TYPES_TO_VALIDATE in its saved objects' import
_CHECKED = ("index-pattern", "search")


class Site(ThreadingHTTPServer):
    """What was put in; ``token`` is the only one that is let in, none lets everybody in."""

    def __init__(self, token: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.folders: dict[str, Any] = {}
        self.dashboards: dict[str, list[Any]] = {}  # all versions of each, as they were sent
        self.homes: dict[str, str] = {}  # the folder of each
        self.objects: dict[tuple[str, str, str], Any] = {}
        self.datasources: list[dict[str, str]] | None = []  # None: the token may not list them

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self._answer(*self._get())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._answer(*self._post(body))

    def _get(self) -> tuple[int, Any]:
        if not self._known():
            return 401, {"message": "Unauthorized"}
        if self.path == "/api/status":
            return 200, {"status": {}}
        if self.path == "/api/datasources":
            return (
                (403, {"message": "Forbidden"}) if self.server.datasources is None else (200, self.server.datasources)
            )
        if self.path.startswith("/api/dashboards/uid/"):
            return self._held(self.path.rpartition("/")[2])
        uid = self.path.removeprefix("/api/folders/")
        return (200, self.server.folders[uid]) if uid in self.server.folders else (404, {"message": "not found"})

    def _post(self, body: bytes) -> tuple[int, Any]:
        if not self._known():
            return 401, {"message": "Unauthorized"}
        if self.path == "/api/folders":
            made = json.loads(body)
            if made["uid"] in self.server.folders:
                return 412, {"message": "a folder with the same name already exists"}
            self.server.folders[made["uid"]] = made
            return 200, made
        if self.path == "/api/dashboards/db":
            return self._dashboard(json.loads(body))
        return self._import(body)

    def _dashboard(self, sent: dict[str, Any]) -> tuple[int, Any]:
        page = sent["dashboard"]
        if sent["folderUid"] not in self.server.folders or page.get("id") is not None:
            return 400, {"message": "folder not found"}
        if page["title"].lower() == self.server.folders[sent["folderUid"]]["title"].lower():
            return 400, {"message": "Dashboard name cannot be the same as folder"}  # before 11.3
        if page["uid"] in self.server.dashboards and not sent["overwrite"]:
            return 412, {"message": "The dashboard has been changed by someone else"}
        self.server.dashboards.setdefault(page["uid"], []).append(page)
        self.server.homes[page["uid"]] = sent["folderUid"]
        return 200, {"status": "success", "uid": page["uid"], "url": f"/d/{page['uid']}/x"}

    def _held(self, uid: str) -> tuple[int, Any]:
        versions = self.server.dashboards.get(uid)
        if not versions:
            return 404, {"message": "Dashboard not found"}
        meta = {"folderUid": self.server.homes[uid], "url": f"/d/{uid}/x", "version": len(versions)}
        return 200, {"dashboard": {**versions[-1], "id": 7, "version": len(versions)}, "meta": meta}

    def _import(self, body: bytes) -> tuple[int, Any]:
        space, _, path = self.path.rpartition("/api/saved_objects/")
        if path != "_import?overwrite=true" or "kbn-xsrf" not in self.headers:
            return 400, {"message": "Request must contain a kbn-xsrf header."}
        form = message_from_bytes(
            b"content-type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + body, policy=HTTP
        )
        (part,) = form.iter_parts()
        name = part.get_filename() or ""
        if not name.endswith(".ndjson"):
            return 415, {"message": "Invalid file extension"}
        objects = [json.loads(line) for line in part.get_payload(decode=True).splitlines()]  # type: ignore[union-attr]
        known = {(one["type"], one["id"]) for one in objects} | {key[1:] for key in self.server.objects}
        wanted = [(one["id"], (to["type"], to["id"])) for one in objects for to in one["references"]]
        missing = [id_ for id_, to in wanted if to[0] in _CHECKED and to not in known]
        if missing:
            errors = [{"id": one, "error": {"type": "missing_references"}} for one in missing]
            return 200, {"success": False, "successCount": 0, "errors": errors}
        self.server.objects |= {(space, one["type"], one["id"]): one for one in objects}
        return 200, {"success": True, "successCount": len(objects)}

    def _known(self) -> bool:
        return not self.server.token or self.headers.get("authorization", "") == self.server.token

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: Any) -> None:
        """Nothing: a test says what went wrong."""


@contextmanager
def running(token: str = "") -> Iterator[Site]:
    with Site(token) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
