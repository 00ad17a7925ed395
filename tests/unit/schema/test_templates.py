"""Templates: what is rendered for each kind of field and each layout, and what may not be rendered."""

import json

import pytest

from shipper import cli
from shipper.fields.field import Alias, Field, Kind, Type, attribute, counter, dimension, gauge, real, with_rates
from shipper.schema import stream_names, templates
from shipper.schema.datasets import DATASETS
from shipper.schema.templates import Features, Template, mappings, render
from shipper.server import keys
from shipper.settings.config import Index

HOUR_MS = 3_600_000


def by_name(index: Index, features: Features | None = None) -> dict[str, Template]:
    return {one.name: one for one in render(index, features)}


def test_names() -> None:
    assert stream_names.stream("host", "default") == "metrics-shipper.host-default"
    assert stream_names.late_stream("host", "default") == "metrics-shipper.host.late-default"
    assert stream_names.dated_index("host", 1_795_478_399_999) == "shipper-host-2026.11.23"
    assert stream_names.dated_index("host", 1_795_478_400_000) == "shipper-host-2026.11.24"


def test_each_kind_of_field_in_a_time_series() -> None:
    fields = [
        dimension("a.name", "x"),
        counter("a.read.bytes", "bytes", "x", "f"),
        real("a.used.pct", "pct", "x", "f"),
        gauge("a.n", "count", "x", "f"),
        attribute("a.kind", "x"),
        attribute("labels", "x", "", Type.FLATTENED),
    ]
    assert mappings(fields, series=True)["properties"] == {
        "a": {
            "properties": {
                "name": {"type": "keyword", "time_series_dimension": True},
                "read": {
                    "properties": {
                        "bytes": {
                            "type": "long",
                            "time_series_metric": "counter",
                            "meta": {"unit": "byte"},
                        }
                    }
                },
                "used": {
                    "properties": {
                        "pct": {
                            "type": "float",
                            "time_series_metric": "gauge",
                            "meta": {"unit": "percent"},
                        }
                    }
                },
                "n": {"type": "long", "time_series_metric": "gauge"},
                "kind": {"type": "keyword", "ignore_above": 1024},
            }
        },
        "labels": {"type": "flattened", "ignore_above": 1024},
    }


def test_plain_mappings_know_nothing_of_time_series() -> None:
    fields = [dimension("a.name", "x"), counter("a.n.bytes", "bytes", "x", "f")]
    assert mappings(fields, series=False)["properties"]["a"]["properties"] == {
        "name": {"type": "keyword", "ignore_above": 1024},
        "n": {"properties": {"bytes": {"type": "long", "index": False, "meta": {"unit": "byte"}}}},
    }


@pytest.mark.parametrize("series", [True, False])
def test_alias_leads_to_its_field_and_takes_no_place_of_another(series: bool) -> None:
    fields = [counter("a.n.bytes", "bytes", "x", "f")]
    found = mappings(fields, [Alias("b.old", "a.n.bytes", "x")], series=series)["properties"]
    assert found["b"] == {"properties": {"old": {"type": "alias", "path": "a.n.bytes"}}}
    with pytest.raises(ValueError, match=r"^a\.n\.bytes: declared twice, or other fields lie below it$"):
        mappings(fields, [Alias("a.n.bytes", "a.n.bytes", "x")], series=series)


def test_growth_of_a_counter_is_a_gauge_beside_its_rate() -> None:
    fields = with_rates([counter("a.read.bytes", "bytes", "x", "f", delta="b.bytes")])
    assert [(one.name, one.kind, one.type) for one in fields] == [
        ("a.read.bytes", Kind.COUNTER, Type.LONG),
        ("a.read.bytes_per_s", Kind.GAUGE, Type.FLOAT),
        ("b.bytes", Kind.GAUGE, Type.LONG),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a.b", "a.b.c"), "a.b.c: b is a field of its own"),
        (("a.b.c", "a.b"), "a.b: declared twice, or other fields lie below it"),
        (("a.b", "a.b"), "a.b: declared twice, or other fields lie below it"),
        (("a", "a.b.c"), "a.b.c: a is a field of its own"),
    ],
)
def test_leaf_that_is_a_parent_cannot_be_rendered(names: tuple[str, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}$"):
        mappings([attribute(name, "x") for name in names], series=False)


def test_metric_that_is_no_number_cannot_be_rendered() -> None:
    with pytest.raises(ValueError, match=r"^a\.b: a gauge cannot be a boolean$"):
        mappings([Field("a.b", Type.BOOLEAN, Kind.GAUGE, "", "x")], series=True)


def test_data_streams_of_a_dataset() -> None:
    found = by_name(Index(retention_days=7, shards=3, replicas=0))
    assert found["metrics-shipper.disk-default"].path == "/_index_template/metrics-shipper.disk-default"
    series = found["metrics-shipper.disk-default"].body
    assert series["index_patterns"] == ["metrics-shipper.disk-default"]
    assert series["composed_of"] == ["metrics-shipper.disk@package", "metrics-shipper@custom"]
    assert series["template"] == {
        "settings": {
            "index.look_back_time": "7d",
            "index.mode": "time_series",
            "index.number_of_replicas": "0",
            "index.number_of_shards": "3",
        },
        "lifecycle": {"enabled": True, "data_retention": "7d"},
        "data_stream_options": {"failure_store": {"enabled": False}},
    }
    assert found["metrics-shipper.disk@package"].body["template"]["settings"] == {
        "index.codec": "best_compression",
        "index.mapping.total_fields.limit": "2000",
    }
    late = found["metrics-shipper.disk.late-default"].body
    assert late["index_patterns"] == ["metrics-shipper.disk.late-default"]
    assert late["data_stream"] == {}
    assert "index.mode" not in late["template"]["settings"]


def test_every_template_is_composed_of_rendered_components_that_come_before() -> None:
    for layout in ("datastream", "dated"):
        seen: set[str] = set()
        for one in render(Index(layout=layout)):
            assert set(one.body.get("composed_of", ())) <= seen
            seen.add(one.name)


def test_dated_indices_are_no_data_streams() -> None:
    found = [one for one in render(Index(layout="dated")) if one.kind == "index"]
    assert found
    for one in found:
        assert one.body["index_patterns"] == [f"{one.name}-*"]
        assert "data_stream" not in one.body


def test_what_a_server_lacks_is_left_out() -> None:
    found = by_name(Index(), Features(look_back=False, lifecycle=False, failure_store=False))
    assert found["metrics-shipper.host-default"].body["template"] == {"settings": {"index.mode": "time_series"}}
    assert "template" not in found["metrics-shipper.host.late-default"].body


def test_a_server_without_the_module_must_be_told_by_what_to_route() -> None:
    found = by_name(Index(), Features(routing_path=True))["metrics-shipper.disk-default"].body["template"]
    assert found["settings"]["index.routing_path"] == ["host.name", "host.id", "system.diskio.name"]


@pytest.mark.parametrize("names", [True, False])
def test_names_of_a_series_are_dimensions_where_the_server_takes_so_many(names: bool) -> None:
    component = by_name(Index(), Features(names=names))["metrics-shipper.cgroup@package"].body["template"]
    properties = component["mappings"]["properties"]
    wanted = {"type": "keyword", **({"time_series_dimension": True} if names else {"ignore_above": 1024})}
    assert properties["container"]["properties"]["image"]["properties"]["name"] == wanted
    assert properties["cgroup"]["properties"]["entity"] == wanted
    assert properties["cgroup"]["properties"]["path"] == {"type": "keyword", "time_series_dimension": True}
    count = sum(field.kind in {Kind.DIMENSION, Kind.NAME} for field in DATASETS["cgroup"].fields)
    assert count <= 16


def test_templates_of_one_namespace_are_not_those_of_another() -> None:
    mine, other = by_name(Index(namespace="a", retention_days=90)), by_name(Index(namespace="b", retention_days=7))
    shared = {name: one.body for name, one in mine.items() if one.kind == "component"}
    assert shared == {name: one.body for name, one in other.items() if one.kind == "component"}
    assert not {name for name, one in mine.items() if one.kind == "index"} & other.keys()
    assert mine["metrics-shipper.host-a"].body["index_patterns"] == ["metrics-shipper.host-a"]


def test_labels_that_are_fields_of_their_own_belong_to_the_namespace() -> None:
    found = by_name(Index(label_fields=("rack",)))
    template = found["metrics-shipper.host-default"].body["template"]["mappings"]["properties"]
    assert template["host"]["properties"]["labels"]["properties"] == {
        "rack": {"type": "keyword", "time_series_dimension": True}
    }
    late = found["metrics-shipper.host.late-default"].body["template"]["mappings"]["properties"]
    assert late["host"]["properties"]["labels"]["properties"] == {"rack": {"type": "keyword", "ignore_above": 1024}}


def test_keeping_for_ever_is_a_lifecycle_without_retention() -> None:
    body = by_name(Index(retention_days=0))["metrics-shipper.host-default"].body
    assert body["template"]["lifecycle"] == {"enabled": True}


def test_only_the_operators_component_is_the_operators() -> None:
    assert [one.name for one in render(Index()) if one.operators] == [templates.CUSTOM]


@pytest.mark.parametrize("layout", ["datastream", "dated"])
def test_setup_prints_every_request_without_a_server(
    layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_API_KEY", "hunter2")
    where = ["--elasticsearch-hosts", "http://nosuch.invalid:9200", "--index-layout", layout]
    assert cli.main(["setup", "--print", *where]) == 0
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    lines = shown.splitlines()
    sent = {line: lines[i + 1] for i, line in enumerate(lines) if line.startswith("PUT ")}
    for one in render(Index(layout=layout)):
        assert json.loads(sent.pop(f"PUT {one.path}")) == one.body
    streams = [f"PUT /_data_stream/metrics-shipper.{name}-default" for name, one in DATASETS.items() if one.default]
    roles = [f"PUT /_security/role/{name}" for name in keys.ROLES]
    assert list(sent) == [*(streams if layout == "datastream" else []), *roles]
    assert lines[lines.index(f"PUT /_component_template/{templates.CUSTOM}") - 1] == "# only if absent"
