"""A number or a table as targets of Grafana's Elasticsearch data source: one target per number, or per table.

The data source's response_parser.go shows how it reads them: ids are digits, unique within a target; the names of
table columns follow from the metrics' types.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.builders import elasticsearch as es
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import elasticsearch as models

from shipper.view.dashboards.clauses import lucene_of, panel_lucene
from shipper.view.dashboards.model import RECENT, TIME, Board, Metric, Panel, Stat, View, label, order

# Ids of aggregations; terms refer to the metric by which they are sorted
_METRIC, ORDER, _TERMS, _HISTOGRAM = "1", "2", "3", "4"
_EVER: Final = "36500d"  # one bucket holds everything, and exists even if it is empty
_MOST_HOSTS: Final = 5000
VALUE: Final = "Value"  # name of the field with a line's values
AGE: Final = "age"  # name of a column that a transformation adds
PRODUCT: Final = "params.there == null ? Double.NaN : params.each * params.number"
_THERE: Final = "1"
_PRECISION: Final = "10000"  # up to so many distinct values the count is nearly exact
TITLES: Final = {
    Stat.AVG: "Average",
    Stat.MAX: "Max",
    Stat.MIN: "Min",
    Stat.COUNT: "Count",
    Stat.UNIQUE: "Unique Count",
}

_Metric = Builder[models.MetricAggregation]
Bucket = Builder[models.BucketAggregation]


def ref(i: int) -> str:
    """Id of target number ``i``: a letter."""
    return chr(ord("A") + i)


def targets(board: Board, panel: Panel) -> Iterator[es.Dataquery]:
    """The targets of a number or a table, in the order of its metrics."""
    query = panel_lucene(board, panel)
    if panel.recent:
        query = _end(query)
    if panel.view is View.TABLE or (panel.view is View.STAT and panel.split):
        yield target(query, 0, _row_metrics(panel), [terms(panel, _row_order(panel))])
        if panel.silent:
            assert panel.split
            yield _sending(query, panel.split.field)
            for i, metric in enumerate(metric for metric in panel.metrics if metric.where):
                # The second metric gives the first one a name of its own, beside the other target's
                narrowed = f"{query} AND {lucene_of(metric.where)}"
                both: list[_Metric] = [plain(metric, _METRIC), es.Max().id(ORDER).field(metric.where[0].field)]
                yield target(narrowed, 2 + i, both, [_by(panel.split.field, _MOST_HOSTS, _METRIC)])
        return
    if panel.view is View.STAT and panel.metrics[0].stat is Stat.MISSING:
        of = panel.metrics[0].field
        yield target(query, 0, [es.Max().id(_METRIC).field(TIME)], [_by(of, _MOST_HOSTS, _METRIC)])
        yield _sending(query, of)
        return
    for i, metric in enumerate(panel.metrics):
        narrowed = _end(query) if metric.recent else query
        yield target(narrowed, i, [plain(metric, _METRIC)], [histogram(_EVER)]).alias(alias(panel, metric))
        if panel.trend:
            course = target(panel_lucene(board, panel), i + 1, [plain(metric, _METRIC)], [histogram()])
            yield course.alias(alias(panel, metric))


def _sending(query: str, field: str) -> es.Dataquery:
    """The values of ``field`` in documents of the last RECENT."""
    return target(_end(query), 1, [es.Count().id(_METRIC)], [_by(field, _MOST_HOSTS, "_count")])


def _end(query: str) -> str:
    """``query``, restricted to the last RECENT of the time range."""
    return f'{query} AND {TIME}:["${{__to}}||-{RECENT}" TO *]'


def documents(query: str) -> es.Dataquery:
    """The query of an annotation."""
    return es.Dataquery().ref_id("Anno").query(query).time_field(TIME)


def alias(panel: Panel, metric: Metric) -> str:
    """Name of a target's lines; Grafana fills in the split's value."""
    if panel.split is None:
        return label(panel, metric)
    key = f"{{{{{panel.split.field}}}}}"
    return f"{key} {label(panel, metric)}" if len(panel.metrics) > 1 else key


def columns(panel: Panel) -> dict[str, str]:
    """Column name that the data source gives each metric → our heading; empty for a column that only sorts."""
    metrics = [*panel.metrics, *([order(panel)] if _only_sorts(panel) else [])]
    types = Counter(metric.stat for metric in metrics if not metric.where)
    found = {}
    for metric in metrics:
        name = f"{TITLES[metric.stat]} {metric.field}" if types[metric.stat] > 1 or metric.where else _title(metric)
        found[name] = label(panel, metric) if metric in panel.metrics else ""
        found |= {f"{_title(metric)} {test.field}": "" for test in metric.where[:1]}
    return found


def _title(metric: Metric) -> str:
    return AGE if metric.stat is Stat.AGE else TITLES[metric.stat]


def _only_sorts(panel: Panel) -> bool:
    """Whether a table is sorted by a metric that it does not show."""
    by = order(panel)
    return by.stat is not Stat.COUNT and not any(_same(by, metric) for metric in panel.metrics)


def _same(left: Metric, right: Metric) -> bool:
    return (left.stat, left.field) == (right.stat, right.field)


def target(query: str, i: int, metrics: list[_Metric], buckets: list[Bucket]) -> es.Dataquery:
    """Target number ``i`` of a panel."""
    made = es.Dataquery().ref_id(ref(i)).query(query).time_field(TIME).metrics(metrics).bucket_aggs(buckets)
    return made.query_type("lucene")


def _row_metrics(panel: Panel) -> list[_Metric]:
    asked = [(i, metric) for i, metric in enumerate(panel.metrics) if metric.stat is not Stat.AGE and not metric.where]
    shown: list[_Metric] = [plain(metric, _row_id(i)) for i, metric in asked]
    return [*shown, plain(order(panel), ORDER).hide(hide=True)] if _only_sorts(panel) else shown


def _row_id(i: int) -> str:
    return str(10 + i)


def _row_order(panel: Panel) -> str:
    by = order(panel)
    if by.stat is Stat.COUNT:
        return "_count"
    return next((_row_id(i) for i, metric in enumerate(panel.metrics) if _same(metric, by)), ORDER)


def there(id_: str, each: str) -> es.BucketScript:
    """A number in each bucket in which metric ``each`` has a value; in others the server leaves it out."""
    return _script(id_, _THERE, {"each": each})


def product(id_: str, each: str, number: str, there: str) -> es.BucketScript:
    """The product of two other metrics. In a bucket without them it is null, which is a gap, instead of left out."""
    return _script(id_, PRODUCT, {"each": each, "number": number, "there": there})


def _script(id_: str, script: str, metrics: dict[str, str]) -> es.BucketScript:
    variables: list[Builder[models.PipelineVariable]] = [
        es.PipelineVariable().name(name).pipeline_agg(of) for name, of in metrics.items()
    ]
    settings = es.ElasticsearchBucketScriptSettings().script(es.ElasticsearchInlineScript().inline(script))
    return es.BucketScript().id(id_).pipeline_variables(variables).settings(settings)


def settings(inline: str) -> dict[str, str]:
    """Settings of a script in the form of today, which Grafana's models do not know."""
    return {"script": inline, **({"gap_policy": "insert_zeros"} if inline == PRODUCT else {})}


def plain(metric: Metric, id_: str) -> es.Average | es.Max | es.Min | es.Count | es.UniqueCount:
    """A metric that needs no other one."""
    match metric.stat:
        case Stat.COUNT:
            return es.Count().id(id_)
        case Stat.UNIQUE:
            return unique(metric.field, id_)
        case Stat.MAX:
            return es.Max().id(id_).field(metric.field)
        case Stat.MIN:
            return es.Min().id(id_).field(metric.field)
        case _:
            return es.Average().id(id_).field(metric.field)


def unique(field: str, id_: str) -> es.UniqueCount:
    """The number of distinct values of ``field``."""
    settings = es.ElasticsearchUniqueCountSettings().precision_threshold(_PRECISION)
    return es.UniqueCount().id(id_).field(field).settings(settings)


def terms(panel: Panel, order_by: str) -> es.Terms:
    """The values of the panel's split. ``order_by``: id of a metric, or ``_count``."""
    split = panel.split
    assert split
    return _by(split.field, split.size, order_by, rising=split.rising)


def _by(field: str, size: int, order_by: str, *, rising: bool = False) -> es.Terms:
    way = models.TermsOrder.ASC if rising else models.TermsOrder.DESC
    settings = es.ElasticsearchTermsSettings().size(str(size)).order(way).order_by(order_by).min_doc_count("1")
    return es.Terms().id(_TERMS).field(field).settings(settings)


def histogram(interval: str = "auto") -> es.DateHistogram:
    """The time buckets."""
    settings = es.ElasticsearchDateHistogramSettings().interval(interval).min_doc_count("0")
    return es.DateHistogram().id(_HISTOGRAM).field(TIME).settings(settings)
