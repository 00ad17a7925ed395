"""Boards as classic Grafana dashboards (11, 12 and 13), through Grafana's own Python models."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders  # the classic format, for 11 to 13
from grafana_foundation_sdk.builders import stat as stat_builder
from grafana_foundation_sdk.builders import statushistory, timeseries
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.builders import text as text_builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Set

from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.clauses import all_value, lucene, panel_lucene
from shipper.view.dashboards.colours import COLOURS, MARKS, bands
from shipper.view.dashboards.grafana import query as grafana_query
from shipper.view.dashboards.grafana.unit_ids import UNITS
from shipper.view.dashboards.model import (
    PAGES,
    Board,
    Mark,
    Metric,
    Panel,
    Place,
    Row,
    Variable,
    View,
    find,
    has,
    key_label,
    label,
    places,
    sorted_by,
    steps,
    unit,
)
from shipper.view.thresholds import Steps

SCHEMA: Final = 39  # of Grafana 11.0; later versions migrate it on load
TAG: Final = "shipper"
_SOURCE: Final = common.DataSourceRef(type_val="elasticsearch", uid="${datasource}")
_EMPTY: Final = "–"
# Some values come once a minute, whatever the period; lines are joined across a gap up to this length
_JOINED_MS: Final = 90_000
_KEY_WIDTH: Final = 220  # pixels; Grafana gives each column 150
_MOST_POINTS: Final = 240  # few enough buckets for 25 series
_MOST_VALUES: Final = 2000  # in the list of a variable

_Builder = timeseries.Panel | stat_builder.Panel | table_builder.Panel | statushistory.Panel


def render(board: Board) -> str:
    """The dashboard as JSON that Grafana imports and provisions; indented, with sorted keys."""
    page = builders.Dashboard(board.title).uid(board.uid).description(board.help).tags([TAG]).timezone("browser")
    page.refresh("30s").time(f"now-{board.last}", "now").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    page.editable().variables(
        [_datasource(), *(_variable(board, variable) for variable in board.variables), _filters()]
    )
    page.annotations([_mark(board, mark) for mark in board.marks])
    for other in BOARDS:
        if other.uid != board.uid:
            page.link(_menu(board, other))
    made: dict[str, Any] = json.loads(json.dumps(page.build(), cls=JSONEncoder))
    made |= {"schemaVersion": SCHEMA, "panels": json.loads(json.dumps(list(_rows(board)), cls=JSONEncoder))}
    for mark, annotation in zip(board.marks, made["annotations"]["list"], strict=True):
        annotation["textField"] = mark.text  # Grafana's models lack fields of this data source
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _menu(board: Board, other: Board) -> builders.DashboardLink:
    """A link in the menu that keeps the choices which mean the same on ``other``.

    A link with all variables would hand "All" to a variable that takes a single value, which then matches nothing.
    """
    link = builders.DashboardLink(other.title).type(dashboard.DashboardLinkType.LINK).icon("dashboard")
    return link.url(f"/d/{other.uid}?{_carried(board, other)}").keep_time(keep_time=True)


def _carried(board: Board, other: Board) -> str:
    """The data source and the choices of ``board`` that ``other`` has in the same form, as parameters of an URL."""
    shared = [variable.name for variable in board.variables if variable in other.variables and not variable.hidden]
    return "&".join(f"${{{name}:queryparam}}" for name in ["datasource", *shared])


def _rows(board: Board) -> Iterator[dict[str, Any]]:
    ids, y = count(1), 0
    for row in board.rows:
        panels, y_next = _row(board, row, y + 1, ids)
        head = {"id": next(ids), "type": "row", "title": row.title, "collapsed": row.collapsed}
        head["gridPos"] = {"x": 0, "y": y, "w": 24, "h": 1}
        yield head | {"panels": panels if row.collapsed else []}
        if not row.collapsed:
            yield from panels
        y = y + 1 if row.collapsed else y_next


def _row(board: Board, row: Row, y: int, ids: Iterator[int]) -> tuple[list[dict[str, Any]], int]:
    row_places, end = places(row, y)
    return [_panel(board, panel, place, next(ids)) for panel, place in zip(row.panels, row_places, strict=True)], end


def _panel(board: Board, panel: Panel, place: Place, id_: int) -> dict[str, Any]:
    position = dashboard.GridPos(x=place.x, y=place.y, w=place.w, h=place.h)
    if panel.view is View.TEXT:
        note = text_builder.Panel().title(panel.title).content(panel.text).grid_pos(position)
        return _plain(note.build()) | {"id": id_}
    builder = _VIEWS[panel.view](board, panel)
    builder.title(panel.title).description(panel.help).datasource(_SOURCE).grid_pos(position)
    builder.unit(UNITS[panel.unit]).no_value(_EMPTY).thresholds(_thresholds(panel.steps))
    builder.max_data_points(_MOST_POINTS)
    for target in grafana_query.targets(board, panel):
        builder.with_target(target.datasource(_SOURCE))
    made = _plain(builder.build()) | {"id": id_}
    for metric in (metric for target in made["targets"] for metric in target["metrics"]):
        if metric["type"] == "bucket_script":
            metric["settings"]["script"] = grafana_query.SCRIPT  # Grafana's models know only the older form
    return made


def _plain(made: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(made, cls=JSONEncoder))
    return plain


def _thresholds(steps: Steps | None) -> builders.ThresholdsConfig:
    made = builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE)
    return made.steps([dashboard.Threshold(color=colour, value=begin) for begin, colour in bands(steps)])


def _own_thresholds(steps: Steps | None) -> Set:
    """An override: the colours of one number or column."""
    own = [{"color": colour, "value": begin} for begin, colour in bands(steps)]
    return Set(id_val="thresholds", value={"mode": "absolute", "steps": own})


def _lines(_board: Board, panel: Panel) -> timeseries.Panel:
    opacity = 30 if panel.stacked else 0 if panel.split else 8
    made = timeseries.Panel().line_width(1).fill_opacity(opacity).span_nulls(_JOINED_MS)
    made.show_points(common.VisibilityMode.NEVER)
    legend = common_builders.VizLegendOptions().show_legend(show_legend=True).placement(common.LegendPlacement.BOTTOM)
    made.legend(legend.display_mode(common.LegendDisplayMode.LIST).calcs([]))
    if panel.split:  # one entity has one colour in all panels
        made.color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    made.tooltip(tooltip.sort(common.SortOrder.DESCENDING))
    if not any(metric.mirrored for metric in panel.metrics):
        made.min(0)
    if panel.top is not None:
        made.axis_soft_max(panel.top)
    if panel.stacked:
        made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.steps:
        made.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    for i, metric in enumerate(panel.metrics):
        made.override_by_query(grafana_query.ref(i), list(_line(panel, i, mirrored=metric.mirrored)))
    return made


def _line(panel: Panel, i: int, *, mirrored: bool) -> Iterator[Set]:
    if panel.split is None:
        yield Set(id_val="color", value={"mode": "fixed", "fixedColor": COLOURS[i % len(COLOURS)]})
    if mirrored:
        yield Set(id_val="custom.transform", value="negative-Y")


def _stat(_board: Board, panel: Panel) -> stat_builder.Panel:
    made = stat_builder.Panel().graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    made.reduce_options(common_builders.ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields(""))  # noqa: FBT003
    made.text_mode(common.BigValueTextMode.VALUE_AND_NAME if len(panel.metrics) > 1 else common.BigValueTextMode.VALUE)
    for i, metric in enumerate(panel.metrics):
        look = [Set(id_val="displayName", value=label(panel, metric)), _own_thresholds(steps(panel, metric))]
        made.override_by_query(grafana_query.ref(i), look)
    return made


def _table(board: Board, panel: Panel) -> table_builder.Panel:
    assert panel.split
    made = table_builder.Panel().filterable(filterable=True).cell_height(common.TableCellHeight.SM)
    key = key_label(panel)
    columns = {panel.split.field: key} | grafana_query.columns(panel)
    hidden = {name: True for name, shown in columns.items() if not shown}
    made.with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": hidden,
                "indexByName": {name: i for i, name in enumerate(columns)},
                "renameByName": {name: shown for name, shown in columns.items() if shown},
            },
        )
    )
    made.sort_by([common_builders.TableSortByFieldState().display_name(label(panel, sorted_by(panel))).desc(desc=True)])
    made.override_by_name(key, list(_key_column(board, panel.split.field)))
    for metric in panel.metrics:
        made.override_by_name(label(panel, metric), list(_column(panel, metric)))
    return made


def _key_column(board: Board, field: str) -> Iterator[Set]:
    yield Set(id_val="unit", value="string")  # else the panel's unit formats the names: "NaN", a date, "10100%"
    yield Set(id_val="custom.width", value=_KEY_WIDTH)
    if field in PAGES:
        yield Set(id_val="links", value=[_page(board, field)])


def _column(panel: Panel, metric: Metric) -> Iterator[Set]:
    of, own = unit(panel, metric), steps(panel, metric)
    yield Set(id_val="unit", value=UNITS[of])
    if of == "pct":
        yield Set(id_val="custom.cellOptions", value={"type": "gauge", "mode": "basic"})
        yield Set(id_val="min", value=0)
        yield Set(id_val="max", value=1)
    elif own:
        yield Set(id_val="custom.cellOptions", value={"type": "color-text"})
    yield _own_thresholds(own)


def _page(board: Board, field: str) -> dict[str, Any]:
    """A link from a cell to the board of its value, which keeps the time range and the choices that it shares."""
    uid, variable = PAGES[field]
    target = next(other for other in BOARDS if other.uid == uid)
    choice = f"var-{variable}=${{__value.text:percentencode}}"
    url = f"/d/{uid}?{choice}&{_carried(board, target)}&${{__url_time_range}}"
    return {"title": "Show ${__value.text}", "url": url}


def _heat(_board: Board, panel: Panel) -> statushistory.Panel:
    made = statushistory.Panel().show_value(common.VisibilityMode.NEVER).row_height(0.9).fill_opacity(90).line_width(0)
    made.color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.CONTINUOUS_BL_YL_RD))
    made.min(0)
    if panel.top is not None:
        made.max(panel.top)
    legend = (
        common_builders.VizLegendOptions().show_legend(show_legend=False).display_mode(common.LegendDisplayMode.LIST)
    )
    return made.legend(legend.placement(common.LegendPlacement.BOTTOM).calcs([]))


_VIEWS: Final[dict[View, Callable[[Board, Panel], _Builder]]] = {
    View.LINES: _lines,
    View.STAT: _stat,
    View.TABLE: _table,
    View.HEAT: _heat,
}


def _datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").type("elasticsearch")


def _filters() -> builders.AdHocVariable:
    """Further conditions on documents, for all panels."""
    return builders.AdHocVariable("filters").label("Filters").datasource(_SOURCE)


def _variable(board: Board, variable: Variable) -> builders.QueryVariable:
    made = builders.QueryVariable(variable.name).label(variable.label).datasource(_SOURCE)
    made.query(json.dumps(choices(board, variable))).refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    if variable.field == "_index":
        made.regex(r"/^\.ds-metrics-shipper\.[^-]+-(.+)-\d{4}\.\d\d\.\d\d-\d+$/")
    if variable.multi or variable.field == "_index":
        made.multi(variable.multi).include_all(include_all=True).all_value(all_value(variable))
        made.current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    if variable.hidden:
        made.hide(dashboard.VariableHide.HIDE_VARIABLE)
    return made


def choices(board: Board, variable: Variable) -> dict[str, Any]:
    """The query for the values of ``variable``: filtered by all variables before it, or only by its ``within``."""
    before = board.variables[: board.variables.index(variable)]
    wanted = [earlier for earlier in before if earlier.name == variable.within] if variable.within else before
    narrowing = [earlier for earlier in wanted if has(variable.dataset, earlier.field)]
    query = lucene(Panel("", "", View.TEXT, variable.dataset, where=variable.where), narrowing)
    return {"find": "terms", "field": variable.field, "query": query, "size": _MOST_VALUES}


def _mark(board: Board, mark: Mark) -> builders.AnnotationQuery:
    find(mark.dataset, mark.text)
    panel = Panel(mark.name, "", View.TEXT, mark.dataset, where=mark.where)
    query = panel_lucene(board, panel)
    target = grafana_query.documents(query)
    return builders.AnnotationQuery().name(mark.name).datasource(_SOURCE).icon_color(MARKS).target(target)
