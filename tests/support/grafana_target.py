"""What Grafana's Elasticsearch datasource does with a panel: variables, ``_msearch``, frames, transformations, names.

Written after pkg/tsdb/elasticsearch and public/app/plugins/datasource/elasticsearch of grafana/grafana, so that
dashboards are proven without a Grafana at hand.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

import shipper_eslocal

from shipper.view.dashboards.ask import Answer, Span

ALL: Final = "$__all"
_VARIABLE: Final = re.compile(r"\$(\w+)|\$\{(\w+)\}")
_NUMBER: Final = re.compile(r"\s*([-+]?(Infinity|(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)|0[xX][\da-fA-F]+)?\s*")
# Of each and number where there is something, and as the first dashboards had it
_PRODUCTS: Final = ("params.there == null ? Double.NaN : params.each * params.number", "params.each * params.number")
_WITHIN_MS: Final = {"24h": 86_400_000}
_TITLES: Final = {"avg": "Average", "max": "Max", "min": "Min", "count": "Count", "cardinality": "Unique Count"}
_KINDS: Final = {
    **dict.fromkeys(("float", "double", "integer", "long", "scaled_float", "histogram"), "number"),
    "text": "string",  # a keyword is no string
}
Choice = str | Sequence[str]
Mark = tuple[int, str]  # time, text


def committed(revision: str, uid: str) -> dict[str, Any] | None:
    """The dashboard of a commit; None if there was none."""
    show = ["git", "show", f"{revision}:dashboards/grafana/boards/{uid}.json"]
    found = subprocess.run(show, capture_output=True, text=True, check=False)
    return json.loads(found.stdout) if found.returncode == 0 else None


@dataclass
class Page:
    """A dashboard as a browser has it: the JSON, what is chosen in its variables, and the time range."""

    dashboard: Mapping[str, Any]
    when: Span
    chosen: Mapping[str, Choice] = field(default_factory=dict)
    filters: Sequence[tuple[str, str, str]] = ()  # field, operator, value of each ad-hoc filter
    scripts: bool = True  # the server has painless; else its one script here, a product, is computed here

    @property
    def uid(self) -> str:
        return str(self.dashboard["uid"])

    @property
    def panels(self) -> Iterator[dict[str, Any]]:
        for panel in self.dashboard["panels"]:
            for one in panel["panels"] if panel["type"] == "row" else [panel]:
                if one["type"] != "text":
                    yield self.whole(one)

    def whole(self, panel: dict[str, Any]) -> dict[str, Any]:
        """The panel with the targets of the one whose result it takes, as the data source "-- Dashboard --" does."""
        if not shares(panel):
            return panel
        (taken,) = panel["targets"]
        (source,) = (one for one in self.dashboard["panels"] if _has(one, taken["panelId"]))
        (source,) = (one for one in (source, *source.get("panels", ())) if one["id"] == taken["panelId"])
        assert not shares(source)
        assert (source["interval"], source["maxDataPoints"]) == (panel["interval"], panel["maxDataPoints"])
        # Until https://github.com/grafana/grafana/pull/118629, Grafana followed only panels with transformations
        assert source["transformations"]
        return {**panel, "targets": source["targets"]}

    def _stat(self, panel: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> Answer:
        """What the panel reduces its frames to: the first row, the number of rows, or the first value of a series."""
        reduce = panel["options"]["reduceOptions"]
        if reduce["values"]:
            rows = _buckets(panel["targets"][0], responses[0])[: reduce["limit"]]
            (metric,) = panel["targets"][0]["metrics"]
            return Answer(rows={str(row["key"]): [_value(metric, row)] for row in rows})
        if reduce["calcs"] == ["count"]:
            assert reduce["fields"] == "/^Max$/"
            return Answer(numbers={panel["title"]: float(len(_joined(panel, responses)))})
        assert reduce["calcs"] == ["first"]
        merged = "merge" in [one["id"] for one in panel.get("transformations", [])]
        assert merged == (panel["options"]["graphMode"] == "area")
        numbers = {}
        for target, response in list(zip(panel["targets"], responses, strict=True))[: 1 if merged else None]:
            ((title, values),) = _frames(target, response)
            (numbers[title],) = values.values() or (None,)
        return Answer(numbers=numbers)

    def interpolate(self, text: str) -> str:
        """Variables in the lucene format, as in every ``query``."""
        values = {"__to": str(self.when.last_ms), "__from": str(self.when.first_ms)}
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                values[variable["name"]] = self._lucene(variable)
        return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], found[0]), text)

    def _lucene(self, variable: Mapping[str, Any]) -> str:
        value = self.chosen.get(variable["name"], variable.get("current", {}).get("value", ""))
        if value == ALL:
            return str(variable["allValue"])  # as it is, without escapes
        if isinstance(value, str) and not variable["multi"]:
            return escaped(value)
        values = [value] if isinstance(value, str) else value
        return "(" + " OR ".join(f'"{escaped(one)}"' for one in values) + ")" if values else "__empty__"

    def search(self, target: Mapping[str, Any], within: str = "") -> dict[str, Any]:
        """The body that the server gets for ``target``. ``within``: a time range of the panel itself."""
        first_ms = self.when.last_ms - _WITHIN_MS[within] if within else self.when.first_ms
        query = {"analyze_wildcard": True, "query": self.filtered(target["query"])}
        body: dict[str, Any] = {"size": 0, "query": self._query(query, first_ms)}
        level = body
        for bucket in target["bucketAggs"]:
            made = _terms(bucket) if bucket["type"] == "terms" else self._histogram(bucket)
            level.setdefault("aggs", {})[bucket["id"]] = made
            by = bucket["settings"].get("orderBy", "")
            level = made
            if by.isdigit():
                metric = next(one for one in target["metrics"] if one["id"] == by)
                level["aggs"] = {by: {metric["type"]: {"field": metric["field"]}}}
        metrics = {
            one["id"]: _metric(one)
            for one in target["metrics"]
            if one["type"] != "count" and (self.scripts or one["type"] != "bucket_script")
        }
        if metrics:
            level["aggs"] = level.get("aggs", {}) | metrics
        return body

    def options(self, cluster: shipper_eslocal.Cluster, name: str, index: str = "metrics-shipper.*") -> list[str]:
        """What can be chosen in a variable: terms in the time range, through its regular expression."""
        (variable,) = (one for one in self.dashboard["templating"]["list"] if one["name"] == name)
        wanted = json.loads(variable["query"])
        assert wanted["find"] == "terms"
        assert variable["refresh"] == 2, "values follow the time range"
        by = ("_count", "desc") if wanted.get("orderBy") == "doc_count" else ("_key", wanted.get("order", "asc"))
        terms = {"field": wanted["field"], "size": wanted["size"], "order": dict([by])}
        query = {"analyze_wildcard": True, "query": self.interpolate(wanted["query"])}
        body = {"size": 0, "query": self._query(query, self.when.first_ms), "aggs": {"1": {"terms": terms}}}
        found = cluster.request("POST", f"/{index}/_search", body)["aggregations"]["1"]["buckets"]
        pattern = variable.get("regex", "").strip("/") or "(.*)"
        matches = (re.match(pattern, str(one["key"])) for one in found)
        return list(dict.fromkeys(match[1] for match in matches if match))

    def marks(self, cluster: shipper_eslocal.Cluster, index: str = "metrics-shipper.*") -> dict[str, list[Mark]]:
        """Time and text of each annotation's documents, in order."""
        found = {}
        for one in self.dashboard["annotations"]["list"]:
            hits = cluster.request("POST", f"/{index}/_search", self.mark(one))["hits"]["hits"]
            found[one["name"]] = sorted(event(one, hit["_source"]) for hit in hits)
        return found

    def mark(self, annotation: Mapping[str, Any]) -> dict[str, Any]:
        """The body of an annotation's search: the server sorts its hits as it likes."""
        within = {"bool": {"should": [self._within(self.when.first_ms)], "minimum_should_match": 1}}
        query = {"query_string": {"query": self.interpolate(annotation["target"]["query"])}}
        return {"query": {"bool": {"filter": [within, query]}}, "size": 10_000}

    def _within(self, first_ms: int) -> dict[str, Any]:
        within = {"gte": first_ms, "lte": self.when.last_ms, "format": "epoch_millis"}
        return {"range": {"@timestamp": within}}

    def _query(self, query: Mapping[str, Any], first_ms: int) -> dict[str, Any]:
        return {"bool": {"filter": [self._within(first_ms), {"query_string": query}]}}

    def filtered(self, lucene: str) -> str:
        """Interpolated, then with the ad-hoc filters, as the datasource's modifyQuery adds them."""
        return " AND ".join([self.interpolate(lucene), *(_ad_hoc(*one) for one in self.filters)])

    def _histogram(self, bucket: Mapping[str, Any]) -> dict[str, Any]:
        assert bucket["type"] == "date_histogram"
        width = bucket["settings"]["interval"]
        made = {
            "field": bucket["field"],
            "fixed_interval": f"{self.when.bucket_ms}ms" if width == "auto" else width,
            "min_doc_count": int(bucket["settings"]["min_doc_count"]),
            "extended_bounds": {"min": self.when.first_ms, "max": self.when.last_ms},
            "format": "epoch_millis",
        }
        return {"date_histogram": made}

    def msearch(self, panel: Mapping[str, Any], index: str = "metrics-shipper.*") -> bytes:
        """All targets of a panel are one request."""
        head = json.dumps({"search_type": "query_then_fetch", "ignore_unavailable": True, "index": index})
        lines = [
            line for one in panel["targets"] for line in (head, json.dumps(self.search(one, panel.get("timeFrom", ""))))
        ]
        return ("\n".join(lines) + "\n").encode()

    def answer(self, panel: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> Answer:
        """What is drawn, from the responses to ``msearch``."""
        if panel["type"] == "stat":
            return self._stat(panel, responses)
        if panel["type"] == "table":
            return Answer(rows=_table(panel, responses, self.when))
        found = Answer(times=list(self.when.buckets))
        (target,), (response,) = panel["targets"], responses
        for title, values in _renamed(panel, _frames(target, response)):
            assert title not in found.series, f"two lines called {title}"
            found.series[title] = [values.get(time) for time in found.times]
        return found


def fields_of_type(fields: Mapping[str, Mapping[str, Any]], wanted: str) -> list[str]:
    """Names from ``_field_caps``, by the type of Elasticsearch or by what the data source takes for it."""
    return [
        name
        for name, types in fields.items()
        if any(wanted in (kind, _KINDS.get(kind)) and not of["metadata_field"] for kind, of in types.items())
    ]


def shares(panel: Mapping[str, Any]) -> bool:
    """Whether the panel takes another one's result instead of asking."""
    return bool(panel["datasource"]["uid"] == "-- Dashboard --")


def _has(panel: Mapping[str, Any], id_: int) -> bool:
    return id_ in [one["id"] for one in (panel, *panel.get("panels", ()))]


Lines = Iterator[tuple[str, dict[int, float | None]]]


def _renamed(panel: Mapping[str, Any], lines: Lines) -> Lines:
    """The lines that the panel keeps, with the names that it gives them."""
    steps = panel.get("transformations", [])
    own = [one["options"]["include"]["pattern"].strip("/") for one in steps if one["id"] == "filterFieldsByName"]
    names = [one["options"] for one in steps if one["id"] == "renameByRegex"]
    for title, values in lines:
        if all(re.search(pattern, title) for pattern in own):
            for one in names:
                title = re.sub(f"^{one['regex']}$", one["renamePattern"].replace("$1", r"\g<1>"), title)  # noqa: PLW2901
            yield title, values


def frames(panel: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The data frames that the data source's backend makes of the responses to ``msearch``."""
    for target, response in zip(panel["targets"], responses, strict=True):
        lines = target["bucketAggs"][-1]["type"] == "date_histogram"
        for frame in _line_frames(target, response) if lines else _row_frames(target, response):
            yield {"refId": target["refId"], **frame}


def _line_frames(target: Mapping[str, Any], response: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A frame for each line; the name of the line is that of the frame."""
    for title, values in _frames(target, response):
        time = {"name": "Time", "type": "time", "values": list(values), "config": {}}
        value = {"name": "Value", "type": "number", "values": list(values.values()), "config": {}}
        meta = {"type": "timeseries-multi", "typeVersion": [0, 0]}
        yield {"name": title, "meta": meta, "fields": [time, value]}


def _row_frames(target: Mapping[str, Any], response: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A frame for all rows; none if there is no row."""
    (terms,) = target["bucketAggs"]
    buckets = _buckets(target, response)
    if not buckets:
        return
    keys = [bucket["key"] for bucket in buckets]
    kind = "string" if isinstance(keys[0], str) else "number"
    fields = [{"name": terms["field"], "type": kind, "values": keys, "config": {"filterable": True}}]
    for metric in target["metrics"]:
        numbers = [_value(metric, bucket) for bucket in buckets]
        fields.append({"name": _column(target, metric), "type": "number", "values": numbers, "config": {}})
    yield {"fields": fields}


def _ad_hoc(name: str, operator: str, value: str) -> str:
    """A condition as the data source's modifyQuery writes it."""
    key = re.sub(r"""([-+!(){}\[\]^"?:\\&|'/\s*~])""", r"\\\1", name)
    pattern = value.replace('"', '\\"')
    phrase = value.replace("\\", "\\\\").replace('"', '\\"')
    match operator:
        case "=":
            return f'{key}:"{phrase}"'
        case "!=":
            return f'-{key}:"{phrase}"'
        case "=~":
            return f"{key}:/{pattern}/"
        case "!~":
            return f"-{key}:/{pattern}/"
    return f"{key}:{operator}{phrase}"


def escaped(value: str) -> str:
    """luceneEscape of packages/grafana-data: numbers, as JavaScript reads them, stay as they are."""
    return value if _NUMBER.fullmatch(value) else re.sub(r'([!*+\-=<>\s&|()\[\]{}^~?:\\/"])', r"\\\1", value)


def _label(labels: Mapping[str, str], found: re.Match[str]) -> str:
    return labels.get(found[1], found[0])


def event(annotation: Mapping[str, Any], source: Any) -> Mark:
    """The time and the text of a document, which has its fields in nested objects."""
    at = datetime.fromisoformat(source["@timestamp"])
    for name in annotation["textField"].split("."):
        source = source[name]
    return round(at.timestamp() * 1000), source


def _terms(bucket: Mapping[str, Any]) -> dict[str, Any]:
    settings = bucket["settings"]
    by = {"_term": "_key"}.get(settings["orderBy"], settings["orderBy"])
    return {
        "terms": {
            "field": bucket["field"],
            "size": int(settings["size"]),
            "order": {by: settings["order"]},
            "min_doc_count": int(settings["min_doc_count"]),
        }
    }


def _metric(metric: Mapping[str, Any]) -> dict[str, Any]:
    settings = metric.get("settings", {})
    if metric["type"] == "bucket_script":
        paths = {one["name"]: one["pipelineAgg"] for one in metric["pipelineVariables"]}
        return {"bucket_script": {"buckets_path": paths, **settings}}
    return {metric["type"]: {"field": metric["field"], **settings}}


def _value(metric: Mapping[str, Any], bucket: Mapping[str, Any]) -> float | None:
    if metric["type"] == "bucket_script" and metric["id"] not in bucket:
        assert metric["settings"]["script"] in _PRODUCTS
        each, number, *_ = (bucket.get(one["pipelineAgg"], {}).get("value") for one in metric["pipelineVariables"])
        return None if each is None else float(each * number)
    value = bucket["doc_count"] if metric["type"] == "count" else bucket.get(metric["id"], {}).get("value")
    return None if value is None else float(value)


def _frames(target: Mapping[str, Any], response: Mapping[str, Any]) -> Lines:
    """Title and values by time of each line."""
    *outer, last = target["bucketAggs"]
    buckets: list[tuple[dict[str, str], Any]] = [({}, response["aggregations"])]
    for one in outer:
        buckets = [
            ({**labels, one["field"]: str(bucket["key"])}, bucket)
            for labels, parent in buckets
            for bucket in parent[one["id"]]["buckets"]
        ]
    for labels, bucket in buckets:
        points = bucket[last["id"]]["buckets"]
        for metric in (one for one in target["metrics"] if not one.get("hide")):
            yield _title(target, metric, labels), {int(one["key"]): _value(metric, one) for one in points}


def _title(target: Mapping[str, Any], metric: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    if "alias" in target:
        own = {"metric": _TITLES.get(metric["type"], ""), "field": metric.get("field", "")}
        return re.sub(r"\{\{([\s\S]+?)\}\}", partial(_label, {**own, **labels}), target["alias"])
    assert not labels
    if metric["type"] != "bucket_script":
        return " ".join([_TITLES[metric["type"]], *([metric["field"]] if "field" in metric else [])])
    by_id = {
        one["id"]: "Bucket Script " if one["type"] == "bucket_script" else _title(target, one, labels)
        for one in target["metrics"]
    }
    title = str(metric["settings"]["script"])
    for variable in metric["pipelineVariables"]:
        title = title.replace(f"params.{variable['name']}", by_id[variable["pipelineAgg"]])
    return title


def _buckets(target: Mapping[str, Any], response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table's target."""
    (terms,) = target["bucketAggs"]
    found: list[dict[str, Any]] = response.get("aggregations", {}).get(terms["id"], {}).get("buckets", [])
    return found


def _joined(panel: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first target's rows; those that the second one has too are left out, if the panel says so."""
    steps = [
        one["options"] for one in panel.get("transformations", []) if one["id"] in ("joinByField", "filterByValue")
    ]
    rows = _buckets(panel["targets"][0], responses[0])
    if not steps:
        return rows
    join, choose = steps
    assert join == {"byField": panel["targets"][0]["bucketAggs"][0]["field"], "mode": "outer"}
    sends = {"fieldName": "Count", "config": {"id": "greaterOrEqual", "options": {"value": "1"}}}
    assert choose == {"type": "exclude", "match": "any", "filters": [sends]}
    there = {row["key"] for row in _buckets(panel["targets"][1], responses[1]) if row["doc_count"] >= 1}
    return [row for row in rows if row["key"] not in there]


def _column(target: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Name of a column: the type, and the field where the type is there twice."""
    title = _TITLES[metric["type"]]
    twice = [one["type"] for one in target["metrics"]].count(metric["type"]) > 1
    return f"{title} {metric['field']}" if twice and metric["type"] != "count" else title


def _table(
    panel: Mapping[str, Any], responses: Sequence[Mapping[str, Any]], when: Span
) -> dict[str, list[float | None]]:
    """Rows after the transformations, the first column as their key."""
    target = panel["targets"][0]
    steps = {one["id"]: one["options"] for one in panel["transformations"]}
    organize = steps["organize"]
    columns = {_column(target, one): one for one in target["metrics"]}
    assert len(columns) == len(target["metrics"]), f"two columns of one name: {list(columns)}"
    if "calculateField" in steps:  # the time of the last document again, which is shown as the time since then
        assert steps["calculateField"]["unary"]["operator"] == "abs"
        columns[steps["calculateField"]["alias"]] = columns[steps["calculateField"]["unary"]["fieldName"]]
    rows = _joined(panel, responses)
    for more, response in list(zip(panel["targets"], responses, strict=True))[2:]:
        found = {row["key"]: row for row in _buckets(more, response)}
        for metric in more["metrics"]:
            key = f"{more['refId']}{metric['id']}"
            columns[_column(more, metric)] = {**metric, "id": key}
            for row in rows:
                row[key] = found.get(row["key"], {}).get(metric["id"], {})
    shown = [name for name in columns if not organize["excludeByName"].get(name)]
    assert all(name in organize["renameByName"] for name in shown), (shown, organize)
    shown.sort(key=lambda name: organize["indexByName"][name])
    since = [name for name in shown if _unit(panel, organize["renameByName"][name]) == "dateTimeFromNow"]
    answer: dict[str, list[float | None]] = {}
    for row in rows:
        values = {name: _value(columns[name], row) for name in shown}
        answer[str(row["key"])] = [_age(value, when) if name in since else value for name, value in values.items()]
    return answer


def _age(value: float | None, when: Span) -> float | None:
    return None if value is None else when.last_ms - value


def _unit(panel: Mapping[str, Any], column: str) -> str:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"] == {"id": "byName", "options": column}:
            return next((one["value"] for one in override["properties"] if one["id"] == "unit"), "")
    return ""
