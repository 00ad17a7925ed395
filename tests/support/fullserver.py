"""A stub of a server with the data-streams module, which no server that runs here has: its REST API for set-up.

Answers have the shapes of Elasticsearch 9.4. It keeps what it is told and behaves as the server does where that
matters here: a stream takes lifecycle, options, settings and mappings from the best matching template only when it, or
its next backing index, is made; an index's field cannot become another.
"""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shipper.deliver.document import flat

Body = dict[str, Any]
Answer = tuple[int, Any]
DONE: Answer = (200, {"acknowledged": True})
BUILT_IN = {"index_patterns": ["metrics-*-*"], "priority": 100, "data_stream": {}, "composed_of": []}


@dataclass
class FullServer:
    """``put`` are the paths and bodies of what was sent, ``refuse`` makes an answer of a request."""

    version: str = "9.4.3"
    modules: tuple[str, ...] = ("data-streams", "x-pack-downsample")
    failure_store: bool = False  # the cluster's setting, for streams that do not say it themselves
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    put: list[tuple[str, Any]] = field(default_factory=list)
    templates: dict[str, Body] = field(default_factory=lambda: {"/_index_template/metrics": deepcopy(BUILT_IN)})
    streams: dict[str, Body] = field(default_factory=dict)
    indices: dict[str, Body] = field(default_factory=dict)
    url: str = ""

    def answer(self, method: str, path: str, body: Any) -> Answer:
        for part, (status, reason) in self.refuse.items():
            if part in f"{method} {path} {json.dumps(body)}":
                return status, {"error": {"reason": reason}}
        path = path.partition("?")[0]
        if method in {"PUT", "POST"} and "_simulate" not in path and "_privileges" not in path:
            self.put.append((path, body))
        first, *rest = path.strip("/").split("/")
        handler: Callable[..., Answer] | None = {
            "_nodes": self._nodes, "_component_template": self._template, "_index_template": self._template,
            "_ilm": self._template, "_data_stream": self._data_stream, "_resolve": self._resolve,
            "_security": self._security, "_cat": self._cat,
        }.get(first)  # fmt: skip
        return handler(method, path, rest, body) if handler else self._index(method, first, rest, body)

    def _nodes(self, *_: Any) -> Answer:
        modules = [{"name": one} for one in self.modules]
        return 200, {
            "nodes": {"n": {"version": self.version, "modules": modules, "timestamp": round(time.time() * 1000)}}
        }

    def _cat(self, *_: Any) -> Answer:
        return 200, [{"epoch": str(int(time.time()))}]

    def _security(self, *_: Any) -> Answer:
        return 400, {"error": {"reason": "security is off"}}

    def _template(self, method: str, path: str, rest: list[str], body: Any) -> Answer:
        if rest[:1] == ["_simulate_index"]:
            return self._simulate(rest[1])
        kind = path.strip("/").partition("/")[0].removeprefix("_")
        if method == "PUT":
            return self._put_template(path, body)
        if method == "DELETE":
            in_use = [name for name in self.streams if path == f"/_index_template/{self._winner(name)}"]
            if in_use and len(self._matching(in_use[0])) == 1:
                return 400, {"error": {"reason": f"unable to remove templates as they are in use by {in_use}"}}
            return DONE if self.templates.pop(path, None) else (404, {"error": {"reason": "missing"}})
        if kind == "ilm":
            return (200, {rest[-1]: self.templates[path]}) if path in self.templates else (404, {})
        found = [
            {"name": known.rpartition("/")[2], kind: deepcopy(one)}
            for known, one in self.templates.items()
            if known == path or (not rest and known.startswith(f"{path}/"))
        ]
        return (200 if found else 404), {f"{kind}s": found}

    def _put_template(self, path: str, body: Body) -> Answer:
        settings = body.get("template", {}).get("settings", {})
        if path.startswith("/_component") and "index.mode" in settings and "index.routing_path" not in settings:
            return 400, {"error": {"reason": "[index.mode=time_series] requires a non-empty [index.routing_path]"}}
        self.templates[path] = body
        return DONE

    def _matching(self, name: str) -> list[str]:
        found = {
            path.rpartition("/")[2]: one for path, one in self.templates.items()
            if path.startswith("/_index_template/") and any(fnmatchcase(name, wild) for wild in one["index_patterns"])
        }  # fmt: skip
        return sorted(found, key=lambda one: -found[one].get("priority", 0))

    def _winner(self, name: str) -> str:
        return next(iter(self._matching(name)), "")

    def _composed(self, name: str) -> Body:
        template = self.templates[f"/_index_template/{self._winner(name)}"]
        parts = [self.templates[f"/_component_template/{one}"]["template"] for one in template["composed_of"]]
        whole: Body = {}
        for part in [*parts, template.get("template", {})]:
            _merge(whole, deepcopy(part))
        return whole

    def _simulate(self, name: str) -> Answer:
        first, *others = self._matching(name)
        del first
        whole = self._composed(name)
        settings: Body = {}
        for key, value in whole.get("settings", {}).items():
            *parents, leaf = key.split(".")
            branch = settings
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[leaf] = value
        overlapping = [
            {"name": one, "index_patterns": self.templates[f"/_index_template/{one}"]["index_patterns"]}
            for one in others
        ]
        return 200, {"template": {**whole, "settings": settings, "aliases": {}}, "overlapping": overlapping}

    def make(self, name: str) -> None:
        """The data stream, as the server makes it at the first document or by request."""
        whole = self._composed(name)
        self.streams[name] = {
            "lifecycle": whole.get("lifecycle"), "options": whole.get("data_stream_options"), "indices": []
        }  # fmt: skip
        self.roll(name)

    def roll(self, name: str) -> None:
        whole, indices = self._composed(name), self.streams[name]["indices"]
        index = f".ds-{name}-2026.11.25-{len(indices) + 1:06d}"
        indices.append(index)
        self.indices[index] = {
            "settings": flat(
                {"index.number_of_shards": "1", "index.number_of_replicas": "1", **whole.get("settings", {})}
            ),
            "mappings": whole.get("mappings", {}),
        }

    def _data_stream(self, method: str, path: str, rest: list[str], body: Any) -> Answer:
        name, *what = rest
        if method == "GET":
            found = [one for one in sorted(self.streams) if fnmatchcase(one, name)]
            return (200 if found or "*" in name else 404), {"data_streams": [self._about(one) for one in found]}
        if method == "DELETE":
            for index in self.streams.pop(name)["indices"]:
                del self.indices[index]
        elif not what:
            self.make(name)
        else:
            self.streams[name][what[0].removeprefix("_")] = body
        return DONE

    def _about(self, name: str) -> Body:
        one = self.streams[name]
        indices = [
            {"index_name": index, "index_uuid": "u", "managed_by": "Data stream lifecycle"} for index in one["indices"]
        ]
        store = ((one["options"] or {}).get("failure_store") or {}).get("enabled", self.failure_store)
        about = {
            "name": name, "timestamp_field": {"name": "@timestamp"}, "indices": indices, "generation": len(indices),
            "status": "YELLOW", "template": self._winner(name), "prefer_ilm": True, "hidden": False,
            "next_generation_managed_by": "Data stream lifecycle", "rollover_on_write": False,
            "failure_store": {"enabled": store, "rollover_on_write": False, "indices": []},
        }  # fmt: skip
        if one["lifecycle"] is not None:
            retention = one["lifecycle"].get("data_retention")
            effective = {"effective_retention": retention, "retention_determined_by": "data_stream_configuration"}
            about["lifecycle"] = {**one["lifecycle"], **(effective if retention else {})}
        return about

    def _resolve(self, method: str, path: str, rest: list[str], body: Any) -> Answer:
        wanted = rest[-1]
        backing = {index for one in self.streams.values() for index in one["indices"]}
        return 200, {
            "indices": [{"name": one} for one in self.indices if one not in backing and fnmatchcase(one, wanted)],
            "aliases": [],
            "data_streams": [
                {"name": name, "backing_indices": one["indices"], "timestamp_field": "@timestamp"}
                for name, one in self.streams.items()
                if fnmatchcase(name, wanted)
            ],
        }

    def _index(self, method: str, name: str, rest: list[str], body: Any) -> Answer:
        what = rest[0].removeprefix("_") if rest else ""
        if what == "rollover":
            self.roll(name)
            return DONE
        if method == "GET":
            names = [
                index for one, known in self.streams.items() if fnmatchcase(one, name) for index in known["indices"]
            ]
            key = {"mapping": "mappings", "settings": "settings"}[what]
            return 200, {index: {key: deepcopy(self.indices[index][key])} for index in names}
        if what == "mapping":
            _merge(self.indices[name]["mappings"], body)
        elif what == "settings":
            self.indices[name]["settings"].update(body)
        return DONE


def _merge(below: Body, above: Body) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


@contextmanager
def serving(stub: FullServer) -> Iterator[FullServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps the connection
        wbufsize = -1  # sends head and body together

        def serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            body = json.loads(gzip.decompress(data) if self.headers.get("content-encoding") else data or b"null")
            status, answer = stub.answer(self.command, self.path, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in (
                ("X-Elastic-Product", "Elasticsearch"),
                ("content-type", "application/json"),
                ("content-length", str(len(text))),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_DELETE = serve  # noqa: N815

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        stub.url = f"http://127.0.0.1:{server.server_port}"
        yield stub
        server.shutdown()
