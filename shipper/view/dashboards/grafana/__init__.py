"""Boards as classic Grafana dashboards (11, 12 and 13), through Grafana's own Python models."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders  # the classic format, for 11 to 13
from grafana_foundation_sdk.builders import text as text_builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from shipper.fields.aliases import PERIOD
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.clauses import all_value, lucene, panel_lucene
from shipper.view.dashboards.colours import MARKS, bands
from shipper.view.dashboards.grafana import query as grafana_query
from shipper.view.dashboards.grafana import series
from shipper.view.dashboards.grafana.links import carried
from shipper.view.dashboards.grafana.panels import VIEWS
from shipper.view.dashboards.grafana.unit_ids import unit_id
from shipper.view.dashboards.layout import Place, places
from shipper.view.dashboards.model import Board, Mark, Panel, Row, Variable, View, exists, find, has
from shipper.view.thresholds import Steps

SCHEMA: Final = 39  # of Grafana 11.0; later versions migrate it on load
TAG: Final = "shipper"
_SOURCE: Final = common.DataSourceRef(type_val="elasticsearch", uid="${datasource}")
_EMPTY: Final = "–"
_PERIOD: Final = "period"
_TREND_POINTS: Final = 60  # behind a number
# The longest period of the documents, which a variable holds; without documents it is empty, hence the 0. Those
# versions of 11 that do not support variables here read 10s
_LEAST_INTERVAL: Final = "0${period}ms 10s"
_MOST_POINTS: Final = 240  # few enough buckets for 25 series
_MOST_VALUES: Final = 2000  # in the list of a variable


def render(board: Board) -> str:
    """The dashboard as JSON that Grafana imports and provisions; indented, with sorted keys."""
    page = builders.Dashboard(board.title).uid(board.uid).description(board.help).tags([TAG]).timezone("browser")
    page.refresh("30s").time(f"now-{board.last}", "now").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    page.editable().variables(
        [_datasource(), *(_variable(board, variable) for variable in board.variables), _period(board), _filters()]
    )
    page.annotations([_mark(board, mark) for mark in board.marks])
    for other in BOARDS:
        if other.uid != board.uid:
            page.link(_menu(board, other))
    made: dict[str, Any] = json.loads(json.dumps(page.build(), cls=JSONEncoder))
    for variable in made["templating"]["list"]:
        if variable["name"] == _PERIOD:
            variable["skipUrlSync"] = True  # a link must not bring the period of other hosts
    made |= {"schemaVersion": SCHEMA, "panels": json.loads(json.dumps(list(_rows(board)), cls=JSONEncoder))}
    for mark, annotation in zip(board.marks, made["annotations"]["list"], strict=True):
        annotation["textField"] = mark.text  # Grafana's models lack fields of this data source
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _menu(board: Board, other: Board) -> builders.DashboardLink:
    """A link in the menu that keeps the choices which mean the same on ``other``.

    A link with all variables would hand "All" to a variable that takes a single value, which then matches nothing.
    """
    link = builders.DashboardLink(other.title).type(dashboard.DashboardLinkType.LINK).icon("dashboard")
    return link.url(f"/d/{other.uid}?{carried(board, other)}").keep_time(keep_time=True)


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
    charts = series.together(board, row.panels)
    made, known = [], dict[Panel, int]()
    for panel, place in zip(row.panels, row_places, strict=True):
        known[panel] = next(ids)
        plain = _panel(board, panel, place, charts.get(panel, (panel,))) | {"id": known[panel]}
        if panel in charts and panel is not charts[panel][0]:
            plain |= {"datasource": series.SHARED, "targets": [series.taken(known[charts[panel][0]])]}
        made.append(plain)
    return made, end


def _panel(board: Board, panel: Panel, place: Place, charts: series.Charts) -> dict[str, Any]:
    position = dashboard.GridPos(x=place.x, y=place.y, w=place.w, h=place.h)
    if panel.view is View.TEXT:
        return _plain(text_builder.Panel().title(panel.title).content(panel.text).grid_pos(position).build())
    builder = VIEWS[panel.view](board, panel)
    builder.title(panel.title).description(panel.help).datasource(_SOURCE).grid_pos(position)
    nothing = "0" if panel.view is View.STAT and panel.counts else _EMPTY
    builder.unit(unit_id(panel.unit, panel.metrics[0].field)).no_value(nothing).thresholds(_thresholds(panel.steps))
    builder.max_data_points(_TREND_POINTS if panel.trend else _MOST_POINTS).interval(_LEAST_INTERVAL)
    if panel.within:
        builder.time_from(panel.within)
    if panel.view in (View.LINES, View.HEAT):
        for step in series.named(panel, charts):
            builder.with_transformation(step)
        builder.with_target(series.target(board, charts).datasource(_SOURCE))
    else:
        for target in grafana_query.targets(board, panel):
            builder.with_target(target.datasource(_SOURCE))
    made = _plain(builder.build())
    for metric in (metric for target in made["targets"] for metric in target["metrics"]):
        if metric["type"] == "bucket_script":
            metric["settings"] = grafana_query.settings(metric["settings"]["script"]["inline"])
    return made


def _plain(made: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(made, cls=JSONEncoder))
    return plain


def _thresholds(steps: Steps | None) -> builders.ThresholdsConfig:
    made = builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE)
    return made.steps([dashboard.Threshold(color=colour, value=begin) for begin, colour in bands(steps)])


def _datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").type("elasticsearch")


def _filters() -> builders.AdHocVariable:
    """Further conditions on documents, for all panels."""
    return builders.AdHocVariable("filters").label("Filters").datasource(_SOURCE)


def _variable(board: Board, variable: Variable) -> builders.QueryVariable:
    made = builders.QueryVariable(variable.name).label(variable.label).datasource(_SOURCE)
    made.query(json.dumps(choices(board, variable))).refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    if not variable.busiest:
        made.sort(dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    if variable.field == "_index":
        made.regex(r"/^\.ds-metrics-shipper\.[^-]+-(.+)-\d{4}\.\d\d\.\d\d-\d+$/")
    if variable.names:
        made.regex(f"/{variable.names}/")
    if variable.multi or variable.field == "_index":
        made.multi(variable.multi).include_all(include_all=True).all_value(all_value(variable))
        made.current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    if variable.hidden:
        made.hide(dashboard.VariableHide.HIDE_VARIABLE)
    return made


def _period(board: Board) -> builders.QueryVariable:
    """The longest period of the hosts' documents in ms: in narrower buckets, lines would have gaps and spikes."""
    narrowing = [variable for variable in board.variables if has("host", variable.field)]
    wanted = {"find": "terms", "field": PERIOD.name, "query": lucene(Panel("", "", View.TEXT, "host"), narrowing)}
    made = builders.QueryVariable(_PERIOD).datasource(_SOURCE).hide(dashboard.VariableHide.HIDE_VARIABLE)
    made.query(json.dumps({**wanted, "size": 1, "orderBy": "key", "order": "desc"}))
    return made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)


def choices(board: Board, variable: Variable) -> dict[str, Any]:
    """The query for the values of ``variable``: filtered by all variables before it, or only by its ``within``."""
    if variable.names:
        return {"find": "fields", "type": "number" if variable.name == "metric" else "keyword"}
    before = board.variables[: board.variables.index(variable)]
    wanted = [earlier for earlier in before if earlier.name == variable.within] if variable.within else before
    narrowing = [earlier for earlier in wanted if has(variable.dataset, earlier.field)]
    query = lucene(Panel("", "", View.TEXT, variable.dataset, where=variable.where), narrowing)
    terms = {"find": "terms", "field": variable.field, "query": query, "size": _MOST_VALUES}
    if not variable.busiest:
        return terms
    # This data source sorts values by name or by number of documents. Each process among the busiest of its host has a
    # document a minute
    busy = lucene(Panel("", "", View.TEXT, "process", where=(exists("container.id"),)), narrowing)
    return {**terms, "query": f"({query}) OR ({busy})", "orderBy": "doc_count"}


def _mark(board: Board, mark: Mark) -> builders.AnnotationQuery:
    find(mark.dataset, mark.text)
    panel = Panel(mark.name, "", View.TEXT, mark.dataset, where=mark.where)
    query = panel_lucene(board, panel)
    target = grafana_query.documents(query)
    return builders.AnnotationQuery().name(mark.name).datasource(_SOURCE).icon_color(MARKS).target(target)
