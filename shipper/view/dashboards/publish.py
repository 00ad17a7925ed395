"""Installing the dashboards in Grafana or Kibana over the HTTP API; installing them again changes nothing.

Grafana: https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/, in their own folder. As files with
inputs, for an import by hand: https://grafana.com/docs/grafana/latest/dashboards/share-dashboards-panels/.
Kibana: https://www.elastic.co/guide/en/kibana/8.19/saved-objects-api-import.html, with their data view.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import urllib3

from shipper import __version__
from shipper.base.errors import UserError

FOLDER: Final = "shipper"
_PATIENCE_S: Final = 30
_TITLE: Final = "Shipper dashboards"  # before 11.3 Grafana allows no folder with the title of one of its boards
_NOT_FOUND, _FORBIDDEN = 404, 403
_INPUT: Final = "DS_SHIPPER"
_LEAST_GRAFANA: Final = "11.0.0"
_REFUSED: Final = {
    401: "the token is invalid",
    403: "the token lacks the permission for this request",
    404: "not found; check the URL and its path",
    412: "the dashboard has changed meanwhile, or is provisioned from files",
}


@dataclass(frozen=True)
class Site:
    """A Grafana or Kibana. ``authorization``: header value; ``ca_file``: PEM of its authority, if not a public one."""

    url: str
    authorization: str = ""
    ca_file: str = ""

    def send(self, method: str, path: str, *, unless: int = 0, **more: Any) -> Any:
        """The response as JSON; None for the status ``unless``, or if it is empty.

        Raises UserError, never with the token in its text.
        """
        headers = {**({"authorization": self.authorization} if self.authorization else {}), **more.pop("headers", {})}
        timeout = urllib3.Timeout(total=_PATIENCE_S)
        try:
            with urllib3.PoolManager(ca_certs=self.ca_file or None, timeout=timeout, retries=False) as pool:
                answer = pool.request(method, self.url.rstrip("/") + path, headers=headers, **more)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UserError(f"{self.url}: {_reason(error)}") from None
        if answer.status == unless:
            return None
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            said = _REFUSED.get(answer.status) or answer.data[:200].decode("utf-8", "replace")
            raise UserError(f"{self.url}{path}: HTTP {answer.status}: {said}")
        if not answer.data:
            return None
        try:
            return answer.json()
        except ValueError:
            raise UserError(
                f"{self.url}{path}: the response is not JSON; check that this is the right server"
            ) from None


def _reason(error: Exception) -> str:
    """The system's words if ``error`` has a cause there: urllib3 surrounds them with the names of its classes."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else str(error)


def boards(kind: str) -> list[tuple[str, str]]:
    """Name and text of each rendered board. ``kind``: ``grafana`` or ``kibana``."""
    folder: Traversable = resources.files("shipper_dashboards") / kind / "boards"
    return sorted((file.name.partition(".")[0], file.read_text(encoding="utf-8")) for file in folder.iterdir())


def into_grafana(site: Site) -> Iterator[str]:
    """Create the dashboards, or replace those that differ; yields a line for each, and a hint without a data source."""
    if site.send("GET", f"/api/folders/{FOLDER}", unless=_NOT_FOUND) is None:
        site.send("POST", "/api/folders", json={"uid": FOLDER, "title": _TITLE})
    for uid, text in boards("grafana"):
        yield _into_grafana(site, uid, json.loads(text))
    sources = site.send("GET", "/api/datasources", unless=_FORBIDDEN)  # only an administrator may list them
    if sources is not None and not any(source.get("type") == "elasticsearch" for source in sources):
        yield "Grafana has no Elasticsearch data source yet; see dashboards/grafana/provisioning/datasources"


def _into_grafana(site: Site, uid: str, board: dict[str, Any]) -> str:
    there = site.send("GET", f"/api/dashboards/uid/{uid}", unless=_NOT_FOUND)
    if there and _content(there["dashboard"]) == _content(board) and there["meta"].get("folderUid") == FOLDER:
        return f"unchanged: {site.url.rstrip('/')}{there['meta']['url']}"
    body = {
        "dashboard": {**board, "id": None},
        "folderUid": FOLDER,
        "overwrite": True,
        "message": f"shipper {__version__}",
    }
    return f"{site.url.rstrip('/')}{site.send('POST', '/api/dashboards/db', json=body)['url']}"


def _content(board: dict[str, Any]) -> dict[str, Any]:
    """A dashboard without the numbers that Grafana assigns."""
    return {name: value for name, value in board.items() if name not in ("id", "version")}


def export(directory: Path) -> Iterator[str]:
    """Write the dashboards for Grafana's import, which asks for the data source, and grafana.com; yields the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for uid, text in boards("grafana"):
        path = directory / f"{uid}.json"
        path.write_text(
            json.dumps(_with_inputs(json.loads(text)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        yield str(path)


def _with_inputs(board: dict[str, Any]) -> dict[str, Any]:
    """``board`` with the data source as an input, which is the first choice of its variable."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "datasource":
            variable["current"] = {"selected": True, "text": f"${{{_INPUT}}}", "value": f"${{{_INPUT}}}"}
    source = {"name": _INPUT, "label": "Elasticsearch with metrics-shipper.*", "type": "datasource"}
    kinds = sorted({panel["type"] for panel in _panels(board["panels"])} - {"row"})
    requires = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": _LEAST_GRAFANA},
        {"type": "datasource", "id": "elasticsearch", "name": "Elasticsearch", "version": "1.0.0"},
        *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds),
    ]
    inputs = [{**source, "pluginId": "elasticsearch", "pluginName": "Elasticsearch"}]
    return {"__inputs": inputs, "__requires": requires, "id": None, **board}


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", []))


def into_kibana(site: Site, space: str = "", namespace: str = "") -> Iterator[str]:
    """Create or replace data view and dashboards in ``space``; yields the address of each dashboard.

    ``namespace``: the only one that the data view covers; empty for all.
    """
    base = f"/s/{space}" if space else ""
    lines = dict.fromkeys(line for _, text in boards("kibana") for line in text.splitlines())
    objects = [_narrowed(line, namespace) for line in lines]
    file = ("shipper.ndjson", "\n".join(objects) + "\n", "application/ndjson")
    path = f"{base}/api/saved_objects/_import?overwrite=true"
    done = site.send("POST", path, fields={"file": file}, headers={"kbn-xsrf": "shipper"})
    if not done.get("success"):
        reasons = ", ".join(f"{error['id']}: {error['error'].get('type')}" for error in done.get("errors", []))
        raise UserError(f"{site.url}: import failed in part: {reasons}")
    for saved in map(json.loads, objects):
        if saved["type"] == "dashboard":
            yield f"{site.url.rstrip('/')}{base}/app/dashboards#/view/{saved['id']}"


def _narrowed(line: str, namespace: str) -> str:
    saved = json.loads(line)
    if namespace and saved["type"] == "index-pattern":
        saved["attributes"]["title"] += f"-{namespace}"
    return json.dumps(saved, ensure_ascii=False)
