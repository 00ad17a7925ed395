"""Fields → component and index templates, for both layouts. Pure.

Each dataset has two components: ``metrics-shipper.<dataset>@package`` for a time series data stream, and
``shipper-<dataset>@package`` with the same fields without time series, for the late stream (documents older than the
time series stream accepts) and for dated indices. The components are the same for all namespaces. What differs by
namespace (retention, shards, replicas, downsampling, label fields) is in the index templates, one per data stream. The
operator's own settings go into CUSTOM, which every index template names last.

Two settings keep the server's default on purpose: ``refresh_interval``, so that an index that nobody searches is not
refreshed every second, and the source mode, which depends on the licence.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from shipper import __version__
from shipper.fields import dynamic, metricbeat
from shipper.fields.field import NUMBERS, Alias, Field, Kind, Type, constant, host_label
from shipper.schema.datasets import DATASETS, Dataset
from shipper.schema.stream_names import late_stream, stream
from shipper.settings.config import Index

# Increase it with every change that is released: setup replaces older templates and keeps newer ones
TEMPLATE_VERSION: Final = 4
# Elastic's own template for metrics-*-* has 100, and its packages have 200; version 1 of ours, which was for
# all namespaces at once, had 500
PRIORITY: Final = 510
LOOK_BACK: Final = "7d"  # the server's maximum: the first backing index accepts a spool that is days old
IGNORE_ABOVE: Final = 1024  # the server rejects a document with a value of more than 32,766 bytes
FIELDS_LIMIT: Final = "2000"  # the default of 1,000 leaves little room for an operator's own fields
POLICY: Final = "metrics-shipper"
CUSTOM: Final = "metrics-shipper@custom"

# https://www.elastic.co/guide/en/elasticsearch/reference/8.19/mapping-field-meta.html
_META_UNITS: Final = {"bytes": "byte", "pct": "percent", "ns": "nanos", "us": "micros", "ms": "ms", "s": "s"}
_METRICS: Final = frozenset({Kind.GAUGE, Kind.COUNTER})


@dataclass(frozen=True, slots=True)
class Features:
    """Which settings the server supports, of those that not all servers have."""

    look_back: bool = True
    lifecycle: bool = True
    downsampling: bool = True
    failure_store: bool = True  # can be turned off
    names: bool = True  # as dimensions
    beyond_limit: bool = True  # a document with too many fields can be stored without mapping all of them
    ilm: bool = False  # index lifecycle management, in place of a lifecycle
    routing_path: bool = False  # must be given: the server does not derive it from the dimensions


@dataclass(frozen=True, slots=True)
class Template:
    """One template. ``operators``: it is created if missing and never changed again."""

    kind: Literal["component", "index"]
    name: str
    body: Mapping[str, Any]
    operators: bool = False

    @property
    def path(self) -> str:
        return f"/_{self.kind}_template/{self.name}"


def render(index: Index, features: Features | None = None) -> list[Template]:
    """All templates of ``index.layout``, in installation order."""
    features = features or Features()
    components, templates = [_custom()], []
    for dataset in DATASETS.values():
        components.append(_plain_component(dataset, features))
        if index.layout == "datastream":
            components.append(_series_component(dataset, features))
            templates += [_series_template(dataset, index, features), _late_template(dataset, index, features)]
        else:
            templates.append(_dated_template(dataset, index))
    return components + templates


def _meta() -> dict[str, Any]:
    return {"managed_by": "shipper", "version": TEMPLATE_VERSION, "shipper_version": __version__}


def _custom() -> Template:
    meta = {"description": "Settings and mappings of the operator for all of shipper's indices; setup never changes it"}
    return Template("component", CUSTOM, {"template": {}, "_meta": meta}, operators=True)


def _component(name: str, settings: Mapping[str, Any], mappings: Mapping[str, Any]) -> Template:
    return Template("component", name, {"template": {"settings": settings, "mappings": mappings}, "_meta": _meta()})


def _series_component(dataset: Dataset, features: Features) -> Template:
    own_mappings = mappings(dataset.fields, dataset.aliases, series=True, names=features.names)
    return _component(f"metrics-shipper.{dataset.name}@package", _settings(dataset, features), own_mappings)


def _plain_component(dataset: Dataset, features: Features) -> Template:
    own_mappings = mappings(dataset.fields, dataset.aliases, series=False)
    return _component(f"shipper-{dataset.name}@package", _settings(dataset, features), own_mappings)


def _settings(dataset: Dataset, features: Features) -> dict[str, Any]:
    """Settings as the server returns them: flat, values as text."""
    settings = {"index.codec": "best_compression", "index.mapping.total_fields.limit": FIELDS_LIMIT}
    if features.beyond_limit and any(field.type is Type.OBJECT for field in dataset.fields):
        # If a fleet sends too many names, the server stores them but does not map them
        settings["index.mapping.total_fields.ignore_dynamic_beyond_limit"] = "true"
    return settings


def _index_template(name: str, pattern: str, component: str, own: Mapping[str, Any], **more: Any) -> Template:
    body = {
        "index_patterns": [pattern],
        "priority": PRIORITY,
        "composed_of": [component, CUSTOM],
        "_meta": _meta(),
        **({"template": own} if own else {}),
        **more,
    }
    return Template("index", name, body)


def _series_template(dataset: Dataset, index: Index, features: Features) -> Template:
    name, component = stream(dataset.name, index.namespace), f"metrics-shipper.{dataset.name}@package"
    own = _own(dataset, index, features, series=True) | _lifecycle(index, features, series=True)
    return _index_template(name, name, component, own, data_stream={})


def _late_template(dataset: Dataset, index: Index, features: Features) -> Template:
    name, component = late_stream(dataset.name, index.namespace), f"shipper-{dataset.name}@package"
    own = _own(dataset, index, features, series=False) | _lifecycle(index, features, series=False)
    return _index_template(name, name, component, own, data_stream={})


def _dated_template(dataset: Dataset, index: Index) -> Template:
    name = f"shipper-{dataset.name}"
    return _index_template(
        name, f"{name}-*", f"{name}@package", _own(dataset, index, Features(ilm=False), series=False)
    )


def _own(dataset: Dataset, index: Index, features: Features, *, series: bool) -> dict[str, Any]:
    """What the namespace's configuration chooses, except for the lifecycle; and the mode of a time ``series``.

    The mode is set here because a server rejects a component that has the mode without a ``routing_path``, which the
    server derives for an index template.
    """
    settings: dict[str, Any] = {}
    if series:
        settings["index.mode"] = "time_series"
        settings |= {"index.routing_path": list(dataset.dimensions)} if features.routing_path else {}
        settings |= {"index.look_back_time": LOOK_BACK} if features.look_back else {}
    if index.shards != 1:  # otherwise CUSTOM may set it
        settings["index.number_of_shards"] = str(index.shards)
    if index.replicas is not None:
        settings["index.number_of_replicas"] = str(index.replicas)
    if features.ilm:
        settings["index.lifecycle.name"] = policy(index, series=series)
    aliases = metricbeat.aliases(dataset.name) if metricbeat.NAME in index.aliases else ()
    labels = map(host_label, index.label_fields)
    properties = mappings(labels, aliases, series=series, names=features.names)["properties"]
    return {
        **({"settings": settings} if settings else {}),
        **({"mappings": {"properties": properties}} if properties else {}),
    }


def _lifecycle(index: Index, features: Features, *, series: bool) -> dict[str, Any]:
    """The lifecycle of a data stream, and that rejected documents are returned instead of going to a failure store."""
    options = {"data_stream_options": {"failure_store": {"enabled": False}}} if features.failure_store else {}
    if features.ilm or not features.lifecycle:
        return options
    retention = {"data_retention": f"{index.retention_days}d"} if index.retention_days else {}
    stages = [{"after": after, "fixed_interval": interval} for after, interval in _stages(index)]
    downsampling = {"downsampling": stages} if stages and series and features.downsampling else {}
    return {"lifecycle": {"enabled": True, **retention, **downsampling}, **options}


def _stages(index: Index) -> list[tuple[str, str]]:
    """Downsampling stages: age and interval, such as ``("7d", "10m")``."""
    return [(after, interval) for after, _, interval in (stage.partition(":") for stage in index.downsample)]


def policies(index: Index, features: Features) -> dict[str, dict[str, Any]]:
    """Bodies of the ILM policies by name, for servers without data stream lifecycle; otherwise empty.

    Only a time series can be downsampled. https://www.elastic.co/guide/en/elasticsearch/reference/8.10/ilm-actions.html
    """
    if not features.ilm:
        return {}
    stages = dict(zip(("warm", "cold"), _stages(index), strict=False)) if features.downsampling else {}
    thinned = {
        phase: {"min_age": after, "actions": {"downsample": {"fixed_interval": interval}}}
        for phase, (after, interval) in stages.items()
    }
    return {policy(index, series=True): _policy(index, thinned), policy(index, series=False): _policy(index, {})}


def policy(index: Index, *, series: bool) -> str:
    """The name of the ILM policy that an index template uses."""
    return f"{POLICY}-{index.namespace}" if series else f"{POLICY}.late-{index.namespace}"


def _policy(index: Index, phases: Mapping[str, Any]) -> dict[str, Any]:
    rollover = {"max_age": "1d", "max_primary_shard_size": "50gb"}
    gone = (
        {"delete": {"min_age": f"{index.retention_days}d", "actions": {"delete": {}}}} if index.retention_days else {}
    )
    return {"policy": {"_meta": _meta(), "phases": {"hot": {"actions": {"rollover": rollover}}, **phases, **gone}}}


def mappings(
    fields: Iterable[Field], aliases: Iterable[Alias] = (), *, series: bool, names: bool = True
) -> dict[str, Any]:
    """Mappings of ``fields``; with ``series`` including what only a time series index supports.

    ``names``: whether names of a series are dimensions, too. Raises ValueError for a name that is both a field and a
    parent, a name that is declared twice, and a metric that is not a number.
    """
    dimensions = {Kind.DIMENSION, *([Kind.NAME] if names else [])} if series else set()
    properties: dict[str, Any] = {}
    fields = tuple(fields)
    for field in fields:
        _place(properties, field.name, _mapping(field, dimensions, series=series))
    for alias in aliases:
        _place(properties, alias.name, {"type": "alias", "path": alias.target})
    objects = {field.name for field in fields if field.type is Type.OBJECT}
    templates = {"dynamic_templates": list(_dynamic(objects, dimensions, series=series))} if objects else {}
    return {"dynamic": False, "date_detection": False, **templates, "properties": properties}


def _dynamic(objects: Container[str], dimensions: Container[Kind], *, series: bool) -> Iterator[dict[str, Any]]:
    """Dynamic templates of the leaves of ``objects``; the first that matches a leaf decides."""
    if dynamic.LABELS in objects:
        labels = constant(f"{dynamic.LABELS}.*", "A label")
        yield {dynamic.LABELS: {"path_match": labels.name, "mapping": _mapping(labels, dimensions, series=series)}}
    for suffix, unit in (*dynamic.SUFFIXES.items(), ("", "")):
        for kind, end in ((Kind.COUNTER, dynamic.TOTAL), (Kind.GAUGE, "")):
            name = f"{dynamic.METRICS}.*{'_' if suffix else ''}{suffix}{end}"
            mapping = _mapping(Field(name, Type.DOUBLE, kind, unit, ""), dimensions, series=series)
            own = dynamic.template(suffix, counter=kind is Kind.COUNTER)
            yield {own: {"path_match": name, "mapping": mapping}}


def _place(properties: dict[str, Any], name: str, mapping: Mapping[str, Any]) -> None:
    *parents, leaf = name.split(".")
    branch = properties
    for parent in parents:
        branch = branch.setdefault(parent, {"properties": {}}).get("properties")
        if branch is None:
            raise ValueError(f"{name}: {parent} is a field of its own")
    if leaf in branch:
        raise ValueError(f"{name}: declared twice, or other fields lie below it")
    branch[leaf] = mapping


def _mapping(field: Field, dimensions: Container[Kind], *, series: bool) -> dict[str, Any]:
    if field.kind in _METRICS and field.type not in NUMBERS:
        raise ValueError(f"{field.name}: a {field.kind} cannot be a {field.type}")
    return {"type": str(field.type), **dict(_parameters(field, dimensions, series=series))}


def _parameters(field: Field, dimensions: Container[Kind], *, series: bool) -> Iterator[tuple[str, Any]]:
    if field.type is Type.OBJECT:
        yield from {"dynamic": True, "subobjects": False}.items()
    if field.kind in dimensions:
        yield "time_series_dimension", True
    elif field.type in {Type.KEYWORD, Type.FLATTENED}:
        yield "ignore_above", IGNORE_ABOVE
    if field.kind in _METRICS:
        # Doc values answer aggregations and range queries; in a time series that is the server's default
        yield ("time_series_metric", str(field.kind)) if series else ("index", False)
    if field.unit in _META_UNITS:
        yield "meta", {"unit": _META_UNITS[field.unit]}
