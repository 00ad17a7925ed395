"""``shipper setup --remove``: remove what setup created for a namespace, and with ``--data`` its documents."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from shipper.base.errors import ServerError
from shipper.deliver.client import Connection, call
from shipper.schema import stream_names, templates
from shipper.schema.templates import Features, Template
from shipper.server import setup
from shipper.server.capabilities import Say
from shipper.server.keys import key_body
from shipper.server.plan import Request, Step, installed
from shipper.settings.config import Config

_NOT_FOUND: Final = 404


def data(client: Connection, config: Config) -> list[str]:
    """Names of data streams and indices with documents. Raises ServerError."""
    pattern = "shipper-*" if config.index.layout == "dated" else stream_names.stream("*", config.index.namespace)
    answer: Any = call(client, "GET", f"/_resolve/index/{pattern}?expand_wildcards=all") or {}
    if config.index.layout == "dated":
        return sorted(index["name"] for index in answer.get("indices", ()) if setup.day_of(index["name"]))
    return sorted(stream["name"] for stream in answer.get("data_streams", ()))


def steps(client: Connection, config: Config, *, with_data: bool) -> Iterator[Step]:
    """The steps of the removal, in order. Raises ServerError."""
    if with_data:
        kind, path = ("index", "") if config.index.layout == "dated" else ("data stream", "/_data_stream")
        for name in data(client, config):
            yield Step(f"deleted    {kind} {name}", [Request("DELETE", f"{path}/{name}")])
    yield from _keys(client, config)
    wanted = templates.render(config.index)
    ours = [template for template in wanted if template.kind == "index" and _is_ours(client, template)]
    for template in ours:
        yield Step(f"removed    index template {template.name}", [Request("DELETE", template.path)], optional=True)
    for name in templates.policies(config.index, Features(ilm=True)):
        if call(client, "GET", f"/_ilm/policy/{name}") if _has_policies(client) else None:
            yield Step(
                f"removed    lifecycle policy {name}", [Request("DELETE", f"/_ilm/policy/{name}")], optional=True
            )
    yield from _components(client, wanted, {template.name for template in ours})


def _has_policies(client: Connection) -> bool:
    modules = setup.examine(client).modules
    return modules is not None and "x-pack-ilm" in modules


def _is_ours(client: Connection, template: Template) -> bool:
    body = installed(client, template)
    return body is not None and body.get("_meta", {}).get("managed_by") == "shipper"


def _components(client: Connection, wanted: list[Template], gone: set[str]) -> Iterator[Step]:
    """Components that no index template needs any more; the operator's only while it is empty."""
    listed = call(client, "GET", "/_index_template") or {"index_templates": []}
    needed: dict[str, list[str]] = {}
    for entry in listed["index_templates"]:
        for component in entry["index_template"].get("composed_of", ()):
            if entry["name"] not in gone:
                needed.setdefault(component, []).append(entry["name"])
    for entry in wanted:
        body = installed(client, entry) if entry.kind == "component" else None
        if body is None:
            continue
        if entry.name in needed:
            yield Step(f"kept       component template {entry.name}: index template {needed[entry.name][0]} uses it")
        elif entry.operators and _has_content(body):
            yield Step(f"kept       component template {entry.name}: it holds settings or mappings of yours")
        else:
            yield Step(f"removed    component template {entry.name}", [Request("DELETE", entry.path)], optional=True)


def _has_content(body: Mapping[str, Any]) -> bool:
    return any(body.get("template", {}).values())


def _keys(client: Connection, config: Config) -> Iterator[Step]:
    """Keys with our name and metadata; only the caller's own keys if it may not see others."""
    name = key_body(config)["name"]
    try:
        keys, owner = _ask_for_keys(client)
    except ServerError as error:
        yield Step(f"kept       API keys: {error}")
        return
    ids = [
        key["id"]
        for key in keys
        if key["name"] == name and not key["invalidated"] and key.get("metadata", {}).get("managed_by") == "shipper"
    ]
    if ids:
        body = {"ids": ids, **owner}
        yield Step(f"revoked    {len(ids)} API keys {name}", [Request("DELETE", "/_security/api_key", body)])


def _ask_for_keys(client: Connection) -> tuple[list[Any], dict[str, bool]]:
    """Keys, and how requests about them must be limited. Raises ServerError."""
    try:
        return call(client, "GET", "/_security/api_key")["api_keys"], {}
    except ServerError:
        return call(client, "GET", "/_security/api_key?owner=true")["api_keys"], {"owner": True}


def remove(client: Connection, config: Config, say: Say, *, with_data: bool) -> None:
    """Remove everything; what the server still needs is reported and kept. Raises ServerError."""
    for step in list(steps(client, config, with_data=with_data)):
        line = step.line
        try:
            for request in step.requests:
                call(client, request.method, request.path, request.body)
        except ServerError as error:
            if error.status == _NOT_FOUND:
                continue
            if not step.optional:
                raise
            line = f"kept       {line.partition(' ')[2].strip()}: {error}"
        say(line)
