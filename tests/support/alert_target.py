"""What Grafana makes of a provisioned alert rule: searches of its backend, expressions, and which alerts are firing.

Written after pkg/tsdb/elasticsearch (queries of a rule keep the labels of their series) and pkg/expr of
grafana/grafana: a reduction gives a number per series, and an expression joins the numbers whose labels are equal.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

import shipper_eslocal

Labels = tuple[tuple[str, str], ...]
Numbers = dict[Labels, float]
Series = dict[Labels, list[float]]
_REDUCERS: dict[str, Callable[[list[float]], float]] = {
    "mean": fmean,
    "min": min,
    "max": max,
    "sum": sum,
    "last": lambda values: values[-1],
}
_WORDS = {"&&": " and ", "||": " or "}


def firing(
    cluster: shipper_eslocal.Cluster, rule: Mapping[str, Any], at_ms: int, index: str = "metrics-shipper.*"
) -> list[dict[str, str]]:
    """Labels of the alerts of ``rule`` whose condition holds at ``at_ms``; ``for`` is not waited for."""
    values: dict[str, Any] = {}
    left = {one["refId"]: one for one in rule["data"]}
    while left:
        ref = next(ref for ref, one in left.items() if _needs(one) <= values.keys())
        values[ref] = _value(cluster, left.pop(ref), values, at_ms, index)
    return [dict(labels) for labels, value in values[rule["condition"]].items() if value]


def _needs(one: Mapping[str, Any]) -> set[str]:
    model = one["model"]
    return (
        set(re.findall(r"\$([A-Z])\b", model["expression"]) or [model["expression"]])
        if "expression" in model
        else set()
    )


def _value(
    cluster: shipper_eslocal.Cluster, one: Mapping[str, Any], values: Mapping[str, Any], at_ms: int, index: str
) -> Series | Numbers:
    model = one["model"]
    match model.get("type"):
        case None:
            return _asked(cluster, one, at_ms, index)
        case "reduce":
            kept = {labels: [value for value in series if math.isfinite(value)]
                    for labels, series in values[model["expression"]].items()}  # fmt: skip
            assert model["settings"] == {"mode": "dropNN"}
            return {labels: _REDUCERS[model["reducer"]](series) for labels, series in kept.items() if series}
        case "math":
            return _computed(model["expression"], values)
        case other:
            raise AssertionError(other)


def _computed(expression: str, values: Mapping[str, Numbers]) -> Numbers:
    names = sorted(set(re.findall(r"\$([A-Z])\b", expression)))
    text = re.sub(r"\$([A-Z])\b", r"\1", expression)
    for word, python in _WORDS.items():
        text = text.replace(word, python)
    joined = set.intersection(*(set(values[name]) for name in names))
    return {
        labels: float(eval(text, {"abs": abs}, {name: values[name][labels] for name in names})) for labels in joined
    }


def body(one: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
    """The search of a rule's query."""
    model, span = one["model"], one["relativeTimeRange"]
    first, last = at_ms - span["from"] * 1000, at_ms - span["to"] * 1000
    within = {"range": {"@timestamp": {"gte": first, "lte": last, "format": "epoch_millis"}}}
    query = {"query_string": {"analyze_wildcard": True, "query": model["query"]}}
    (metric,) = model["metrics"]
    asked = {} if metric["type"] == "count" else {metric["id"]: {metric["type"]: {"field": metric["field"]}}}
    *terms, histogram = model["bucketAggs"]
    bounds = {"min": first, "max": last}
    settings = histogram["settings"]
    made: dict[str, Any] = {
        "date_histogram": {
            "field": histogram["field"], "fixed_interval": settings["interval"], "extended_bounds": bounds,
            "min_doc_count": int(settings["min_doc_count"]), "format": "epoch_millis",
        }
    }  # fmt: skip
    aggs: dict[str, Any] = {histogram["id"]: made | ({"aggs": asked} if asked else {})}
    for one_terms in reversed(terms):
        own = one_terms["settings"]
        by = own["orderBy"]
        inner = aggs | (asked if by == metric["id"] else {})
        own_terms = {
            "field": one_terms["field"],
            "size": int(own["size"]),
            "order": {by: own["order"]},
            "min_doc_count": int(own["min_doc_count"]),
        }
        aggs = {one_terms["id"]: {"terms": own_terms, "aggs": inner}}
    return {"size": 0, "query": {"bool": {"filter": [within, query]}}, "aggs": aggs}


def _asked(cluster: shipper_eslocal.Cluster, one: Mapping[str, Any], at_ms: int, index: str) -> Series:
    path = f"/{index}/_search?ignore_unavailable=true&allow_no_indices=true"
    answer = cluster.request("POST", path, body(one, at_ms))
    return series(one["model"], answer)


def series(model: Mapping[str, Any], answer: Mapping[str, Any]) -> Series:
    """The values of each series in the response to a rule's query."""
    return dict(_series(model, answer.get("aggregations", {}), 0, ()))


def _series(
    model: Mapping[str, Any], level: Mapping[str, Any], depth: int, labels: Labels
) -> Iterator[tuple[Labels, list[float]]]:
    bucket = model["bucketAggs"][depth]
    buckets = level.get(bucket["id"], {"buckets": []})["buckets"]
    if bucket["type"] == "terms":
        for one in buckets:
            yield from _series(model, one, depth + 1, (*labels, (bucket["field"], str(one["key"]))))
        return
    trimmed = int(bucket["settings"].get("trimEdges", 0))
    kept = buckets[trimmed : len(buckets) - trimmed]
    (metric,) = model["metrics"]
    yield labels, [_number(metric, one) for one in kept]


def _number(metric: Mapping[str, Any], bucket: Mapping[str, Any]) -> float:
    if metric["type"] == "count":
        return float(bucket["doc_count"])
    value = bucket[metric["id"]]["value"]
    return math.nan if value is None else float(value)
