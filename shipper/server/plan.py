"""What setup would do, as steps that can be shown before any of them is executed."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.deliver.client import Connection, call
from shipper.deliver.document import flat
from shipper.schema import templates
from shipper.schema.templates import Template

Body = dict[str, Any]
_REPLACED: Final = frozenset({"upgraded", "updated"})
_KEPT: Final = {"kept": ": newer than this shipper, unchanged"}
_MOST_SHOWN: Final = 3
# Values that follow from the server's version and modules
_DERIVED: Final = re.compile(r"template\.settings\.index\.(routing_path|look_back_time): ")
# Values that the configuration chooses; in an older template any other difference is the upgrade itself
_CHOSEN: Final = re.compile(r"template\.(settings\.index\.number_of_|lifecycle\.|data_stream_options\.)")


@dataclass(frozen=True, slots=True)
class Request:
    """One request of setup; ``note`` says when it is not sent."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """``line`` says what is done, or that nothing is. ``overwrites``: values on the server that others may have set.

    ``optional``: a rejection is reported and does not stop setup.
    """

    line: str
    requests: Sequence[Request] = ()
    overwrites: Sequence[str] = ()
    optional: bool = False


def of_templates(client: Connection, wanted: Iterable[Template]) -> Iterator[Step]:
    """A step for each template. Raises ServerError."""
    for template in wanted:
        server_body = installed(client, template)
        action = _action(template, server_body)
        line = f"{action:10} {template.kind} template {template.name}{_KEPT.get(action, '')}"
        if action == "created" or action in _REPLACED:
            overwrites = _overwritten(template, server_body or {}, action)
            yield Step(line, [Request("PUT", template.path, template.body)], overwrites)
        else:
            yield Step(line)


def of_policies(client: Connection, policies: Mapping[str, Mapping[str, Any]]) -> Iterator[Step]:
    """A step for each ILM policy. Raises ServerError."""
    for name, body in policies.items():
        path, line = f"/_ilm/policy/{name}", f"lifecycle policy {name}"
        answer = call(client, "GET", path)
        server_body = answer[name]["policy"] if answer else None
        action = "created" if server_body is None else compare(body["policy"], server_body)
        overwrites = changes(server_body or {}, body["policy"], line) if action == "updated" else ()
        done = [Request("PUT", path, body)] if action == "created" or action in _REPLACED else ()
        yield Step(f"{action:10} {line}", done, overwrites)


def _action(template: Template, server_body: Body | None) -> str:
    """``created``, ``upgraded``, ``updated``, ``unchanged`` or ``kept``."""
    if server_body is None:
        return "created"
    return "unchanged" if template.operators else compare(template.body, server_body)


def installed(client: Connection, template: Template) -> Body | None:
    """The body that the server has under the name of ``template``; None if it has none. Raises ServerError."""
    answer = call(client, "GET", f"{template.path}?flat_settings=true")
    entries = answer[f"{template.kind}_templates"] if answer else []
    body: Body | None = entries[0][f"{template.kind}_template"] if entries else None
    return body


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """``kept`` (the server's is newer), ``upgraded`` (older), ``updated`` (same version, other settings) or
    ``unchanged``.
    """
    version = theirs.get("_meta", {}).get("version")
    version = version if isinstance(version, int) else 0
    if version != templates.TEMPLATE_VERSION:
        return "kept" if version > templates.TEMPLATE_VERSION else "upgraded"
    return "unchanged" if _plain(ours) == _plain(theirs) else "updated"


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """``body`` without what the server adds, and without the program's version."""
    plain = {key: value for key, value in body.items() if key != "_meta" and not key.endswith("_date_millis")}
    if "data_stream" in plain:
        plain["data_stream"] = {key: value for key, value in plain["data_stream"].items() if value}
    return plain


def _overwritten(template: Template, server_body: Mapping[str, Any], action: str) -> list[str]:
    if action not in _REPLACED:
        return []
    lines = changes(_plain(server_body), _plain(template.body), f"{template.kind} template {template.name}")
    if action == "updated":
        return [line for line in lines if not _DERIVED.search(line)]
    return [line for line in lines if _CHOSEN.search(line)]


def changes(theirs: Mapping[str, Any], ours: Mapping[str, Any], where: str) -> list[str]:
    """A line for each value of ``theirs`` that differs in ``ours``, or that only a lifecycle of ``ours`` has."""
    before, after = flat(theirs), flat(ours)
    names = [name for name in before if before[name] != after.get(name)]
    names += [name for name in after if name not in before and ".lifecycle." in f".{name}" and after[name] is not True]
    lines = [f"{where}: {name}: {_shown(before, name)} → {_shown(after, name)}" for name in sorted(names)]
    more = len(lines) - _MOST_SHOWN
    return [*lines[:_MOST_SHOWN], f"{where}: and {more} more"] if more > 1 else lines


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "unset"
