"""One panel as the state of a Lens visualisation, with its references."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from shipper.fields.field import Type
from shipper.view.dashboards.clauses import kql
from shipper.view.dashboards.colours import MARKS, bands
from shipper.view.dashboards.model import (
    RECENT,
    TIME,
    Board,
    Metric,
    Panel,
    Stat,
    View,
    find,
    label,
    order,
    sorted_by,
    steps,
    tests,
    unit,
)
from shipper.view.thresholds import Steps

LAYER: Final = "data"
SPLIT, TIMES, ORDER = "split", "times", "order"
_MARKS: Final = "marks"
_FORMATS: Final[dict[str, dict[str, Any]]] = {
    "pct": {"id": "percent", "params": {"decimals": 1}},
    "bytes": {"id": "bytes", "params": {"decimals": 1}},
    "bytes/s": {"id": "bytes", "params": {"decimals": 1, "suffix": "/s"}},
    "count": {"id": "number", "params": {"decimals": 0, "compact": True}},
    "per_s": {"id": "number", "params": {"decimals": 1, "suffix": " /s"}},
    "load": {"id": "number", "params": {"decimals": 2}},
}
_OPERATIONS: Final = {
    Stat.AVG: "average",
    Stat.MAX: "max",
    Stat.MIN: "min",
    Stat.UNIQUE: "unique_count",
    Stat.COUNT: "count",
}

Json = dict[str, Any]


def column(i: int) -> str:
    """Id of the column of a metric."""
    return f"metric{i}"


def lens(board: Board, panel: Panel, data_view: str, *, apart: bool) -> tuple[Json, list[dict[str, str]]]:
    """``embeddableConfig.attributes`` of a dashboard's panel. ``apart``: the panel ignores filters of the dashboard."""
    references = [{"id": data_view, "name": f"indexpattern-datasource-layer-{LAYER}", "type": "index-pattern"}]
    marked = panel.view is View.LINES and bool(board.marks)
    if marked:
        references.append({"id": data_view, "name": f"xy-visualization-layer-{_MARKS}", "type": "index-pattern"})
    columns = dict(_columns(panel))
    layer = {"columns": columns, "columnOrder": list(columns), "incompleteColumns": {}, "sampling": 1}
    if apart:
        layer["ignoreGlobalFilters"] = True
    type_, visualization = _VIEWS[panel.view](panel)
    if marked:
        visualization["layers"].append(_marks(board))
    state = {
        "adHocDataViews": {},
        "datasourceStates": {"formBased": {"layers": {LAYER: layer}}},
        "filters": [],
        "internalReferences": [],
        "query": {"language": "kuery", "query": kql(tests(panel))},
        "visualization": visualization,
    }
    attributes = {
        "title": panel.title,
        "description": panel.help,
        "type": "lens",
        "visualizationType": type_,
        "references": references,
        "state": state,
    }
    return attributes, references


def _columns(panel: Panel) -> Iterator[tuple[str, Json]]:
    """Buckets before metrics, the outermost bucket first, as Lens orders them."""
    if panel.split:
        yield SPLIT, _terms(panel)
    if panel.view in (View.LINES, View.HEAT):
        yield TIMES, _histogram()
    for i, metric in enumerate(panel.metrics):
        yield from _metric(panel, column(i), metric)


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
        "orderDirection": "desc",
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
    name = {"host.name": "host", "cgroup.entity": "container"}.get(panel.split.field, panel.split.field)
    return _column(name, "terms", "string", "ordinal", bucketed=True, sourceField=panel.split.field, params=params)


def _histogram() -> Json:
    params = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
    return _column(TIME, "date_histogram", "date", "interval", bucketed=True, sourceField=TIME, params=params)


def _metric(panel: Panel, id_: str, metric: Metric) -> Iterator[tuple[str, Json]]:
    if metric.stat is not Stat.TOTAL and not metric.mirrored:
        yield id_, _plain(panel, metric, label(panel, metric))
        return
    yield from _formula(panel, id_, metric)


def _plain(panel: Panel, metric: Metric, label_: str) -> Json:
    if metric.stat is Stat.COUNT:
        return _column(label_, "count", "number", "ratio", sourceField="___records___", params={"emptyAsNull": False})
    date = metric.stat is not Stat.UNIQUE and find(panel.dataset, metric.field).type is Type.DATE
    params: Json = {"emptyAsNull": False} if metric.stat is Stat.UNIQUE else {}
    of = unit(panel, metric)
    if not date:
        params["format"] = _FORMATS.get(of, {"id": "number", "params": {"decimals": 2, "suffix": f" {of}".rstrip()}})
    made = _column(
        label_, _operation(metric), "date" if date else "number", "ratio", sourceField=metric.field, params=params
    )
    return made | ({"reducedTimeRange": RECENT} if metric.recent else {})


def _operation(metric: Metric) -> str:
    return _OPERATIONS.get(metric.stat, "average")


def _formula(panel: Panel, id_: str, metric: Metric) -> Iterator[tuple[str, Json]]:
    """A formula with the parts into which Lens splits it: 8.x does not split it again when it loads a dashboard."""
    parts = {f"{id_}X0": _plain(panel, metric, "")}
    formula = f"{_operation(metric)}({metric.field})"
    tree: Any = f"{id_}X0"
    if metric.stat is Stat.TOTAL:
        parts[f"{id_}X1"] = _plain(panel, Metric(Stat.UNIQUE, metric.per, unit="count"), "")
        formula, tree = f"{formula} * unique_count({metric.per})", _times(tree, f"{id_}X1")
    if metric.mirrored:
        formula, tree = f"{formula} * -1", _times(tree, -1)
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


def _times(left: Any, right: Any) -> Json:
    return {"type": "function", "name": "multiply", "args": [left, right]}


def _palette(steps: Steps | None) -> Json:
    if steps is None:
        return {}
    begins = [{"color": colour, "stop": begin} for begin, colour in bands(steps)]
    ends = sorted((steps.warning, steps.bad))
    stops = [
        {"color": colour, "stop": end} for (_, colour), end in zip(bands(steps), [*ends, max(1, *ends)], strict=True)
    ]
    params = {
        "name": "custom",
        "reverse": False,
        "rangeType": "number",
        "rangeMin": None,
        "rangeMax": None,
        "progression": "fixed",
        "continuity": "all",
        "steps": 3,
        "maxSteps": 5,
        "stops": stops,
        "colorStops": begins,
    }
    return {"palette": {"name": "custom", "type": "palette", "params": params}}


def _lines(panel: Panel) -> tuple[str, Json]:
    series = "area_stacked" if panel.stacked else "line"
    layer: Json = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": series,
        "xAccessor": TIMES,
        "accessors": [column(i) for i in range(len(panel.metrics))],
    }
    if panel.split:
        layer["splitAccessor"] = SPLIT
    everywhere = {"x": False, "yLeft": False, "yRight": False}
    below = any(metric.mirrored for metric in panel.metrics)
    return "lnsXY", {
        "preferredSeriesType": series,
        "layers": [layer],
        "legend": {"isVisible": True, "position": "bottom", "showSingleSeries": True, "legendSize": "medium"},
        "valueLabels": "hide",
        "fittingFunction": "Linear"
        if panel.minutely
        else "None",  # gaps stay visible, unless values come once a minute
        "axisTitlesVisibilitySettings": everywhere,
        "yLeftExtent": {"mode": "full"}
        if panel.top is None or below
        else {"mode": "custom", "lowerBound": 0, "upperBound": panel.top},
    }


def _stat(panel: Panel) -> tuple[str, Json]:
    first, *second = [column(i) for i in range(len(panel.metrics))]
    made: Json = {"layerId": LAYER, "layerType": "data", "metricAccessor": first, "showBar": False}
    if second:
        made["secondaryMetricAccessor"] = second[0]
    return "lnsMetric", made | _palette(steps(panel, panel.metrics[0]))


def _table(panel: Panel) -> tuple[str, Json]:
    cells = [
        {"columnId": column(i), "isTransposed": False, **_coloured(steps(panel, metric))}
        for i, metric in enumerate(panel.metrics)
    ]
    by = column(panel.metrics.index(sorted_by(panel)))
    return "lnsDatatable", {
        "layerId": LAYER,
        "layerType": "data",
        "columns": [{"columnId": SPLIT, "isTransposed": False}, *cells],
        "sorting": {"columnId": by, "direction": "desc"},
        "paging": {"size": 20, "enabled": True},
        "rowHeight": "single",
    }


def _coloured(steps: Steps | None) -> Json:
    """The colours of a table's column."""
    return {"colorMode": "text", **_palette(steps)} if steps else {}


def _heat(_panel: Panel) -> tuple[str, Json]:
    grid = {
        "type": "heatmap_grid",
        "isCellLabelVisible": False,
        "isYAxisLabelVisible": True,
        "isXAxisLabelVisible": True,
        "isYAxisTitleVisible": False,
        "isXAxisTitleVisible": False,
    }
    return "lnsHeatmap", {
        "layerId": LAYER,
        "layerType": "data",
        "shape": "heatmap",
        "xAccessor": TIMES,
        "yAccessor": SPLIT,
        "valueAccessor": column(0),
        "gridConfig": grid,
        "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
    }


def _marks(board: Board) -> Json:
    annotations = [
        {
            "id": mark.name.lower().replace(" ", "-"),
            "type": "query",
            "label": mark.name,
            "key": {"type": "point_in_time"},
            "timeField": TIME,
            "textField": mark.text,
            "textVisibility": True,
            "filter": {
                "type": "kibana_query",
                "language": "kuery",
                "query": kql(tests(Panel(mark.name, "", View.TEXT, mark.dataset, where=mark.where))),
            },
            "icon": "bolt",
            "color": MARKS,
            "isHidden": False,
            "extraFields": [],
        }
        for mark in board.marks
    ]
    return {
        "layerId": _MARKS,
        "layerType": "annotations",
        "annotations": annotations,
        "ignoreGlobalFilters": False,
        "persistanceType": "byValue",
    }


_VIEWS: Final[dict[View, Callable[[Panel], tuple[str, Json]]]] = {
    View.LINES: _lines,
    View.STAT: _stat,
    View.TABLE: _table,
    View.HEAT: _heat,
}
