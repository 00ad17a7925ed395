"""The user's own numbers in real servers of both versions and layouts: stored once, found, typed, within bounds."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from grafana_target import Page, fields_of_type
from namespaces import prepare

from shipper.agent.loop import Agent, use_utc
from shipper.base.log import Log
from shipper.collect.metric import sources
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH
from shipper.schema import stream_names
from shipper.server.capabilities import examine, features
from shipper.server.streams import compare, expected, present
from shipper.settings.config import Bulk, Collect, Config, Elasticsearch, Host, Index, Spool
from shipper.settings.sources import Textfile
from shipper.view.alerts import adjust, own
from shipper.view.alerts.check import check, of_host
from shipper.view.dashboards import ask, grafana
from shipper.view.dashboards.boards import EXPLORER

CAPTURED = Path(__file__).parents[1] / "expositions/node_exporter_collectors.txt"
TEXT = """\
# TYPE jobs_total counter
jobs_total{queue="a.b"} %d
# TYPE a gauge
a 1
# TYPE a.b gauge
{"a.b"} 2.5
# TYPE size_bytes gauge
size_bytes 4096
# TYPE done counter
done 7
# TYPE disk_total gauge
disk_total 9
"""

Run = Callable[..., Agent]


@pytest.fixture(params=["datastream", "dated"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(es: shipper_eslocal.Cluster, namespace: str, layout: str, tmp_path: Path) -> Config:
    files = tmp_path / "files"
    files.mkdir()
    (files / "node.prom").write_bytes(CAPTURED.read_bytes())
    return Config(
        elasticsearch=Elasticsearch(hosts=tuple(es.urls)),
        index=Index(layout=layout, namespace=namespace, replicas=0),
        collect=Collect(period_s=1, datasets=("metric", "agent"), ticks=3),
        # a busy server may take many seconds to map some hundred new fields, and the agent then sends again
        spool=Spool(directory=str(tmp_path / "spool"), flush_s=300),
        bulk=Bulk(backoff_max_s=1),
        host=Host(name=f"host-{namespace}", verify=False),
        metrics=(Textfile(name="text", directory=str(files)),),
    )


@pytest.fixture
def run(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(sources, "_WAIT_S", 60)  # on a busy machine a reading would come with a later tick
    use_utc()
    with client.connect(config) as connection:
        prepare(connection, config.index.layout)
        send = partial(client.bulk, connection, filter_path=FILTER_PATH)

        def start(after_tick: Callable[[int], None] = lambda _tick: None, **changes: Any) -> Agent:
            agent = Agent(replace(config, **changes), send, Log(journal=False))
            agent.run(after_tick)
            agent.ledger.spool.close()
            return agent

        yield start


def target(config: Config) -> str:
    return ",".join(stream_names.indices(config.index, "metric")[:1])


def documents(es: shipper_eslocal.Cluster, config: Config) -> list[Any]:
    es.request("POST", f"/{target(config)}/_refresh")
    body = {"size": 1000, "query": {"term": {"host.name": config.host.name}}, "sort": ["@timestamp"]}
    return [hit["_source"] for hit in es.request("POST", f"/{target(config)}/_search", body)["hits"]["hits"]]


def mapped(es: shipper_eslocal.Cluster, config: Config) -> Mapping[str, Any]:
    """Name → what the server knows of the field."""
    fields = es.request("GET", f"/{target(config)}/_field_caps?fields=metric.*,attributes.*")["fields"]
    return {name: next(iter(types.values())) for name, types in fields.items()}


def test_a_text_file_is_stored_typed_and_found(es: shipper_eslocal.Cluster, config: Config, run: Run) -> None:
    file = Path(config.metrics[0].directory) / "jobs.prom"  # type: ignore[attr-defined]
    file.write_text(TEXT % 10)

    def grow(_tick_ms: int) -> None:
        new = file.with_suffix(".tmp")
        new.write_text(TEXT % 30)
        new.rename(file)

    agent = run(grow)
    counts = agent.ledger.counts
    assert (counts.collected, counts.rejected, counts.duplicate) == (counts.stored, 0, 0)

    found = documents(es, config)
    jobs = [one for one in found if one.get("attributes", {}).get("queue") == "a.b"]
    assert [one["metric"]["jobs_total"] for one in jobs][0::2] == [10, 30]
    rates = [one["metric"]["jobs_total_per_s"] for one in jobs if "jobs_total_per_s" in one["metric"]]
    assert rates[0] > 0
    plain = [one for one in found if one.get("attributes") == {"textfile": "jobs.prom"}]
    assert {"a": 1, "a.b": 2.5, "size_bytes": 4096, "done": 7}.items() <= plain[0]["metric"].items()
    directories = {
        one["attributes"]["directory"]: one["metric"] for one in found if "directory" in one.get("attributes", {})
    }
    assert directories["/usr/bin"]["node_directory_size_bytes"] == 645414912
    status = [one["metricset"] for one in found if "attributes" not in one]
    assert len(status) == 3 and status[0]["label_sets"]["count"] == len(found) / 3 - 1

    fields = mapped(es, config)
    assert {fields[f"metric.{name}"]["type"] for name in ("a", "a.b", "done", "jobs_total_per_s")} == {"double"}
    assert fields["metric.size_bytes"]["meta"] == {"unit": ["byte"]}
    if config.index.layout == "datastream":
        kinds = {
            name: fields[f"metric.{name}"]["time_series_metric"] for name in ("a", "done", "disk_total", "jobs_total")
        }
        assert kinds == {"a": "gauge", "done": "counter", "disk_total": "gauge", "jobs_total": "counter"}
        assert fields["attributes.queue"]["time_series_dimension"]


@pytest.mark.parametrize("layout", ["datastream"], indirect=True)
def test_the_board_explores_any_metric_by_any_label(es: shipper_eslocal.Cluster, config: Config, run: Run) -> None:
    """With the variables as Grafana fills them in: names of fields by their type, put everywhere into the JSON."""
    run()
    found = documents(es, config)
    rendered = grafana.render(EXPLORER)
    variables = {one["name"]: one for one in json.loads(rendered)["templating"]["list"]}
    offered = {}
    for name in ("metric", "split"):
        wanted = json.loads(variables[name]["query"])
        pattern = re.compile(variables[name]["regex"].strip("/"))
        caps = es.request("GET", f"/{target(config)}/_field_caps?fields=*")["fields"]
        offered[name] = {one for one in fields_of_type(caps, wanted["type"]) if pattern.search(one)}
    assert {"metric.node_directory_size_bytes", "metric.inotify_instances"} <= offered["metric"]
    assert {"attributes.directory", "attributes.command", "host.name", "metricset.name"} <= offered["split"]
    assert not any(one.startswith(("system.", "metricset.")) for one in offered["metric"])

    chosen = rendered.replace("$metric", "metric.node_directory_size_bytes").replace("$split", "attributes.directory")
    times = [round(datetime.fromisoformat(one["@timestamp"]).timestamp() * 1000) for one in found]
    choices = {"namespace": config.index.namespace, "source": "text"}
    page = Page(json.loads(chosen), ask.span(times[0], times[-1], least_s=1), choices)
    panels = {panel["title"]: panel for panel in page.panels}
    for title in ("Mean", "Highest value"):
        answer = page.answer(panels[title], es.request("POST", "/_msearch", page.msearch(panels[title]))["responses"])
        assert answer.series.keys() == {"/etc", "/usr/bin", "/var/cache"}
        assert set(answer.series["/etc"]) <= {3579904.0, None}
    answer = page.answer(
        panels["Sources"], es.request("POST", "/_msearch", page.msearch(panels["Sources"]))["responses"]
    )
    assert answer.rows["text"][0] == 14

    check_alerts(config, times[-1])


ALERTS = """
[[rule]]
name = "large-directory"
title = "Directory is large"
field = "metric.node_directory_size_bytes"
measure = "max"
warning = 10000000
critical = 100000000
per = ["host.name", "attributes.directory"]
where = {"metricset.name" = "text"}
[[rule]]
name = "small-directory"
field = "metric.node_directory_size_bytes"
measure = "max"
falling = true
warning = 4000000
per = ["host.name", "attributes.directory"]
[[rule]]
name = "many-samples"
field = "metricset.samples.count"
measure = "max"
warning = 1000
"""


def check_alerts(config: Config, at_ms: int) -> None:
    """Rules of the operator about these metrics."""
    file = Path(config.spool.directory).parent / "alerts.toml"
    file.write_text(ALERTS)
    with client.connect(config) as connection:
        adjustments = adjust.load(str(file))
        checked = check(connection, config.index, at_ms, adjustments, ())
        of_this = of_host(connection, config.index, at_ms, adjustments, config.host.name)
        assert of_this == checked.alerts
        assert own.line(of_this[0]) == (
            f"own rule large-directory, critical: /usr/bin on {config.host.name}: Directory is large: 616 MiB"
        )
        assert of_host(connection, config.index, at_ms, adjustments, "other") == ()
    told = [(one.severity, one.who, one.text) for one in checked.alerts]
    name = config.host.name
    assert sorted(told) == [
        ("critical", f"/usr/bin on {name}", "Directory is large: 616 MiB"),
        ("warning", f"/etc on {name}", "metric.node_directory_size_bytes: 3.41 MiB"),
        ("warning", f"/var/cache on {name}", "Directory is large: 14.3 MiB"),
    ]


@pytest.mark.parametrize("layout", ["datastream"], indirect=True)
def test_too_many_names_reject_no_document_and_setup_finds_nothing_to_change(
    es: shipper_eslocal.Cluster, config: Config, run: Run
) -> None:
    """As if a fleet sent more names than the mapping may have: those that are too many are stored, but not mapped."""
    names = "".join(f"name_{i} {i}\n" for i in range(1200))
    source = replace(config.metrics[0], max_names=1500)
    file = Path(config.metrics[0].directory)  # type: ignore[attr-defined]
    for number in range(2):
        (file / "many.prom").write_text(names.replace("name", f"name{number}"))
        agent = run(metrics=(source,), collect=replace(config.collect, ticks=1))
    assert agent.ledger.counts.rejected == 0
    found = documents(es, config)
    assert sum("name1_1199" in one.get("metric", {}) for one in found) == 1
    assert 1500 < len(mapped(es, config)) <= 2000
    with client.connect(config) as connection:
        server = examine(connection)
        wanted = expected(connection, config, features(server, "datastream"))
        (stream,) = [one for one in present(connection, config, server) if one.name == target(config)]
        comparison = compare(stream, wanted[stream.name])
    assert (comparison.steps, comparison.later) == ([], [])


@pytest.mark.parametrize("layout", ["datastream"], indirect=True)
def test_hostile_names_and_values_reject_no_document(config: Config, run: Run, es: shipper_eslocal.Cluster) -> None:
    """Hostile names and values: whatever a file says, the server takes the document."""
    lines = [r'{"a\\\"b","\n. ."="x"} 1', r'{"..","q"="x"} 2', r'{" ","_id"="v"} 3', r'{"☂.☂"} 4', r'{"."} 5']
    labels = ",".join(f'l{number}="x"' for number in range(31))
    lines += [f'{{"c","q"="{"y" * 9000}"}} 6', f'{{"d","{"l" * 900}"="x"}} 7', f"e{{{labels}}} 8"]
    file = Path(config.metrics[0].directory, "h.prom")  # type: ignore[attr-defined]
    file.write_text("\n".join(lines))
    agent = run(collect=replace(config.collect, ticks=1))
    assert (agent.ledger.counts.rejected, agent.ledger.spooled) == (0, 0)
    found: dict[str, float] = {}
    for one in documents(es, config):
        found |= one.get("metric", {})
    assert {"a__b": 1, "_": 3, "_._": 4, "c": 6, "d": 7, "e": 8}.items() <= found.items()
