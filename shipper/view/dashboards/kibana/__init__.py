"""Boards as Kibana dashboards (8.15 to 9.x): one NDJSON file each, with every panel a Lens by value and one data view.

The shapes are Lens's persisted state: x-pack/plugins/lens/public/datasources/form_based and …/visualizations of
elastic/kibana. Kibana stores some parts as JSON within JSON (``panelsJSON`` …).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from shipper.view.dashboards.kibana.lens import lens
from shipper.view.dashboards.layout import Place, places
from shipper.view.dashboards.model import HOST, PAGES, RECENT, Board, Panel, Split, Stat, Variable, View, count, has

DATA_VIEW: Final = "shipper-metrics"
PATTERN: Final = "metrics-shipper.*"
# The oldest formats that all of 8.15 to 9.x read; Kibana rejects a format that is newer than itself
_CORE, _DASHBOARD, _DATA_VIEW_VERSION, _PANEL = "8.8.0", "10.2.0", "8.0.0", "8.15.0"
_COLUMNS: Final = 2  # Kibana's grid has 48 columns, ours 24
_HOSTS_BESIDE: Final = 8
_BESIDE: Final = (
    " Kibana cannot select the container's host: the chart shows the hosts with the highest values, whatever is chosen."
)
_SENDING: Final = " Hosts that send follow the silent ones: they have documents in the last two minutes."


def render(board: Board) -> str:
    """The data view and the dashboard as NDJSON for Kibana's ``_import``."""
    lines = (_data_view(), _dashboard(board))
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)


def _data_view() -> dict[str, Any]:
    return {
        "id": DATA_VIEW,
        "type": "index-pattern",
        "attributes": {"name": "Shipper", "timeFieldName": "@timestamp", "title": PATTERN},
        "references": [],
        "coreMigrationVersion": _CORE,
        "typeMigrationVersion": _DATA_VIEW_VERSION,
    }


def _dashboard(board: Board) -> dict[str, Any]:
    panels = [_panel(board, panel, place) for panel, place in _placed(board)]
    references = [
        {**reference, "name": f"{panel['panelIndex']}:{reference['name']}"}
        for panel, references in panels
        for reference in references
    ]
    controls = {
        _id(board.uid, variable.name): _control(board, variable, i) for i, variable in enumerate(_controls(board))
    }
    for id_ in controls:
        name = f"controlGroup_{id_}:optionsListDataView"
        references.append({"id": DATA_VIEW, "name": name, "type": "index-pattern"})
    return {
        "id": board.uid,
        "type": "dashboard",
        "attributes": {
            "title": f"Shipper: {board.title}",
            "description": board.help,
            "timeRestore": True,
            "timeFrom": f"now-{board.last}",
            "timeTo": "now",
            "refreshInterval": {"pause": False, "value": 30_000},
            "version": 1,
            "panelsJSON": json.dumps([panel for panel, _ in panels], sort_keys=True),
            "optionsJSON": json.dumps(
                {"useMargins": True, "syncColors": True, "syncCursor": True, "syncTooltips": True}
            ),
            "kibanaSavedObjectMeta": {
                "searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})
            },
            "controlGroupInput": {
                "chainingSystem": "HIERARCHICAL",
                "controlStyle": "oneLine",
                "ignoreParentSettingsJSON": json.dumps({"ignoreFilters": False, "ignoreTimerange": False}),
                "panelsJSON": json.dumps(controls, sort_keys=True),
            },
        },
        "references": references,
        "coreMigrationVersion": _CORE,
        "typeMigrationVersion": _DASHBOARD,
    }


def _id(*parts: str) -> str:
    """An id in the form of a UUID that is the same in every rendering."""
    digest = sha256("/".join(parts).encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def _placed(board: Board) -> Iterator[tuple[Panel, Place]]:
    y = 0
    for row in board.rows:
        row_places, y_next = places(row, y)
        yield from zip(row.panels, row_places, strict=True)
        y = y_next


def _controls(board: Board) -> Iterator[Variable]:
    """The variables with a control: not the namespace, which the data view determines, and no hidden ones."""
    return (variable for variable in board.variables if variable.field != "_index" and not variable.hidden)


def _control(board: Board, variable: Variable, order: int) -> dict[str, Any]:
    id_ = _id(board.uid, variable.name)
    return {
        "type": "optionsListControl",
        "order": order,
        "grow": True,
        "width": "medium",
        "explicitInput": {
            "id": id_,
            "title": variable.label,
            "fieldName": variable.field,
            "searchTechnique": "wildcard",
            "singleSelect": not variable.multi,
            "selectedOptions": [],
            "sort": {"by": "_key", "direction": "asc"},
        },
    }


def shown(board: Board, panel: Panel) -> tuple[Panel, bool]:
    """The panel as Kibana can show it, and whether the panel ignores the controls.

    A control filters all panels. A panel whose documents lack the control's field would be empty; such a panel ignores
    the controls and shows the hosts beside each other. Kibana cannot leave out the rows of hosts that send: they come
    after the silent ones.
    """
    if panel.silent:
        metrics = [metric for metric in panel.metrics if metric.stat is not Stat.AGE]
        metrics.append(replace(count("documents now"), recent=True))
        panel = replace(panel, silent=False, metrics=tuple(metrics), help=panel.help + _SENDING)
    if all(has(panel.dataset, variable.field) for variable in _controls(board)):
        return panel, False
    split = Split(HOST, min(_HOSTS_BESIDE, 25 // len(panel.metrics)))
    return replace(panel, split=split, help=panel.help + _BESIDE), True


def _panel(board: Board, panel: Panel, place: Place) -> tuple[dict[str, Any], list[dict[str, str]]]:
    id_ = _id(board.uid, panel.title)
    panel, apart = shown(board, panel)
    attributes, references = lens(board, panel, DATA_VIEW, apart=apart)
    grid = {"x": place.x * _COLUMNS, "y": place.y, "w": place.w * _COLUMNS, "h": place.h, "i": id_}
    enhancements, links = _drilldown(panel, id_)
    config = {"attributes": attributes, "description": panel.help, "enhancements": enhancements}
    own = RECENT if panel.recent and not panel.trend else panel.within
    if own:
        config["timeRange"] = {"from": f"now-{own}", "to": "now"}
    made = {
        "type": "lens",
        "version": _PANEL,
        "panelIndex": id_,
        "gridData": grid,
        "title": panel.title,
        "embeddableConfig": config,
    }
    return made, [*references, *links]


def _drilldown(panel: Panel, id_: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A click on a host or container opens its dashboard with the same filters and time range."""
    if panel.view is not View.TABLE or panel.split is None or panel.split.field not in PAGES:
        return {}, []
    uid, variable = PAGES[panel.split.field]
    event = _id(id_, uid)
    action = {
        "factoryId": "DASHBOARD_TO_DASHBOARD_DRILLDOWN",
        "name": f"Show this {variable}",
        "config": {"openInNewTab": False, "useCurrentDateRange": True, "useCurrentFilters": True},
    }
    events = [{"eventId": event, "triggers": ["FILTER_TRIGGER"], "action": action}]
    name = f"drilldown:DASHBOARD_TO_DASHBOARD_DRILLDOWN:{event}:dashboardId"
    return {"dynamicActions": {"events": events}}, [{"id": uid, "name": name, "type": "dashboard"}]
