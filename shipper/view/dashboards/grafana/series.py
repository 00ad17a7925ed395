"""The lines of charts: one search has the numbers of a chart, and of the charts beside it that show the same documents.

The first of them asks. The others, which are in the same row of the board, take its result through the data source
``-- Dashboard --``, which has the first one ask even while that one is out of view.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import elasticsearch as es
from grafana_foundation_sdk.models import dashboard

from shipper.view.dashboards.clauses import panel_lucene
from shipper.view.dashboards.grafana import query as grafana_query
from shipper.view.dashboards.model import Board, Metric, Panel, Stat, View, label, order

SHARED: Final = {"type": "datasource", "uid": "-- Dashboard --"}
_FIRST_ID: Final = 10  # of aggregations; smaller ones are those of grafana_query

Charts = Sequence[Panel]  # of one search; the first asks


def together(board: Board, panels: Sequence[Panel]) -> dict[Panel, Charts]:
    """Each chart of a row → the charts that share its search, itself among them."""
    found: dict[Any, list[Panel]] = {}
    for panel in panels:
        if panel.view is View.LINES and not _chosen(panel):
            by = panel.split and (panel.split.field, panel.split.size, panel.split.rising, order(panel))
            found.setdefault((panel_lucene(board, panel), panel.within, by), []).append(panel)
    return {panel: charts for charts in found.values() for panel in charts}


def _chosen(panel: Panel) -> bool:
    """Whether a variable names a field; Grafana does not fill in variables everywhere in transformations."""
    return any(
        "$" in name for name in (panel.split.field if panel.split else "", *[one.field for one in panel.metrics])
    )


def taken(id_: int) -> dict[str, Any]:
    """The target that takes the result of panel ``id_``."""
    return {"refId": grafana_query.ref(0), "datasource": SHARED, "panelId": id_}


def target(board: Board, charts: Charts) -> es.Dataquery:
    """The search for all lines of ``charts``."""
    first, metrics = charts[0], _metrics(charts)
    asked = list(_asked(metrics))
    buckets: list[grafana_query.Bucket] = [grafana_query.histogram()]
    if first.split:
        by = order(first)
        asked += [] if by.stat is Stat.COUNT else [grafana_query.plain(by, grafana_query.ORDER).hide(hide=True)]
        buckets.insert(0, grafana_query.terms(first, "_count" if by.stat is Stat.COUNT else grafana_query.ORDER))
    made = grafana_query.target(panel_lucene(board, first), 0, asked, buckets)
    if len(metrics) == 1:
        return made.alias(grafana_query.alias(first, metrics[0]))
    return made.alias(f"{{{{{first.split.field}}}}} {{{{metric}}}} {{{{field}}}}") if first.split else made


def _metrics(charts: Charts) -> list[Metric]:
    """The metrics of all ``charts``, each once."""
    return list({_name(metric): metric for panel in charts for metric in panel.metrics}.values())


def _asked(metrics: Sequence[Metric]) -> Iterator[Any]:
    """Aggregations; the number of entities, a factor of totals, is asked once."""
    ids = iter(range(_FIRST_ID, _FIRST_ID + 4 * len(metrics)))
    numbers: dict[str, str] = {}
    for metric in metrics:
        if metric.stat is not Stat.TOTAL:
            yield grafana_query.plain(metric, str(next(ids)))
            continue
        if metric.per not in numbers:
            numbers[metric.per] = str(next(ids))
            yield grafana_query.unique(metric.per, numbers[metric.per]).hide(hide=True)
        each, there = str(next(ids)), str(next(ids))
        yield es.Average().id(each).field(metric.field).hide(hide=True)
        yield grafana_query.there(there, each).hide(hide=True)
        yield grafana_query.product(str(next(ids)), each, numbers[metric.per], there)


def named(panel: Panel, charts: Charts) -> Iterator[dashboard.DataTransformerConfig]:
    """Only the lines of ``panel``, called by their labels instead of the data source's names."""
    metrics = _metrics(charts)
    if len(metrics) == 1:
        return
    before = "(.+) " if panel.split else ""
    patterns = {_pattern(metric): label(panel, metric) for metric in panel.metrics}
    if len(patterns) < len(metrics):
        own = "|".join(f"{before}{pattern}" for pattern in patterns)
        options: dict[str, Any] = {"include": {"pattern": f"/^(Time|{own})$/"}}
        yield dashboard.DataTransformerConfig(id_val="filterFieldsByName", options=options)
    for pattern, shown in patterns.items():
        after = shown if not panel.split else "$1" if len(patterns) == 1 else f"$1 {shown}"
        options = {"regex": f"{before}{pattern}", "renamePattern": after}
        yield dashboard.DataTransformerConfig(id_val="renameByRegex", options=options)


def _pattern(metric: Metric) -> str:
    return re.sub(r"([.*?])", r"\\\1", _name(metric))


def _name(metric: Metric) -> str:
    """What the data source calls the line."""
    if metric.stat is Stat.TOTAL:
        names = {
            "each": _name(Metric(Stat.AVG, metric.field)),
            "number": _name(Metric(Stat.UNIQUE, metric.per)),
            "there": "Bucket Script ",
        }
        return re.sub(r"params\.(\w+)", lambda found: names[found[1]], grafana_query.PRODUCT)
    return f"{grafana_query.TITLES[metric.stat]} {metric.field}".rstrip()
