"""Whether a board can be drawn, and all its numbers are meaningful."""

from dataclasses import replace
from typing import Final

from shipper.fields.field import NUMBERS, UNITS, Kind, Type
from shipper.view.dashboards.model import (
    MINUTELY_TOLD,
    MOST_SERIES,
    TIME,
    Board,
    BoardError,
    Metric,
    Panel,
    Stat,
    View,
    find,
    label,
    most,
    order,
    unit,
)

_MOST_NUMBERS: Final = 2
_AVERAGED: Final = frozenset({Stat.AVG, Stat.TOTAL})


def verify(board: Board) -> Board:
    """``board``, if it can be drawn and all its numbers are meaningful. Raises BoardError."""
    seen: set[str] = set()
    for panel in board.panels:
        where = f"{board.title}: {panel.title}"
        if panel.title in seen:
            raise BoardError(f"{where}: title used twice")
        seen.add(panel.title)
        try:
            _verify(panel)
        except BoardError as error:
            raise BoardError(f"{where}: {error}") from None
    return board


def _verify(panel: Panel) -> None:
    if panel.view is View.TEXT:
        return
    if not panel.metrics or not panel.help or not panel.title:
        raise BoardError("a panel needs a title, a description and a metric")
    if panel.view is View.STAT and len(panel.metrics) > _MOST_NUMBERS:
        raise BoardError("Kibana shows at most two numbers in one panel")
    if panel.minutely and MINUTELY_TOLD not in panel.help.lower():
        raise BoardError(f"its values are read {MINUTELY_TOLD}; the description must say so")
    for metric in panel.metrics:
        _verify_metric(panel, metric)
    _verify_silence(panel)
    for test in panel.where:
        find(panel.dataset, test.field)
    _verify_split(panel)
    units = {unit(panel, metric) for metric in panel.metrics}
    if panel.view is View.LINES and len(units) > 1:
        raise BoardError(f"{', '.join(sorted(units))} on one axis")
    labels = [label(panel, metric) for metric in panel.metrics]
    if len(set(labels)) < len(labels):
        raise BoardError("two metrics have the same name")


def _verify_silence(panel: Panel) -> None:
    if any(metric.where for metric in panel.metrics) and not panel.silent:
        raise BoardError("only a table of silent rows may have metrics with conditions")
    ages = [metric for metric in panel.metrics if metric.stat is Stat.AGE]
    if ages and (panel.view is not View.TABLE or most(TIME) not in [replace(one, label="") for one in panel.metrics]):
        raise BoardError("the time since the last document needs a table that also shows the time of that document")
    if panel.silent and not (ages and panel.within):
        raise BoardError("silent rows need the time since the last document, and a time range of their own")


def _verify_metric(panel: Panel, metric: Metric) -> None:
    if metric.recent and panel.view is not View.STAT:
        raise BoardError("only a stat may have recent metrics; set recent on the panel")
    if metric.stat is Stat.COUNT:
        return
    declared = find(panel.dataset, metric.field)
    if declared.kind is Kind.COUNTER and metric.stat in _AVERAGED:
        raise BoardError(f"{metric.field}: the {metric.stat} of a counter is meaningless; use {declared.rate}")
    if metric.stat in _AVERAGED and declared.type not in NUMBERS:
        raise BoardError(f"{metric.field}: cannot compute the {metric.stat} of a {declared.type}")
    if metric.unit and metric.unit not in UNITS:
        raise BoardError(f"{metric.unit}: no such unit")
    if metric.stat not in (Stat.UNIQUE, Stat.MISSING, Stat.AGE) and metric.unit not in ("", declared.unit):
        raise BoardError(f"{metric.field} is in {declared.unit}, not in {metric.unit}")


def _verify_split(panel: Panel) -> None:
    if panel.split is None:
        if panel.view in (View.TABLE, View.HEAT):
            raise BoardError(f"a {panel.view} needs a split")
        return
    declared = find(panel.dataset, panel.split.field)
    if declared.type is not Type.KEYWORD:
        raise BoardError(f"{panel.split.field}: cannot split by a {declared.type}")
    _verify_metric(panel, order(panel))
    if order(panel).stat is Stat.TOTAL:
        raise BoardError("Elasticsearch cannot sort by a total")
    if panel.view is View.STAT and (panel.split.size, order(panel)) != (1, panel.metrics[0]):
        raise BoardError("a number with a name is the highest one of a field's maximum or count")
    if panel.view is not View.TABLE and panel.split.size * len(panel.metrics) > MOST_SERIES:
        raise BoardError(f"more than {MOST_SERIES} series")
