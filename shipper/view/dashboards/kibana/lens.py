"""One panel as the state of a Lens visualisation, with its references."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from shipper.view.dashboards.clauses import kql
from shipper.view.dashboards.colours import BAD, MARKS, WARNING, bands
from shipper.view.dashboards.kibana.columns import SPLIT, TIMES, Json, column, columns, limits
from shipper.view.dashboards.model import TIME, Board, Panel, View, sorted_by, steps, tests
from shipper.view.thresholds import Steps

LAYER: Final = "data"
_MARKS, _OVER, _TREND, _LIMITS = "marks", "over", "trend", "limits"


def lens(board: Board, panel: Panel, data_view: str, *, apart: bool) -> tuple[Json, list[dict[str, str]]]:
    """``embeddableConfig.attributes`` of a dashboard's panel. ``apart``: the panel ignores filters of the dashboard."""
    layers = dict(_layers(panel))
    type_, visualization = _VIEWS[panel.view](panel)
    references = [_reference(data_view, f"indexpattern-datasource-layer-{id_}") for id_ in layers]
    if panel.view is View.LINES and board.marks:
        references.append(_reference(data_view, f"xy-visualization-layer-{_MARKS}"))
        visualization["layers"].append(_marks(board))
    if apart:
        for layer in layers.values():
            layer["ignoreGlobalFilters"] = True
    state = {
        "adHocDataViews": {},
        "datasourceStates": {"formBased": {"layers": layers}},
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


def _reference(data_view: str, name: str) -> dict[str, str]:
    return {"id": data_view, "name": name, "type": "index-pattern"}


def _layers(panel: Panel) -> Iterator[tuple[str, Json]]:
    """A layer for what is drawn, and one each for lines over a stack, the line behind a number, and thresholds."""
    every = range(len(panel.metrics))
    if panel.trend:
        (metric,) = panel.metrics
        number = replace(panel, metrics=(replace(metric, recent=True),))
        yield LAYER, _layer(columns(number, every))
        course = replace(panel, view=View.LINES, trend=False)
        yield _TREND, _layer(columns(course, every, name=_course), linkToLayers=[LAYER])
        return
    yield LAYER, _layer(columns(panel, (i for i in every if not panel.metrics[i].over)))
    if any(metric.over for metric in panel.metrics):
        yield _OVER, _layer(columns(panel, (i for i in every if panel.metrics[i].over)))
    if panel.view is View.LINES and panel.steps:
        yield _LIMITS, _layer(limits((panel.steps.warning, panel.steps.bad)))


def _layer(made: Iterable[tuple[str, Json]], **more: Any) -> Json:
    found = dict(made)
    return {"columns": found, "columnOrder": list(found), "incompleteColumns": {}, "sampling": 1, **more}


def _course(i: int) -> str:
    return f"course{i}"


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
    stacked = [i for i, metric in enumerate(panel.metrics) if not metric.over]
    over = [i for i, metric in enumerate(panel.metrics) if metric.over]
    layers = [_drawn(LAYER, series, stacked)]
    if panel.split:
        layers[0]["splitAccessor"] = SPLIT
    if over:
        layers.append(_drawn(_OVER, "line", over))
    if panel.steps:
        layers.append(_thresholds(panel.steps))
    everywhere = {"x": False, "yLeft": False, "yRight": False}
    below = any(metric.mirrored for metric in panel.metrics)
    return "lnsXY", {
        "preferredSeriesType": series,
        "layers": layers,
        "legend": {
            "isVisible": True,
            "position": "right" if panel.split else "bottom",
            "showSingleSeries": True,
            "legendSize": "medium",
            "shouldTruncate": True,
        },
        "valueLabels": "hide",
        # Gaps stay visible, unless values come once a minute
        "fittingFunction": "Linear" if panel.minutely else "None",
        "axisTitlesVisibilitySettings": everywhere,
        "yLeftExtent": {"mode": "full"}
        if panel.top is None or below
        else {"mode": "custom", "lowerBound": 0, "upperBound": panel.top},
    }


def _drawn(id_: str, series: str, metrics: Iterable[int]) -> Json:
    accessors = [column(i) for i in metrics]
    return {"layerId": id_, "layerType": "data", "seriesType": series, "xAccessor": TIMES, "accessors": accessors}


def _thresholds(steps: Steps) -> Json:
    """Dashed lines at the values from which on a number is a warning or bad."""
    ids = [id_ for id_, _ in limits((steps.warning, steps.bad))]
    looks = [
        {"forAccessor": id_, "axisMode": "left", "color": colour, "lineStyle": "dashed", "lineWidth": 1}
        for id_, colour in zip(ids, (WARNING, BAD), strict=True)
    ]
    return {"layerId": _LIMITS, "layerType": "referenceLine", "accessors": ids, "yConfig": looks}


def _stat(panel: Panel) -> tuple[str, Json]:
    first, *second = [column(i) for i in range(len(panel.metrics))]
    made: Json = {"layerId": LAYER, "layerType": "data", "metricAccessor": first, "showBar": False}
    if second:
        made["secondaryMetricAccessor"] = second[0]
    if panel.split:
        made |= {"breakdownByAccessor": SPLIT, "maxCols": 1}
    if panel.trend:
        made |= {
            "trendlineLayerId": _TREND,
            "trendlineLayerType": "metricTrendline",
            "trendlineTimeAccessor": TIMES,
            "trendlineMetricAccessor": _course(0),
        }
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
        "sorting": {"columnId": by, "direction": "asc" if panel.split and panel.split.rising else "desc"},
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
