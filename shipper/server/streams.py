"""Existing data streams compared with the configuration: what can be changed now and what needs a rollover.

A stream takes lifecycle, options, settings and mappings from its template only when the stream or its next backing
index is created. So a changed template alone does not affect existing data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shipper.deliver.client import Connection, call
from shipper.deliver.document import flat
from shipper.schema import stream_names, templates
from shipper.schema.templates import Features, Template
from shipper.server.capabilities import Server
from shipper.server.plan import Body, Request, Step, changes, installed
from shipper.settings.config import Config

_MOST_NAMED: Final = 3
_CLOSED: Final = (
    "index.blocks.write",
    "index.blocks.read_only",
    "index.blocks.metadata",
    "index.verified_before_close",
)
_DOWNSAMPLED: Final = "index.downsample."
# Settings that cannot be changed after an index was created
_FIXED: Final = ("index.mode", "index.codec", "index.number_of_shards", "index.sort.", "index.number_of_routing_shards")
# Only of the first backing index; derived from the dimensions; the server's bookkeeping
_NOT_COMPARED: Final = ("index.look_back_time", "index.routing_path", "index.time_series.", "index.dimensions")
_LIFECYCLE: Final = ("enabled", "data_retention", "downsampling")


@dataclass(frozen=True, slots=True)
class Backing:
    """One backing index: ``settings`` flat, ``mappings`` as the server returns them."""

    name: str
    settings: Mapping[str, Any]
    mappings: Mapping[str, Any]

    @property
    def series(self) -> bool:
        return self.settings.get("index.mode") == "time_series"

    @property
    def writable(self) -> bool:
        blocked = any(self.settings.get(name) == "true" for name in _CLOSED)
        return not blocked and not any(name.startswith(_DOWNSAMPLED) for name in self.settings)


@dataclass(frozen=True, slots=True)
class Stream:
    """A data stream. ``about``: the data stream API's description; None if the server has no such API."""

    name: str
    backing: Sequence[Backing]
    about: Mapping[str, Any] | None = None

    @property
    def write_index(self) -> Backing:
        return self.backing[-1]

    @property
    def open_indices(self) -> list[Backing]:
        """Backing indices that accept documents; those of a time series also accept earlier times."""
        return [index for index in self.backing if index is self.write_index or (index.series and index.writable)]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the templates give a stream, the operator's component included."""

    settings: Mapping[str, Any]
    mappings: Mapping[str, Any]
    lifecycle: Mapping[str, Any] | None
    options: Mapping[str, Any] | None

    @property
    def series(self) -> bool:
        return self.settings.get("index.mode") == "time_series"


@dataclass(slots=True)
class Comparison:
    """``steps`` bring a stream in line; ``later`` is what only its next backing index brings."""

    name: str
    steps: list[Step] = field(default_factory=list)
    later: list[str] = field(default_factory=list)


def pattern(config: Config) -> str:
    """The name pattern of all streams of the namespace."""
    return stream_names.stream("*", config.index.namespace)


def present(client: Connection, config: Config, server: Server) -> list[Stream]:
    """The existing streams of the namespace, ordered by name. Raises ServerError."""
    wanted = pattern(config)
    if server.has_data_streams:
        answer = call(client, "GET", f"/_data_stream/{wanted}") or {}
        known = {
            entry["name"]: ([index["index_name"] for index in entry["indices"]], entry)
            for entry in answer.get("data_streams", ())
        }
    else:
        answer = call(client, "GET", f"/_resolve/index/{wanted}") or {}
        known = {entry["name"]: (entry["backing_indices"], None) for entry in answer.get("data_streams", ())}
    if not known:
        return []
    settings = call(client, "GET", f"/{wanted}/_settings?flat_settings=true&expand_wildcards=all") or {}
    mappings = call(client, "GET", f"/{wanted}/_mapping?expand_wildcards=all") or {}
    return [
        Stream(name, [_backing(index, settings, mappings) for index in indices], about)
        for name, (indices, about) in sorted(known.items())
    ]


def _backing(name: str, settings: Mapping[str, Any], mappings: Mapping[str, Any]) -> Backing:
    return Backing(name, settings.get(name, {}).get("settings", {}), mappings.get(name, {}).get("mappings", {}))


def plain_indices(client: Connection, config: Config) -> list[str]:
    """Indices with the name of a data stream. Raises ServerError."""
    answer = call(client, "GET", f"/_resolve/index/{pattern(config)}") or {}
    return sorted(index["name"] for index in answer.get("indices", ()) if "data_stream" not in index)


def expected(client: Connection, config: Config, features: Features) -> dict[str, Expected]:
    """What the templates give each stream, by its name. Raises ServerError."""
    wanted = templates.render(config.index, features)
    components = {template.name: template.body["template"] for template in wanted if template.kind == "component"}
    custom = installed(client, Template("component", templates.CUSTOM, {}))
    components[templates.CUSTOM] = (custom or {}).get("template", {})
    return {
        template.name: _composed(
            [*(components[part] for part in template.body["composed_of"]), template.body.get("template", {})]
        )
        for template in wanted
        if template.kind == "index" and "data_stream" in template.body
    }


def _composed(parts: Sequence[Mapping[str, Any]]) -> Expected:
    whole: Body = {}
    for part in parts:
        whole = _merged(whole, part)
    settings = {"index.number_of_shards": "1", **whole.get("settings", {})}
    return Expected(settings, whole["mappings"], whole.get("lifecycle"), whole.get("data_stream_options"))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Body:
    """``below`` overridden by ``above``; a field's mapping is replaced as a whole, as the server does."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both and "type" not in value else value
    return merged


def compare(stream: Stream, wanted: Expected) -> Comparison:
    """How ``stream`` differs from ``wanted``."""
    comparison = Comparison(stream.name)
    comparison.steps += [*_lifecycle(stream, wanted), *_options(stream, wanted)]
    if wanted.series != stream.write_index.series:
        mode = stream.write_index.settings.get("index.mode", "standard")
        comparison.later.append(f"it was created in mode {mode} before setup, with other mappings")
        return comparison
    for index in stream.open_indices:
        mapping, later = _mapping(index, wanted)
        comparison.steps += mapping
        comparison.later += later if index is stream.write_index else []
    comparison.steps += _settings(stream, wanted)
    comparison.later += _fixed(stream, wanted)
    return comparison


def _lifecycle(stream: Stream, wanted: Expected) -> Iterator[Step]:
    if stream.about is None or wanted.lifecycle is None:
        return
    known = stream.about.get("lifecycle") or {}
    now = {key: known[key] for key in _LIFECYCLE if key in known}
    if now == wanted.lifecycle:
        return
    overwrites = changes({"lifecycle": now}, {"lifecycle": wanted.lifecycle}, f"data stream {stream.name}")
    change = f"retention {_retention(now)} → {_retention(wanted.lifecycle)}"
    line = f"updated    lifecycle of data stream {stream.name}: {change}"
    yield Step(line, [Request("PUT", f"/_data_stream/{stream.name}/_lifecycle", wanted.lifecycle)], overwrites)


def _retention(lifecycle: Mapping[str, Any]) -> str:
    return str(lifecycle.get("data_retention", "forever" if lifecycle.get("enabled") else "none"))


def _options(stream: Stream, wanted: Expected) -> Iterator[Step]:
    """Turn off a failure store: it answers 201 for a rejected document, so nothing would be retried or sent to
    the late stream.
    """
    store = (stream.about or {}).get("failure_store") or {}
    if not wanted.options or not store.get("enabled"):
        return
    overwrites = [f"data stream {stream.name}: failure_store.enabled: true → false"]
    request = Request("PUT", f"/_data_stream/{stream.name}/_options", wanted.options)
    yield Step(f"updated    options of data stream {stream.name}: no failure store", [request], overwrites)


def _mapping(index: Backing, wanted: Expected) -> tuple[list[Step], list[str]]:
    """Fields that are added now, and what the next backing index brings.

    A new dimension is never added to an existing index: documents with that dimension would be stored again under
    another id.
    """
    before, after = _leaves(index.mappings), _leaves(wanted.mappings)
    inner = {name[:at] for name in before for at in range(len(name)) if name[at] == "."}
    added: list[str] = []
    later: list[str] = []
    for name, mapping in after.items():
        if mapping.get("type") == "object" and name in inner:
            continue  # it has got leaves, which have names of the user
        if name in before:
            if _differ(before[name], mapping):
                later.append(name)
        elif mapping.get("time_series_dimension") or name in inner or _below_a_leaf(name, before):
            later.append(name)
        else:
            added.append(name)
    body: Body = {"properties": _nested({name: after[name] for name in added})} if added else {}
    dynamic = wanted.mappings.get("dynamic")
    if _text(index.mappings.get("dynamic")) != _text(dynamic):
        body["dynamic"] = dynamic
        added.append(f"dynamic {_text(dynamic)}")
    if index.mappings.get("dynamic_templates") != wanted.mappings.get("dynamic_templates"):
        body["dynamic_templates"] = wanted.mappings.get("dynamic_templates", [])
        added.append("dynamic templates")
    steps = []
    if body:
        request = Request("PUT", f"/{index.name}/_mapping", body)
        steps.append(Step(f"updated    mappings of {index.name}: {_named(added)}", [request], optional=True))
    return steps, [f"other mappings of {_named(later)}"] if later else []


def _text(value: Any) -> str:
    """A setting as text: the server answers ``"false"`` to ``false``."""
    return str(value).lower()


def _leaves(mappings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    def walk(properties: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, mapping in properties.items():
            if "properties" in mapping:
                yield from walk(mapping["properties"], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", mapping

    return dict(walk(mappings.get("properties", {}), ""))


def _differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether they differ in what cannot be changed; ``meta`` and ``ignore_above`` are not worth a rollover."""
    soft = {"meta", "ignore_above"}
    plain = [{key: value for key, value in mapping.items() if key not in soft} for mapping in (before, after)]
    return plain[0] != plain[1]


def _below_a_leaf(name: str, leaves: Mapping[str, Any]) -> bool:
    return any(name[:at] in leaves for at in range(len(name)) if name[at] == ".")


def _nested(leaves: Mapping[str, Mapping[str, Any]]) -> Body:
    properties: Body = {}
    for name, mapping in leaves.items():
        *parents, leaf = name.split(".")
        branch = properties
        for parent in parents:
            branch = branch.setdefault(parent, {"properties": {}})["properties"]
        branch[leaf] = mapping
    return properties


def _settings(stream: Stream, wanted: Expected) -> Iterator[Step]:
    values = {name: value for name, value in _differing(stream.write_index, wanted) if not name.startswith(_FIXED)}
    if values:
        names = ", ".join(
            f"{name} {stream.write_index.settings.get(name, 'unset')} → {value}" for name, value in values.items()
        )
        requests = [Request("PUT", f"/{index.name}/_settings", values) for index in stream.open_indices]
        yield Step(f"updated    settings of data stream {stream.name}: {names}", requests, optional=True)


def _fixed(stream: Stream, wanted: Expected) -> list[str]:
    return [
        f"{name} {stream.write_index.settings.get(name, 'unset')} → {value}"
        for name, value in _differing(stream.write_index, wanted)
        if name.startswith(_FIXED)
    ]


def _differing(index: Backing, wanted: Expected) -> Iterator[tuple[str, Any]]:
    for name, value in flat(wanted.settings).items():
        now = index.settings.get(name)
        if not name.startswith(_NOT_COMPARED) and _text(now) != _text(value):
            yield name, value


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more fields" if more > 0 else "")
