"""The columns of a Lens layer: terms, time buckets, metrics and formulas."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from shipper.fields.field import Type
from shipper.view.dashboards.clauses import kql
from shipper.view.dashboards.model import (
    COUNTED,
    RECENT,
    TIME,
    Metric,
    Panel,
    Stat,
    View,
    counted,
    find,
    key_label,
    label,
    order,
    unit,
)

SPLIT, TIMES, ORDER = "split", "times", "order"
_FORMATS: Final[dict[str, dict[str, Any]]] = {
    "pct": {"id": "percent", "params": {"decimals": 1}},
    "bytes": {"id": "bytes", "params": {"decimals": 1}},
    "bytes/s": {"id": "bytes", "params": {"decimals": 1, "suffix": "/s"}},
    "count": {"id": "number", "params": {"decimals": 0, "compact": True}},
    "load": {"id": "number", "params": {"decimals": 2}},
}
_OPERATIONS: Final = {
    Stat.AVG: "average",
    Stat.MAX: "max",
    Stat.MIN: "min",
    Stat.UNIQUE: "unique_count",
    Stat.MISSING: "unique_count",
    Stat.COUNT: "count",
}

Json = dict[str, Any]


def column(i: int) -> str:
    """Id of the column of a metric."""
    return f"metric{i}"


def columns(panel: Panel, metrics: Iterable[int], *, name: Callable[[int], str] = column) -> Iterator[tuple[str, Json]]:
    """The columns of the ``metrics`` by number: buckets before metrics, outermost bucket first, as in Lens."""
    if panel.split:
        yield SPLIT, _terms(panel)
    if panel.view in (View.LINES, View.HEAT):
        yield TIMES, _histogram()
    for i in metrics:
        yield from _metric(panel, name(i), panel.metrics[i])


def _column(label_: str, operation: str, data: str, scale: str, *, bucketed: bool = False, **more: Any) -> Json:
    return {
        "label": label_,
        "customLabel": True,
        "operationType": operation,
        "dataType": data,
        "scale": scale,
        "isBucketed": bucketed,
        **more,
    }


def _terms(panel: Panel) -> Json:
    assert panel.split
    by, shown = order(panel), [i for i, metric in enumerate(panel.metrics) if metric == order(panel)]
    params: Json = {
        "size": panel.split.size,
        "orderDirection": "asc" if panel.split.rising else "desc",
        "otherBucket": False,
        "missingBucket": False,
        "parentFormat": {"id": "terms"},
        "include": [],
        "exclude": [],
        "includeIsRegex": False,
        "excludeIsRegex": False,
    }
    if shown and not by.mirrored:
        params["orderBy"] = {"type": "column", "columnId": column(shown[0])}
    else:
        params["orderBy"] = {"type": "custom"}
        params["orderAgg"] = _plain(panel, by, "")
    of = panel.split.field
    return _column(key_label(panel), "terms", "string", "ordinal", bucketed=True, sourceField=of, params=params)


def _histogram() -> Json:
    params = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
    return _column(TIME, "date_histogram", "date", "interval", bucketed=True, sourceField=TIME, params=params)


def _metric(panel: Panel, id_: str, metric: Metric) -> Iterator[tuple[str, Json]]:
    if metric.stat not in (Stat.TOTAL, Stat.MISSING) and not metric.mirrored:
        yield id_, _plain(panel, metric, label(panel, metric))
        return
    yield from _formula(panel, id_, metric)


def _plain(panel: Panel, metric: Metric, label_: str) -> Json:
    if metric.stat is Stat.COUNT:
        made = _column(label_, "count", "number", "ratio", sourceField="___records___", params={"emptyAsNull": False})
        return made | ({"reducedTimeRange": RECENT} if metric.recent else {})
    date = metric.stat not in COUNTED and find(panel.dataset, metric.field).type is Type.DATE
    params: Json = {"emptyAsNull": False} if metric.stat in COUNTED else {}
    of = unit(panel, metric)
    if not date:
        params["format"] = _format(of, metric.field)
    made = _column(
        label_, _operation(metric), "date" if date else "number", "ratio", sourceField=metric.field, params=params
    )
    if metric.where:
        made["filter"] = {"language": "kuery", "query": kql(metric.where)}
    return made | ({"reducedTimeRange": RECENT} if metric.recent else {})


def _format(of: str, name: str) -> Json:
    if of == "per_s":
        suffix = f" {counted(name)}".rstrip() + "/s"
        return {"id": "number", "params": {"decimals": 1, "suffix": suffix}}
    return _FORMATS.get(of, {"id": "number", "params": {"decimals": 2, "suffix": f" {of}".rstrip()}})


def _operation(metric: Metric) -> str:
    return _OPERATIONS.get(metric.stat, "average")


def _formula(panel: Panel, id_: str, metric: Metric) -> Iterator[tuple[str, Json]]:
    """A formula with the parts into which Lens splits a formula: 8.x does not split on loading a dashboard."""
    parts = {f"{id_}X0": _plain(panel, metric, "")}
    formula = f"{_operation(metric)}({metric.field})"
    tree: Any = f"{id_}X0"
    if metric.stat is Stat.TOTAL:
        parts[f"{id_}X1"] = _plain(panel, Metric(Stat.UNIQUE, metric.per, unit="count"), "")
        formula, tree = f"{formula} * unique_count({metric.per})", _computed("multiply", tree, f"{id_}X1")
    if metric.stat is Stat.MISSING:
        parts[f"{id_}X1"] = _plain(panel, replace(metric, recent=True), "")
        formula = f"{formula} - unique_count({metric.field}, reducedTimeRange='{RECENT}')"
        tree = _computed("subtract", tree, f"{id_}X1")
    if metric.mirrored:
        formula, tree = f"{formula} * -1", _computed("multiply", tree, -1)
    last = f"{id_}X{len(parts)}"
    for name, part in parts.items():
        part["label"] = f"Part of {formula}"
        yield name, part
    yield (
        last,
        _column(f"Part of {formula}", "math", "number", "ratio", references=list(parts), params={"tinymathAst": tree}),
    )
    params = {"formula": formula, "isFormulaBroken": False, "format": parts[f"{id_}X0"]["params"]["format"]}
    yield id_, _column(label(panel, metric), "formula", "number", "ratio", references=[last], params=params)


def _computed(name: str, left: Any, right: Any) -> Json:
    return {"type": "function", "name": name, "args": [left, right]}


def limits(values: Iterable[float]) -> Iterator[tuple[str, Json]]:
    """Columns of fixed values, for lines across a chart."""
    for i, value in enumerate(values):
        params = {"value": f"{value:g}"}
        static = _column(f"threshold {value:g}", "static_value", "number", "ratio", references=[], params=params)
        yield f"limit{i}", static | {"isStaticValue": True}
