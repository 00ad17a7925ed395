"""Tables of Grafana: the order, names, widths and colours of the columns, and rows that a transformation selects."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Set

from shipper.view.dashboards.colours import bands
from shipper.view.dashboards.grafana import query as grafana_query
from shipper.view.dashboards.grafana.links import page
from shipper.view.dashboards.grafana.unit_ids import unit_id
from shipper.view.dashboards.model import (
    ENTITY,
    PAGES,
    TIME,
    WIDTH,
    Board,
    Metric,
    Panel,
    Stat,
    key_label,
    label,
    most,
    sorted_by,
    steps,
    unit,
)
from shipper.view.thresholds import Steps

_AGE_WIDTH: Final = 160  # for "a few seconds ago"
_LEAST_WIDTH: Final = 70  # pixels; with Grafana's default of 150, a page has no room for all columns
_KEY_WIDTH: Final = 150  # at least; names get the room that the numbers leave
_NAME_WIDTH: Final = 240  # what bars leave to names that are longer
_LONG: Final = {ENTITY, "container.image.name"}
_WIDTHS: Final = {"date": 155, "count": _LEAST_WIDTH, "bytes": 80}
_NUMBER_WIDTH: Final = 96  # for "0.0983 CPU"
_BAR_WIDTHS: Final = 80, 140  # the text alone takes 70
_PAGE_WIDTH: Final = 1248  # of the panels on a page of 1280 pixels
_EDGES_WIDTH: Final = 28  # beside the columns
_LETTER_WIDTH: Final = 8  # of a heading
_MANY: Final = 4  # columns; fewer have bars that share the room with the names


def table(board: Board, panel: Panel) -> table_builder.Panel:
    """A table with a column per metric, and the split's values in the first column."""
    assert panel.split
    made = table_builder.Panel().filterable(filterable=True).cell_height(common.TableCellHeight.SM)
    made.min_width(_LEAST_WIDTH)
    key = key_label(panel)
    columns = {panel.split.field: key} | grafana_query.columns(panel)
    for step in _chosen(board, columns):
        made.with_transformation(step)
    columns = {shown if "$" in name else name: shown for name, shown in columns.items()}
    if any(metric.stat is Stat.AGE for metric in panel.metrics):
        made.with_transformation(_aged(columns, panel))
    if panel.silent:
        columns |= {"Count": ""}
        for step in only_silent(panel.split.field):
            made.with_transformation(step)
    made.with_transformation(_organised(columns))
    by = common_builders.TableSortByFieldState().display_name(label(panel, sorted_by(panel)))
    made.sort_by([by.desc(desc=not panel.split.rising)])
    made.override_by_name(key, list(_key_column(board, panel.split.field)))
    for metric in panel.metrics:
        made.override_by_name(label(panel, metric), list(_column(panel, metric)))
    return made


def _chosen(board: Board, columns: dict[str, str]) -> Iterator[dashboard.DataTransformerConfig]:
    """Headings of columns whose names have a field that a variable names: Grafana fills in no names of columns."""
    names = {f"${variable.name}": variable.names.strip("^$") for variable in board.variables}
    for name, shown in columns.items():
        if "$" in name:
            pattern = re.sub(r"\$\w+", lambda found: names[found[0]], name)
            options = {"regex": pattern, "renamePattern": shown}
            yield dashboard.DataTransformerConfig(id_val="renameByRegex", options=options)


def _organised(columns: dict[str, str]) -> dashboard.DataTransformerConfig:
    options = {
        "excludeByName": {name: True for name, shown in columns.items() if not shown},
        "indexByName": {name: i for i, name in enumerate(columns)},
        "renameByName": {name: shown for name, shown in columns.items() if shown},
    }
    return dashboard.DataTransformerConfig(id_val="organize", options=options)


def only_silent(field: str) -> Iterator[dashboard.DataTransformerConfig]:
    """Keeps the rows of the first target whose value of ``field`` the second target, of the last minutes, lacks."""
    yield dashboard.DataTransformerConfig(id_val="joinByField", options={"byField": field, "mode": "outer"})
    sends = {"fieldName": "Count", "config": {"id": "greaterOrEqual", "options": {"value": "1"}}}
    # If no host sends, there is no such column: "exclude" then keeps all rows, "include" would keep none
    options = {"type": "exclude", "match": "any", "filters": [sends]}
    yield dashboard.DataTransformerConfig(id_val="filterByValue", options=options)


def _aged(columns: dict[str, str], panel: Panel) -> dashboard.DataTransformerConfig:
    """A second column of the last documents' times, which is shown as the time since then."""
    (seen,) = [metric for metric in panel.metrics if replace(metric, label="") == most(TIME)]
    (of,) = [name for name, shown in columns.items() if shown == label(panel, seen)]
    options = {"mode": "unary", "unary": {"operator": "abs", "fieldName": of}, "alias": grafana_query.AGE}
    return dashboard.DataTransformerConfig(id_val="calculateField", options=options)


def _key_column(board: Board, field: str) -> Iterator[Set]:
    yield Set(id_val="unit", value="string")  # else the panel's unit formats the names: "NaN", a date, "10100%"
    yield Set(id_val="custom.minWidth", value=_KEY_WIDTH)
    if field in PAGES:
        yield Set(id_val="links", value=[page(board, field)])


def _column(panel: Panel, metric: Metric) -> Iterator[Set]:
    of, own = unit(panel, metric), steps(panel, metric)
    if metric.stat is Stat.AGE:
        yield Set(id_val="unit", value="dateTimeFromNow")
        yield Set(id_val="custom.width", value=_AGE_WIDTH)
        yield Set(id_val="custom.cellOptions", value={"type": "color-text"})
        yield _thresholds(None, bands(own)[-1][1])  # a time, which no threshold of a duration fits
        return
    yield Set(id_val="unit", value=unit_id(of, metric.field))
    if of == "pct":
        yield Set(id_val="custom.cellOptions", value={"type": "gauge", "mode": "basic"})
        yield Set(id_val="decimals", value=1)  # a bar has no room for 0.476%
        yield Set(id_val="min", value=0)
        yield Set(id_val="max", value=1)
        if len(panel.metrics) >= _MANY:
            yield Set(id_val="custom.width", value=max(_bar_width(panel), _heading_width(panel, metric)))
    else:
        if own:
            yield Set(id_val="custom.cellOptions", value={"type": "color-text"})
        yield Set(id_val="custom.width", value=_number_width(panel, metric))
    yield own_thresholds(own)


def _heading_width(panel: Panel, metric: Metric) -> int:
    return _LETTER_WIDTH * (len(label(panel, metric)) + 2)


def _number_width(panel: Panel, metric: Metric) -> int:
    return max(_WIDTHS.get(unit(panel, metric), _NUMBER_WIDTH), _heading_width(panel, metric))


def _bar_width(panel: Panel) -> int:
    """Bars share what numbers and names leave on a page of 1280 pixels; on a wider page names get more."""
    assert panel.split
    bars = [metric for metric in panel.metrics if unit(panel, metric) == "pct"]
    numbers = sum(_number_width(panel, metric) for metric in panel.metrics if metric not in bars)
    names = _NAME_WIDTH if panel.split.field in _LONG else _KEY_WIDTH
    room = panel.width * _PAGE_WIDTH // WIDTH - _EDGES_WIDTH - numbers - names
    least, most_ = _BAR_WIDTHS
    return max(least, min(most_, room // len(bars)))


def own_thresholds(steps: Steps | None) -> Set:
    """An override: the colours of one number or column."""
    return _thresholds(*[part for band in bands(steps) for part in band])


def _thresholds(*parts: Any) -> Set:
    """``parts``: begin and colour of each band in turn."""
    own = [{"color": colour, "value": begin} for begin, colour in zip(parts[::2], parts[1::2], strict=True)]
    return Set(id_val="thresholds", value={"mode": "absolute", "steps": own})
