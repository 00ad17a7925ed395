"""Our imitation of Grafana's Elasticsearch data source does what the real one did: tests/golden/grafana_datasource."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import alert_target
import pytest
import shipper_eslocal
import yaml
from grafana_target import Page, event, fields_of_type, frames

from shipper.view.dashboards import grafana
from shipper.view.dashboards.ask import Span
from shipper.view.dashboards.boards import BOARDS

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests/golden/grafana_datasource"
RULES: Final = ROOT / "dashboards/grafana/alerting/shipper.yaml"
Case = dict[str, Any]


def captured(name: str) -> list[Case]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines()]


def page(case: Case, definitions: list[Any]) -> Page:
    dashboard = {"uid": "captured", "templating": {"list": definitions}}
    when = Span(case.get("from", 0), case["to"], case.get("interval_ms", 10_000))
    filters = [tuple(one) for one in case.get("filters", [])]
    return Page(dashboard, when, case["chosen"], cast(Any, filters))


@pytest.mark.parametrize("case", captured("targets"), ids=lambda case: case["panel"])
def test_a_target_is_the_same_search_and_the_same_frames(case: Case) -> None:
    head, body = (json.loads(line) for line in page(case, case["variables"]).msearch(panel(case)).splitlines())
    assert (head, body) == (case["header"], case["request"])
    made = [{**frame, "fields": list(map(plain, frame["fields"]))} for frame in frames(panel(case), [case])]
    assert made == [framed(frame) | {"refId": case["target"]["refId"]} for frame in case["frames"]]


def panel(case: Case) -> Case:
    return {"targets": [case["target"]]}


def framed(frame: Case) -> Case:
    """A frame as the data source's backend sends it, its values beside the description of each field."""
    fields = zip(frame["schema"]["fields"], frame["data"]["values"], strict=True)
    return {**frame["schema"], "fields": [{**field, "values": values} for field, values in fields]}


def plain(field: Case) -> Case:
    return {name: value for name, value in field.items() if name != "config" or value}


@pytest.mark.parametrize("case", captured("rules"), ids=lambda case: case["rule"])
def test_a_rule_is_the_same_search_and_the_same_series(case: Case) -> None:
    assert alert_target.body(case["data"], case["at"]) == case["request"]
    given = {}
    for frame in map(framed, case["frames"]):
        _, value = frame["fields"]
        labels = frozenset(value.get("labels", {}).items())
        given[labels] = [math.nan if one is None else float(one) for one in value["values"]]
    made = alert_target.series(case["data"]["model"], case)
    assert {frozenset(labels): repr(values) for labels, values in made.items()} == {
        labels: repr(values) for labels, values in given.items()
    }


@pytest.mark.parametrize("case", captured("annotations"), ids=lambda case: case["annotation"]["name"])
def test_an_annotation_is_the_same_search_and_the_same_marks(case: Case) -> None:
    assert page(case, case["variables"]).mark(case["annotation"]) == case["request"]
    made = [event(case["annotation"], hit["_source"]) for hit in case["hits"]]
    assert made == [(one["time"], one["text"]) for one in case["events"]]


class Recorder:
    """Takes the place of a server: keeps what it was asked, and has no documents."""

    body: Any = None

    def request(self, _method: str, _path: str, body: Any) -> Any:
        self.body = body
        return {"aggregations": {"1": {"buckets": []}}}


@pytest.mark.parametrize("case", captured("choices"), ids=lambda case: case["name"])
def test_the_values_of_a_variable_are_the_same_search(case: Case) -> None:
    server, definitions = Recorder(), [one for one in case["variables"] if one["name"] != case["name"]]
    page(case, [*definitions, case["definition"]]).options(cast(shipper_eslocal.Cluster, server), case["name"])
    (within, *others) = case["request"]["query"]["bool"]["filter"]
    times = within["range"]["@timestamp"]
    times |= {end: int(times[end]) for end in ("gte", "lte")}  # Elasticsearch reads both
    assert server.body == {**case["request"], "query": {"bool": {"filter": [within, *others]}}}


@pytest.mark.parametrize("case", captured("fields"), ids=lambda case: case["query"])
def test_the_fields_of_a_type_are_the_same(case: Case) -> None:
    assert sorted(fields_of_type(case["fields"], json.loads(case["query"])["type"])) == case["names"]


@pytest.mark.parametrize("case", captured("texts"), ids=lambda case: f"{case['chosen']['host']} {case['filters']}")
def test_choices_and_filters_are_the_same_text(case: Case) -> None:
    made = page(case, [case["variable"]]).filtered(case["query"])
    assert made == case["sent"]


def test_every_shape_of_target_was_captured() -> None:
    """A shape that fails here was never compared: see README.md beside the captured cases."""
    known = {one for case in captured("targets") for one in shapes(case["target"])}
    known |= {one for case in captured("rules") for one in shapes(case["data"]["model"])}
    assert not {(where, one) for target, where in targets() for one in shapes(target) if one not in known}


def targets() -> Iterator[tuple[Any, str]]:
    for board in BOARDS:
        for one in Page(json.loads(grafana.render(board)), Span(0, 1, 1)).panels:
            for target in one["targets"]:
                yield target, f"{board.uid} {one['title']}"
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield from ((one["model"], rule["title"]) for one in rule["data"] if "expression" not in one["model"])


def shapes(target: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What decides how the data source treats each kind of metric: its buckets, and how lines or columns get names."""
    metrics = {one["id"]: one for one in target["metrics"]}
    buckets = [_bucket(one, metrics) for one in target["bucketAggs"]]
    alias = re.sub(r"\{\{(?!metric|field)[^}]+\}\}", "{{label}}", target.get("alias", ""))
    names = alias if "{{" in alias else "a name" if alias else ""
    kinds = Counter(("hidden " if one.get("hide") else "") + one["type"] for one in target["metrics"])
    for kind, number in kinds.items():
        yield *buckets, f"several {kind}" if number > 1 and "histogram" not in buckets[-1] else kind, names


def _bucket(bucket: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    settings = bucket["settings"]
    if bucket["type"] == "date_histogram":
        return f"histogram {settings['interval'] == 'auto'} {'trimEdges' in settings}"
    by = settings["orderBy"]
    order = by if by not in metrics else "hidden metric" if metrics[by].get("hide") else "metric"
    return f"terms {order} {settings['order']}"
