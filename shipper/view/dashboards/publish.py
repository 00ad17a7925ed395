"""Putting the dashboards into a Grafana or a Kibana over its HTTP API; doing it again changes nothing more.

Grafana: https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/, a folder of their own.
Kibana: https://www.elastic.co/guide/en/kibana/8.19/saved-objects-api-import.html, with the data view they read.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

import urllib3

from shipper import __version__
from shipper.base.errors import UserError

FOLDER: Final = "shipper"
_PATIENCE_S: Final = 30
_TITLE: Final = "Shipper"
_NOT_FOUND: Final = 404
_REFUSED: Final = {
    401: "the token is not valid",
    403: "the token may not do this",
    404: "there is no such page: is the URL right, with its path?",
    412: "someone else changed it meanwhile, or it is provisioned from files",
}


@dataclass(frozen=True)
class Site:
    """Where to, with the header that says who we are. ``ca_file``: who signed its certificate, if not a public one."""

    url: str
    authorization: str = ""
    ca_file: str = ""

    def send(self, method: str, path: str, *, missing_ok: bool = False, **more: Any) -> Any:
        """JSON of the answer; None where ``missing_ok`` and there is nothing. Raises UserError, the token not in it."""
        headers = {**({"authorization": self.authorization} if self.authorization else {}), **more.pop("headers", {})}
        timeout = urllib3.Timeout(total=_PATIENCE_S)
        try:
            with urllib3.PoolManager(ca_certs=self.ca_file or None, timeout=timeout, retries=False) as pool:
                answer = pool.request(method, self.url.rstrip("/") + path, headers=headers, **more)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UserError(f"{self.url}: {error}") from None
        if missing_ok and answer.status == _NOT_FOUND:
            return None
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            said = _REFUSED.get(answer.status) or answer.data[:200].decode("utf-8", "replace")
            raise UserError(f"{self.url}{path}: HTTP {answer.status}: {said}")
        try:
            return answer.json()
        except ValueError:
            raise UserError(f"{self.url}{path}: the answer is no JSON: is this the right server?") from None


def boards(kind: str) -> list[tuple[str, str]]:
    """Name and text of each rendered board, for ``grafana`` or ``kibana``."""
    folder: Traversable = resources.files("shipper_dashboards") / kind / "boards"
    return sorted((one.name.partition(".")[0], one.read_text(encoding="utf-8")) for one in folder.iterdir())


def into_grafana(site: Site) -> Iterator[str]:
    """Create or replace the folder's dashboards; tells each with its address."""
    if site.send("GET", f"/api/folders/{FOLDER}", missing_ok=True) is None:
        site.send("POST", "/api/folders", json={"uid": FOLDER, "title": _TITLE})
    for _, text in boards("grafana"):
        body = {
            "dashboard": {**json.loads(text), "id": None},
            "folderUid": FOLDER,
            "overwrite": True,
            "message": f"shipper {__version__}",
        }
        done = site.send("POST", "/api/dashboards/db", json=body)
        yield f"{site.url.rstrip('/')}{done['url']}"
    if not any(one.get("type") == "elasticsearch" for one in site.send("GET", "/api/datasources")):
        yield "Grafana has no Elasticsearch data source yet: see dashboards/grafana/provisioning/datasources"


def into_kibana(site: Site, space: str = "", namespace: str = "") -> Iterator[str]:
    """Create or replace data view and dashboards in ``space``; ``namespace`` narrows what the data view takes in."""
    base = f"/s/{space}" if space else ""
    lines = dict.fromkeys(line for _, text in boards("kibana") for line in text.splitlines())
    objects = [_narrowed(line, namespace) for line in lines]
    file = ("shipper.ndjson", "\n".join(objects) + "\n", "application/ndjson")
    path = f"{base}/api/saved_objects/_import?overwrite=true"
    done = site.send("POST", path, fields={"file": file}, headers={"kbn-xsrf": "shipper"})
    if not done.get("success"):
        reasons = ", ".join(f"{one['id']}: {one['error'].get('type')}" for one in done.get("errors", []))
        raise UserError(f"{site.url}: not all was imported: {reasons}")
    for one in map(json.loads, objects):
        if one["type"] == "dashboard":
            yield f"{site.url.rstrip('/')}{base}/app/dashboards#/view/{one['id']}"


def _narrowed(line: str, namespace: str) -> str:
    one = json.loads(line)
    if namespace and one["type"] == "index-pattern":
        one["attributes"]["title"] += f"-{namespace}"
    return json.dumps(one, ensure_ascii=False)
