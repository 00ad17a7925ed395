"""Templates into a server, idempotently: what is absent is made, older is replaced, newer and the operator's is kept.

What a server lacks is found out from its list of modules; where that may not be read, or says nothing of it, from the
refusal of a template, which names the setting.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

from shipper import templates
from shipper.client import Connection, call
from shipper.config import Config
from shipper.errors import ServerError
from shipper.registry import DATASETS
from shipper.templates import Features, Template

_MODULE: Final = "data-streams"
_OLDEST: Final = {"datastream": (8, 7), "dated": (7, 17)}  # time series without a preview mark; component templates
_LIFECYCLE_SINCE: Final = (8, 11)
_ILM: Final = "x-pack-ilm"
_ILM_STAGES: Final = 2  # one in the warm phase, one in the cold
Body = dict[str, Any]
Say = Callable[[str], None]
_REPLACED: Final = frozenset({"upgraded", "updated"})
_KEPT: Final = {"kept": ": newer than this shipper, left alone"}
DELETE_COMMAND: Final = "shipper setup --delete-old"
_DATED: Final = re.compile(r"shipper-([a-z]+)-(\d{4})\.(\d\d)\.(\d\d)")
_FORBIDDEN: Final = 403
_KEYS: Final = "/_security/api_key"
# Asked in this order: a refusal of downsampling names the lifecycle too
_REFUSED: Final = {"look_back_time": "look_back", "downsampl": "downsampling", "lifecycle": "lifecycle"}
_NAMES: Final = {"downsampl": "downsampling"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request of an installation; ``note`` says when it is not sent."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """What set-up must know of a server: empty ``version``, None for ``modules`` where the credentials may not know."""

    version: str
    modules: frozenset[str] | None

    def is_older_than(self, version: tuple[int, int]) -> bool:
        return bool(self.version) and tuple(map(int, self.version.split(".")[:2])) < version

    @property
    def has_data_streams(self) -> bool:
        """Whether it has the module with the data-stream API, its lifecycle and its time bounds."""
        return self.modules is None or _MODULE in self.modules

    def __str__(self) -> str:
        return f"Elasticsearch {self.version or 'of a version that these credentials may not know'}"


def requests(config: Config, *, with_key: bool = False) -> list[Request]:
    """Everything that is sent to a server which has all modules and none of our templates."""
    key = [Request("POST", _KEYS, key_body(config), "makes a key anew each time")] if with_key else []
    wanted = [
        Request("PUT", one.path, one.body, "only if absent" if one.operators else "")
        for one in templates.render(config.index)
    ]
    made = [Request("PUT", f"/_data_stream/{name}", None, "only if absent") for name in streams(config)]
    return [*wanted, *made, *key]


def key_body(config: Config) -> Body:
    """The least that shipping needs: to create documents, and the streams and indices for them."""
    pattern = "shipper-*" if config.index.layout == "dated" else templates.stream("*", config.index.namespace)
    rights = {"names": [pattern], "privileges": ["create_doc", "auto_configure"]}
    return {
        "name": f"shipper {pattern}",
        "role_descriptors": {"shipper": {"cluster": [], "index": [rights]}},
        "metadata": {"managed_by": "shipper"},
    }


def create_key(client: Connection, config: Config) -> str:
    """A new API key in the form ``id:key``, as ``elasticsearch.api_key_file`` holds it. Raises ServerError."""
    made = call(client, "POST", _KEYS, key_body(config))
    return f"{made['id']}:{made['api_key']}"


def streams(config: Config) -> list[str]:
    """Data streams made at set-up: ``look_back_time`` then counts from now, not from the first document."""
    if config.index.layout != "datastream":
        return []
    return [templates.stream(dataset, config.index.namespace) for dataset in config.collect.datasets]


def examine(client: Connection) -> Server:
    """Version and modules of the server. Raises ServerError."""
    try:
        nodes = call(client, "GET", "/_nodes/_local?filter_path=nodes.*.version,nodes.*.modules.name")["nodes"]
        (node,) = nodes.values()
        return Server(node["version"], frozenset(module["name"] for module in node["modules"]))
    except ServerError as error:
        if error.status != _FORBIDDEN:
            raise
    except (KeyError, TypeError, ValueError):
        return Server(call(client, "GET", "/")["version"]["number"], None)
    return Server("", None)


def install(client: Connection, config: Config, say: Say) -> None:
    """Install everything; ``say`` gets a line for each thing done or left out. Raises ServerError."""
    server = examine(client)
    oldest = _OLDEST[config.index.layout]
    if server.is_older_than(oldest):
        raise ServerError(f"{server}: index.layout {config.index.layout} needs {'.'.join(map(str, oldest))} or newer")
    say(f"server     {server}")
    wanted, replaced = _install_templates(client, config, _features(server, config, say), say)
    _update_mappings(client, wanted, replaced, say)
    if server.has_data_streams:
        _make_streams(client, streams(config), say)


def _features(server: Server, config: Config, say: Say) -> Features:
    lifecycle = not server.is_older_than(_LIFECYCLE_SINCE)
    ilm = not lifecycle and config.index.layout == "datastream" and (server.modules is None or _ILM in server.modules)
    features = Features(look_back=server.has_data_streams, lifecycle=lifecycle, ilm=ilm)
    days = config.index.retention_days
    if config.index.layout == "dated":
        if days:
            say(f"left out   lifecycle: plain indices have none; run daily: {DELETE_COMMAND}")
        return features
    if not features.look_back:
        say(f"left out   index.look_back_time: the server has no module {_MODULE}")
    if features.ilm:
        if len(config.index.downsample) > _ILM_STAGES:
            say(f"left out   stages of index.downsample after the second: {server} thins out in two phases")
    elif not features.lifecycle:
        say(f"left out   lifecycle: {server} does not have it; nothing deletes old documents")
    elif days and not server.has_data_streams:
        say(f"not kept   retention of {days} days: the server has no module {_MODULE}, nothing deletes old documents")
    return features


def _install_templates(
    client: Connection, config: Config, features: Features, say: Say
) -> tuple[list[Template], set[str]]:
    """Install, and again without a feature that the server refuses. All templates, and the names of those replaced."""
    replaced: set[str] = set()
    while True:
        wanted = templates.render(config.index, features)
        try:
            for name, body in templates.policies(config.index, features).items():
                say(f"{_install_policy(client, name, body):10} lifecycle policy {name}")
            for template in wanted:
                action = _install(client, template)
                say(f"{action:10} {template.kind} template {template.name}{_KEPT.get(action, '')}")
                replaced |= {template.name} if action in _REPLACED else set()
        except ServerError as error:
            word = next(
                (word for word, feature in _REFUSED.items() if word in str(error) and getattr(features, feature)), ""
            )
            if not word:
                raise
            features = replace(features, **{_REFUSED[word]: False})
            say(f"left out   {_NAMES.get(word, word)}: the server refuses it")
        else:
            return wanted, replaced


def _install(client: Connection, template: Template) -> str:
    """What was done: ``created``, ``upgraded``, ``updated``; or not: ``unchanged``, ``kept``."""
    there = installed(client, template)
    if there is None:
        action = "created"
    elif template.operators:
        action = "unchanged"
    else:
        action = compare(template.body, there)
    if action == "created" or action in _REPLACED:
        call(client, "PUT", template.path, template.body)
    return action


def _install_policy(client: Connection, name: str, body: Mapping[str, Any]) -> str:
    path = f"/_ilm/policy/{name}"
    answer = call(client, "GET", path)
    there = answer[name]["policy"] if answer else None
    action = "created" if there is None else compare(body["policy"], there)
    if action == "created" or action in _REPLACED:
        call(client, "PUT", path, body)
    return action


def installed(client: Connection, template: Template) -> Body | None:
    """The body that the server has under the name of ``template``; None if it has none. Raises ServerError."""
    answer = call(client, "GET", f"{template.path}?flat_settings=true")
    found = answer[f"{template.kind}_templates"] if answer else []
    body: Body | None = found[0][f"{template.kind}_template"] if found else None
    return body


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """``kept`` (theirs is newer), ``upgraded`` (older), ``updated`` (same version, other settings) or ``unchanged``."""
    version = theirs.get("_meta", {}).get("version")
    version = version if isinstance(version, int) else 0
    if version != templates.TEMPLATE_VERSION:
        return "kept" if version > templates.TEMPLATE_VERSION else "upgraded"
    return "unchanged" if _plain(ours) == _plain(theirs) else "updated"


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """``body`` without what the server adds, and without the version of the program, which does not matter here."""
    plain = {key: value for key, value in body.items() if key != "_meta" and not key.endswith("_date_millis")}
    if "data_stream" in plain:
        plain["data_stream"] = {key: value for key, value in plain["data_stream"].items() if value}
    return plain


def _update_mappings(client: Connection, wanted: Iterable[Template], replaced: set[str], say: Say) -> None:
    """New fields into the indices that are written to now; the next indices get them from the template."""
    wanted = list(wanted)
    components = {one.name: one.body["template"] for one in wanted if one.name in replaced and one.kind == "component"}
    for template in wanted:
        if template.kind == "component" or template.body["composed_of"][0] not in components:
            continue
        properties = {"properties": components[template.body["composed_of"][0]]["mappings"]["properties"]}
        for path in _written_to(client, template.body["index_patterns"][0]):
            try:
                call(client, "PUT", path, properties)
            except ServerError as error:
                say(f"not yet    {error}; the next index will have the new mappings")


def _written_to(client: Connection, pattern: str) -> list[str]:
    """Paths of the mappings of what ``pattern`` matches now; one each, since a server refuses several write indices."""
    found = call(client, "GET", f"/_resolve/index/{pattern}") or {}
    streams = [f"/{one['name']}/_mapping?write_index_only=true" for one in found.get("data_streams", ())]
    return streams + [f"/{one['name']}/_mapping" for one in found.get("indices", ()) if "data_stream" not in one]


def _make_streams(client: Connection, names: Iterable[str], say: Say) -> None:
    for name in names:
        try:
            if call(client, "GET", f"/_data_stream/{name}") is None:
                call(client, "PUT", f"/_data_stream/{name}")
                say(f"created    data stream {name}")
        except ServerError as error:
            say(f"not yet    data streams: the first document makes them ({error})")
            return


def delete_old(client: Connection, config: Config, today: date, say: Say) -> None:
    """Delete the indices of days before ``index.retention_days``, in the dated layout. Raises ServerError."""
    if config.index.layout != "dated" or not config.index.retention_days:
        say("nothing    to delete: only index.layout dated with index.retention_days leaves that to this command")
        return
    oldest = today - timedelta(days=config.index.retention_days)
    found = call(client, "GET", "/_resolve/index/shipper-*?expand_wildcards=all") or {}
    for name in sorted(one["name"] for one in found.get("indices", ())):
        day = _day(name)
        if day and day < oldest:
            call(client, "DELETE", f"/{name}")
            say(f"deleted    {name}")


def _day(name: str) -> date | None:
    """The day of an index that is one of ours by its whole name."""
    match = _DATED.fullmatch(name)
    if not match or match[1] not in DATASETS:
        return None
    try:
        return date(int(match[2]), int(match[3]), int(match[4]))
    except ValueError:
        return None
