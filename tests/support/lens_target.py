"""What Kibana makes of a Lens panel: the KQL, the aggregations of its columns, the numbers of its formulas.

Written after x-pack/plugins/lens/public/datasources/form_based of elastic/kibana.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from shipper.view.dashboards.ask import Answer, Span

_AGGREGATIONS: Final = {"average": "avg", "max": "max", "min": "min", "unique_count": "cardinality"}
_TEST: Final = re.compile(
    r'([\w.@]+)(?:: (?:\((?P<any>[^)]*)\)|"(?P<one>[^"]*)"|(?P<there>\*))| (?P<sign>[<>]) (?P<bound>\S+))'
)
_SIGNS: Final = {"<": "lt", ">": "gt"}
Json = dict[str, Any]


@dataclass
class Lens:
    """A panel as it is saved, over a time range, with a filter of the query DSL for each choice in a control."""

    panel: Mapping[str, Any]
    when: Span
    chosen: Sequence[Json] = ()
    name: str = "data"

    @property
    def _state(self) -> Json:
        state: Json = self.panel["embeddableConfig"]["attributes"]["state"]
        return state

    @property
    def _layer(self) -> Json:
        layer = self._state["datasourceStates"]["formBased"]["layers"][self.name]
        assert set(layer["columnOrder"]) == set(layer["columns"])
        return dict(layer)

    @property
    def parts(self) -> list["Lens"]:
        """One for each layer with documents that is drawn as lines; a number or table has one."""
        if "layers" not in self._state["visualization"]:
            return [self]
        drawn = [layer["layerId"] for layer in self._state["visualization"]["layers"] if layer["layerType"] == "data"]
        return [replace(self, name=name) for name in drawn]

    def search(self) -> Json:
        own = self.panel["embeddableConfig"].get("timeRange")
        assert own is None or own["to"] == "now"
        within = {
            "gte": f"{self.when.last_ms}||{own['from'].removeprefix('now')}" if own else self.when.first_ms,
            "lte": self.when.last_ms,
            "format": "epoch_millis",
        }
        filters = [{"range": {"@timestamp": within}}, *kuery(self._state["query"]["query"])]
        filters += [] if self._layer.get("ignoreGlobalFilters") else self.chosen
        return {"size": 0, "query": {"bool": {"filter": filters}}, "aggs": self._aggs()}

    def _aggs(self) -> Json:
        columns = self._layer["columns"]
        numbers = {
            id_: one
            for id_, one in columns.items()
            if one["operationType"] in _AGGREGATIONS or "reducedTimeRange" in one
        }
        aggs = {id_: self._number(one) for id_, one in numbers.items()}
        for id_, one in reversed(self._buckets()):
            if one["operationType"] == "date_histogram":
                aggs = {id_: {"date_histogram": self._histogram(one), "aggs": aggs}}
                continue
            order, more = self._order(one)
            terms = {"field": one["sourceField"], "size": one["params"]["size"], "order": order}
            aggs = {id_: {"terms": terms, "aggs": aggs | more}}
        return aggs

    def _buckets(self) -> list[tuple[str, Json]]:
        columns = self._layer["columns"]
        return [(id_, columns[id_]) for id_ in self._layer["columnOrder"] if columns[id_]["isBucketed"]]

    def _order(self, terms: Mapping[str, Any]) -> tuple[Json, Json]:
        """``order`` of the terms, and the aggregation that it refers to."""
        params = terms["params"]
        custom = params["orderBy"]["type"] == "custom"
        by = params["orderAgg"] if custom else self._layer["columns"][params["orderBy"]["columnId"]]
        if by["operationType"] == "count":
            return {"_count": params["orderDirection"]}, {}
        return {"by": params["orderDirection"]}, {"by": self._number(by)}

    def _number(self, column: Mapping[str, Any]) -> Json:
        made: Json = {}
        if column["operationType"] != "count":
            made = {_AGGREGATIONS[column["operationType"]]: {"field": column["sourceField"]}}
        if "filter" in column:
            wanted = {"bool": {"filter": kuery(column["filter"]["query"])}}
            return {"filter": wanted, "aggs": {"end": made}}
        if "reducedTimeRange" not in column:
            return made
        begin = f"{self.when.last_ms}||-{column['reducedTimeRange']}"
        end = {"range": {"@timestamp": {"gte": begin, "format": "epoch_millis"}}}
        return {"filter": end, "aggs": {"end": made} if made else {}}

    def _histogram(self, column: Mapping[str, Any]) -> Json:
        params = column["params"]
        assert params["interval"] == "auto"
        assert params["includeEmptyRows"]
        bounds = {"min": self.when.first_ms, "max": self.when.last_ms}
        width = f"{self.when.bucket_ms}ms"
        return {"field": column["sourceField"], "fixed_interval": width, "min_doc_count": 0, "extended_bounds": bounds}

    def answer(self, response: Mapping[str, Any]) -> Answer:
        shape: Json = self._state["visualization"]
        aggs = response.get("aggregations", {})
        match self.panel["embeddableConfig"]["attributes"]["visualizationType"]:
            case "lnsMetric":
                shown = [shape["metricAccessor"], shape.get("secondaryMetricAccessor")]
                if split := shape.get("breakdownByAccessor"):
                    buckets = aggs[split]["buckets"][: shape["maxCols"]]
                    return Answer(rows={one["key"]: [self._value(one, shown[0])] for one in buckets})
                return Answer(numbers={self._label(one): self._value(aggs, one) for one in shown if one})
            case "lnsDatatable":
                key, *shown = [one["columnId"] for one in shape["columns"]]
                assert shape["sorting"]["columnId"] in shown
                buckets = aggs[key]["buckets"]
                return Answer(rows={one["key"]: [self._value(one, id_) for id_ in shown] for one in buckets})
            case "lnsHeatmap":
                return self._series(aggs, shape["yAccessor"], shape["xAccessor"], [shape["valueAccessor"]])
            case "lnsXY":
                layer = next(one for one in shape["layers"] if one["layerId"] == self.name)
                return self._series(aggs, layer.get("splitAccessor"), layer["xAccessor"], layer["accessors"])
        raise AssertionError("a visualisation that Lens does not have")

    def _series(self, aggs: Json, split: str | None, times: str, shown: Sequence[str]) -> Answer:
        found = Answer(times=list(self.when.buckets))
        groups = [(one["key"], one) for one in aggs[split]["buckets"]] if split else [(None, aggs)]
        for key, group in groups:
            buckets = {int(one["key"]): one for one in group[times]["buckets"]}
            for id_ in shown:
                names = [key, self._label(id_)] if key is None or len(shown) > 1 else [key]
                title = " ".join(one for one in names if one)
                assert title not in found.series
                found.series[title] = [self._value(buckets[time], id_) for time in found.times]
        return found

    def _label(self, column: str) -> str:
        return str(self._layer["columns"][column]["label"])

    def _value(self, bucket: Mapping[str, Any], id_: str) -> float | None:
        column = self._layer["columns"][id_]
        match column["operationType"]:
            case "count":
                return float(bucket.get(id_, bucket)["doc_count"])
            case "formula":
                (reference,) = column["references"]
                return self._value(bucket, reference)
            case "math":
                return self._computed(bucket, column["params"]["tinymathAst"])
        found = bucket.get(id_, {})
        value = found.get("end", found).get("value")
        return None if value is None else float(value)

    def _computed(self, bucket: Mapping[str, Any], tree: Any) -> float | None:
        if isinstance(tree, str):
            return self._value(bucket, tree)
        if not isinstance(tree, dict):
            return float(tree)
        values = [one for one in (self._computed(bucket, one) for one in tree["args"]) if one is not None]
        if len(values) < len(tree["args"]):
            return None
        assert tree["name"] in ("multiply", "subtract")
        return math.prod(values) if tree["name"] == "multiply" else values[0] - values[1]


def kuery(text: str) -> list[Json]:
    """The part of KQL that the dashboards use; what is not of it fails."""
    return [_clause(one) for one in text.split(" and ")]


def _clause(text: str) -> Json:
    found = _TEST.fullmatch(text)
    assert found, f"not understood: {text}"
    name = found[1]
    if found["there"]:
        return {"exists": {"field": name}}
    if found["sign"]:
        return {"range": {name: {_SIGNS[found["sign"]]: float(found["bound"])}}}
    values = [found["one"]] if found["one"] is not None else re.findall(r'"([^"]*)"', found["any"])
    return {"bool": {"should": [{"match_phrase": {name: one}} for one in values], "minimum_should_match": 1}}
