"""A panel's search request and its response as numbers, for the report. Pure: nothing is sent from here.

An Answer holds what every drawing of the panel must show; the tests compare Grafana's and Kibana's answers with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import (
    MOST_SERIES,
    PERIODS,
    RECENT,
    RECENT_MS,
    TIME,
    Metric,
    Panel,
    Stat,
    View,
    label,
    order,
    tests,
)

# Widths of a time bucket in seconds: those to which Grafana rounds
_WIDTHS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_ORDER: Final = "order"
_TIMES: Final = "times"
_SPLIT: Final = "split"
_NONE: Final[Mapping[str, Any]] = {"buckets": ()}  # if there is no index yet
_PRECISION: Final = 10_000


@dataclass(frozen=True, slots=True)
class Span:
    """A time range in ms since 1970, including both ends, and the width of a time bucket."""

    first_ms: int
    last_ms: int
    bucket_ms: int

    @property
    def buckets(self) -> range:
        """Start times of all buckets that overlap the range."""
        return range(self.first_ms // self.bucket_ms * self.bucket_ms, self.last_ms + 1, self.bucket_ms)


def span(first_ms: int, last_ms: int, points: int = 240, least_s: int = 10) -> Span:
    """A span of about ``points`` buckets, none narrower than ``least_s``, the agents' period."""
    wanted = max((last_ms - first_ms) / points / 1000, least_s)
    width = next((width for width in _WIDTHS if width >= wanted), _WIDTHS[-1])
    return Span(first_ms, last_ms, width * 1000)


@dataclass(slots=True)
class Answer:
    """Numbers of a panel; None where no document has a value.

    ``numbers``: of a stat, by label. ``series``: of lines and heat, by name, one value for each of ``times`` (ms).
    ``rows``: of a table or of a stat with a split, by key in the order of the answer, one value for each metric.
    """

    numbers: dict[str, float | None] = field(default_factory=dict)
    times: list[int] = field(default_factory=list)
    series: dict[str, list[float | None]] = field(default_factory=dict)
    rows: dict[str, list[float | None]] = field(default_factory=dict)

    @property
    def shown(self) -> list[float | None]:
        """The numbers of a stat, with or without names."""
        return [*self.numbers.values(), *(value for row in self.rows.values() for value in row)]

    @property
    def empty(self) -> bool:
        """Whether there is no value at all."""
        values = [
            *self.numbers.values(),
            *(value for row in (*self.series.values(), *self.rows.values()) for value in row),
        ]
        return not any(value is not None for value in values)


def name(panel: Panel, metric: Metric, key: str | None = None) -> str:
    """Name of a line: the split's value ``key``, followed by the metric's label if the panel has several metrics."""
    if key is None:
        return label(panel, metric)
    return f"{key} {label(panel, metric)}" if len(panel.metrics) > 1 else key


def body(panel: Panel, when: Span, chosen: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The search request. ``chosen``: further clauses for ``bool.filter``."""
    own = RECENT if panel.recent else panel.within
    first = f"{when.last_ms}||-{own}" if own else when.first_ms
    within = {"range": {TIME: {"gte": first, "lte": when.last_ms, "format": "epoch_millis"}}}
    filters = [within, *dsl(tests(panel)), *chosen]
    return {"size": 0, "track_total_hits": False, "query": {"bool": {"filter": filters}}, "aggs": _aggs(panel, when)}


def course(panel: Panel) -> Panel:
    """The values of the whole range that are drawn behind the number of ``panel``."""
    return replace(panel, view=View.LINES, recent=False, trend=False)


def _aggs(panel: Panel, when: Span) -> dict[str, Any]:
    metrics = {
        str(i): _each(panel, metric) if metric.stat is Stat.TOTAL else _metric(metric, when)
        for i, metric in enumerate(panel.metrics)
        if metric.stat is not Stat.COUNT
    }
    parts = {f"{i}n": _number(metric) for i, metric in enumerate(panel.metrics) if metric.stat is Stat.TOTAL}
    parts |= {
        f"{i}n": _metric(replace(metric, stat=Stat.UNIQUE, recent=True), when)
        for i, metric in enumerate(panel.metrics)
        if metric.stat is Stat.MISSING
    }
    inner = metrics | parts
    if panel.view in (View.LINES, View.HEAT):
        inner = {_TIMES: {"date_histogram": _histogram(when), "aggs": inner}}
    if panel.split is None:
        return inner
    by = order(panel)
    terms: dict[str, Any] = {"field": panel.split.field, "size": panel.split.size}
    way = "asc" if panel.split.rising else "desc"
    if by.stat is Stat.COUNT:
        return {_SPLIT: {"terms": terms | {"order": {"_count": way}}, "aggs": inner}}
    return {_SPLIT: {"terms": terms | {"order": {_ORDER: way}}, "aggs": inner | {_ORDER: _metric(by, when)}}}


def _histogram(when: Span) -> dict[str, Any]:
    bounds = {"min": when.first_ms, "max": when.last_ms}
    return {"field": TIME, "fixed_interval": f"{when.bucket_ms}ms", "min_doc_count": 0, "extended_bounds": bounds}


def _metric(metric: Metric, when: Span) -> dict[str, Any]:
    """The aggregation of a metric; not for COUNT, because every bucket has ``doc_count``, and not for TOTAL."""
    match metric.stat:
        case Stat.UNIQUE | Stat.MISSING:
            made: dict[str, Any] = {"cardinality": {"field": metric.field, "precision_threshold": _PRECISION}}
        case Stat.AGE:
            made = {"max": {"field": TIME}}
        case Stat.AVG:
            made = {"avg": {"field": metric.field}}
        case _:
            made = {str(metric.stat): {"field": metric.field}}
    if metric.where:
        return {"filter": {"bool": {"filter": dsl(metric.where)}}, "aggs": {"end": made}}
    if metric.recent:
        end = {"range": {TIME: {"gte": f"{when.last_ms}||-{RECENT}", "format": "epoch_millis"}}}
        made = {"filter": end, "aggs": {"end": made}}
    return made


def _each(panel: Panel, metric: Metric) -> dict[str, Any]:
    """The mean of an entity: a document counts for its period, so that hosts with a short one do not count for more."""
    weight = {"field": PERIODS[panel.dataset]}
    return {"weighted_avg": {"value": {"field": metric.field}, "weight": weight}}


def _number(metric: Metric) -> dict[str, Any]:
    return {"cardinality": {"field": metric.per, "precision_threshold": _PRECISION}}


def read(panel: Panel, when: Span, answer: Mapping[str, Any]) -> Answer:
    """The numbers in the server's ``answer`` to ``body(panel, when)``."""
    aggs: Mapping[str, Any] = answer.get("aggregations", {})
    if panel.view is View.TABLE or (panel.view is View.STAT and panel.split):
        rows = {bucket["key"]: _values(panel, bucket, when) for bucket in aggs.get(_SPLIT, _NONE)["buckets"]}
        return Answer(rows=silent(panel, rows) if panel.silent else rows)
    if panel.view is View.STAT:
        labels = [label(panel, metric) for metric in panel.metrics]
        return Answer(numbers=dict(zip(labels, _values(panel, aggs, when), strict=True)))
    answered = Answer(times=list(when.buckets))
    splits = (
        [(bucket["key"], bucket) for bucket in aggs.get(_SPLIT, _NONE)["buckets"]] if panel.split else [(None, aggs)]
    )
    for key, bucket in splits:
        values = {
            int(time_bucket["key"]): _values(panel, time_bucket, when)
            for time_bucket in bucket.get(_TIMES, _NONE)["buckets"]
        }
        none = [None] * len(panel.metrics)
        for i, metric in enumerate(panel.metrics):
            answered.series[name(panel, metric, key)] = [values.get(time, none)[i] for time in answered.times]
    assert len(answered.series) <= MOST_SERIES
    return answered


def silent(panel: Panel, rows: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    """The rows whose last document is older than RECENT."""
    at = next(i for i, metric in enumerate(panel.metrics) if metric.stat is Stat.AGE)
    return {key: row for key, row in rows.items() if (row[at] or 0) > RECENT_MS}


def _values(panel: Panel, bucket: Mapping[str, Any], when: Span) -> list[float | None]:
    return [_value(bucket, i, metric, when) for i, metric in enumerate(panel.metrics)]


def _value(bucket: Mapping[str, Any], i: int, metric: Metric, when: Span) -> float | None:
    if metric.stat is Stat.COUNT:
        return float(bucket["doc_count"])
    value = _end(bucket.get(str(i), {}))
    if value is None:
        return None
    other = _end(bucket.get(f"{i}n", {})) or 0
    match metric.stat:
        case Stat.TOTAL:
            return value * other
        case Stat.MISSING:
            return value - other
        case Stat.AGE:
            return when.last_ms - value
    return value


def _end(aggregation: Mapping[str, Any]) -> float | None:
    value = aggregation.get("end", aggregation).get("value")
    return None if value is None else float(value)
