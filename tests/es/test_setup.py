"""Set-up against real servers of both versions: what they take, keep and give back, and documents in both layouts.

These servers have no way to remove a data stream or the template it uses, so a module of its own servers, and
namespaces, keep the tests apart.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from captured import CapturedRoot, Ticks
from fleetdocs import Fleet
from moments import HOSTS
from sharing import in_memory
from sites import running

from shipper import cli
from shipper.deliver import client
from shipper.deliver.document import Writer
from shipper.doctor import delivery
from shipper.schema import stream_names, templates
from shipper.schema.datasets import DATASETS
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.dashboards.boards import BOARDS

LAYOUTS = ("datastream", "dated")
NOW_MS = int(time.time()) * 1000
ENVELOPE = {"host.name": "node-1", "host.id": "0" * 32, "event.module": "system", "labels": {"rack": "a1"}}


@pytest.fixture(scope="module", params=shipper_eslocal.VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[shipper_eslocal.Cluster]:
    with ExitStack() as stack:
        with in_memory():
            cluster = stack.enter_context(shipper_eslocal.cluster(version=request.param))
        yield cluster


@pytest.fixture(scope="module")
def shared(server: shipper_eslocal.Cluster) -> str:
    """A namespace that is set up; tests have documents of different hosts in it."""
    name = f"t{secrets.token_hex(4)}"
    set_up(server, Index(replicas=0, namespace=name))
    return name


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def configured(server: shipper_eslocal.Cluster, index: Index) -> Config:
    return Config(elasticsearch=Elasticsearch(hosts=(server.url,)), index=index)


def set_up(server: shipper_eslocal.Cluster, index: Index) -> list[str]:
    """The lines that set-up says."""
    config, lines = configured(server, index), list[str]()
    with client.connect(config) as connection:
        setup.install(connection, config, lines.append)
    return lines


def actions(lines: list[str]) -> dict[str, str]:
    """Template name → what was done."""
    words = [line.split() for line in lines if " template " in line]
    return {found[3].rstrip(":"): found[0] for found in words}


def put_version(server: shipper_eslocal.Cluster, name: str, version: int) -> Mapping[str, Any]:
    """Make the server's template ``name`` one of another version, recognisable by its description."""
    (found,) = server.request("GET", f"/_index_template/{name}")["index_templates"]
    body = {key: value for key, value in found["index_template"].items() if not key.endswith("_millis")}
    body["_meta"] = {"version": version, "description": "of another version"}
    server.request("PUT", f"/_index_template/{name}", body)
    return body


def meta(server: shipper_eslocal.Cluster, name: str) -> Any:
    (found,) = server.request("GET", f"/_index_template/{name}")["index_templates"]
    return found["index_template"]["_meta"]


def test_second_setup_changes_nothing(server: shipper_eslocal.Cluster, layout: str) -> None:
    index = Index(layout=layout)
    names = {one.name for one in templates.render(index)}
    first, second = actions(set_up(server, index)), actions(set_up(server, index))
    assert first.keys() == second.keys() == names
    assert set(second.values()) == {"unchanged"}


def test_what_the_server_lacks_is_said(server: shipper_eslocal.Cluster) -> None:
    lines = set_up(server, Index())
    assert f"server     Elasticsearch {server.version}" == lines[0]
    assert "left out   index.look_back_time: the server has no module data-streams" in lines
    assert any(line.startswith("not kept   retention of 30 days: ") for line in lines)


def test_older_is_upgraded_newer_is_kept(server: shipper_eslocal.Cluster, layout: str) -> None:
    index = Index(layout=layout)
    set_up(server, index)
    older, newer = [one.name for one in templates.render(index) if one.kind == "index"][:2]
    put_version(server, older, 0)
    put_version(server, newer, templates.TEMPLATE_VERSION + 1)
    lines = set_up(server, index)
    assert actions(lines)[older] == "upgraded"
    assert f"kept       index template {newer}: newer than this shipper, unchanged" in lines
    assert meta(server, older)["version"] == templates.TEMPLATE_VERSION
    assert meta(server, newer)["description"] == "of another version"
    put_version(server, newer, 0)
    assert actions(set_up(server, index))[newer] == "upgraded"


def test_change_of_configuration_updates(server: shipper_eslocal.Cluster) -> None:
    set_up(server, Index())
    changed = actions(set_up(server, Index(retention_days=3, replicas=0)))
    assert {name for name, action in changed.items() if action == "updated"} == {
        one.name for one in templates.render(Index()) if one.kind == "index"
    }
    (found,) = server.request("GET", "/_index_template/metrics-shipper.host-default")["index_templates"]
    assert found["index_template"]["template"]["lifecycle"]["data_retention"] == "3d"
    assert set(actions(set_up(server, Index())).values()) == {"updated", "unchanged"}


def test_operators_component_is_never_touched_and_counts(server: shipper_eslocal.Cluster, layout: str) -> None:
    set_up(server, Index(layout=layout))
    custom = {"template": {"settings": {"index.refresh_interval": "7s"}}}
    server.request("PUT", f"/_component_template/{templates.CUSTOM}", custom)
    set_up(server, Index(layout=layout))
    name = stream_names.stream("host", "default") if layout == "datastream" else stream_names.dated_index("host", 0)
    made = server.request("POST", f"/_index_template/_simulate_index/{name}")
    assert made["template"]["settings"]["index"]["refresh_interval"] == "7s"
    server.request("PUT", f"/_component_template/{templates.CUSTOM}", {"template": {}})


def documents(tmp_path: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """One tick of the captured host, by dataset, with the envelope of a host of that name."""
    ticks = Ticks(CapturedRoot(next(host for host in sorted(HOSTS.iterdir()) if host.is_dir()), tmp_path))
    ticks.tick()
    found = ticks.tick()
    ticks.close()
    return {
        dataset: [
            {**ENVELOPE, "host.name": name, "@timestamp": NOW_MS, "event.dataset": f"shipper.{dataset}", **one}
            for one in entities.values()
        ]
        for dataset, entities in found.items()
    }


def send(
    server: shipper_eslocal.Cluster, index: str, dataset: str, values: list[dict[str, Any]], ids: bool
) -> list[dict[str, Any]]:
    """Bulk-create, and the verdict on each document."""
    writer = Writer(DATASETS[dataset].fields)
    lines = []
    for number, one in enumerate(values):
        named = {"_id": f"{NOW_MS}-{number}"} if ids else {}
        lines += [json.dumps({"create": {"_index": index, **named}}).encode(), writer.write(dict(one))]
    with client.connect(configured(server, Index())) as connection:
        answer = connection.perform_request(
            "POST",
            "/_bulk?refresh=true",
            headers={"accept": "application/json", "content-type": "application/x-ndjson"},
            body=b"\n".join(lines) + b"\n",
        )
    return [item["create"] for item in answer.body["items"]]


def flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a mapping's properties by their dotted names."""
    for name, one in tree.items():
        if "properties" in one:
            yield from flat(one["properties"], f"{path}{name}.")
        else:
            yield f"{path}{name}", one


def test_captured_documents_are_stored_once_and_found(
    server: shipper_eslocal.Cluster, layout: str, shared: str, tmp_path: Path
) -> None:
    set_up(server, Index(layout=layout, replicas=0, namespace=shared))
    for dataset, values in documents(tmp_path, "stored").items():
        stream = stream_names.stream(dataset, shared)
        index = stream if layout == "datastream" else stream_names.dated_index(dataset, NOW_MS)
        ids = layout == "dated"
        first = send(server, index, dataset, values, ids)
        assert [one.get("error") for one in first if one["status"] != 201] == []
        again = send(server, index, dataset, values, ids)
        assert {one["status"] for one in again} == {409}
        query = {"query": {"bool": {"filter": [{"term": {"host.name": "stored"}}, {"term": {"labels.rack": "a1"}}]}}}
        assert server.request("POST", f"/{index}/_search?size=0", query)["hits"]["total"]["value"] == len(values)


def test_mapping_in_the_server_is_what_was_rendered(
    server: shipper_eslocal.Cluster, layout: str, shared: str, tmp_path: Path
) -> None:
    set_up(server, Index(layout=layout, replicas=0, namespace=shared))
    for dataset, values in documents(tmp_path, "mapped").items():
        stream = stream_names.stream(dataset, shared)
        index = stream if layout == "datastream" else stream_names.dated_index(dataset, NOW_MS)
        send(server, index, dataset, values[:1], layout == "dated")
        (there,) = server.request("GET", f"/{index}/_mapping").values()
        wanted = templates.mappings(DATASETS[dataset].fields, DATASETS[dataset].aliases, series=layout == "datastream")
        assert there["mappings"]["dynamic"] == "false"
        assert there["mappings"]["date_detection"] is False
        assert dict(flat(there["mappings"]["properties"])) == dict(flat(wanted["properties"]))


def test_late_stream_takes_what_is_old(server: shipper_eslocal.Cluster, shared: str, tmp_path: Path) -> None:
    old = {**documents(tmp_path, "old")["host"][0], "@timestamp": NOW_MS - 90 * 86_400_000}
    late = stream_names.late_stream("host", shared)
    assert [one["status"] for one in send(server, late, "host", [old], ids=True)] == [201]
    (settings,) = server.request("GET", f"/{late}/_settings?flat_settings=true").values()
    assert settings["settings"].get("index.mode", "standard") == "standard"


def test_doctor_knows_the_namespace_that_has_documents(
    server: shipper_eslocal.Cluster, shared: str, tmp_path: Path
) -> None:
    stream = stream_names.stream("host", shared)
    assert [
        one["status"] for one in send(server, stream, "host", documents(tmp_path, "seen")["host"][:1], ids=False)
    ] == [201]
    config = configured(server, Index(namespace=shared))
    with client.connect(config) as connection:
        assert list(delivery.namespace(connection, config)) == []
        (found,) = delivery.namespace(connection, configured(server, Index(namespace="elsewhere")))
    assert found.text.startswith("namespace elsewhere has no documents; ")
    assert shared in found.text


def test_metric_is_found_by_range_and_averaged_without_an_index(
    server: shipper_eslocal.Cluster, shared: str, tmp_path: Path
) -> None:
    index = stream_names.stream("host", shared)
    send(server, index, "host", documents(tmp_path, "ranged")["host"], ids=False)
    query = {
        "query": {
            "bool": {"filter": [{"term": {"host.name": "ranged"}}, {"range": {"system.memory.total": {"gt": 0}}}]}
        },
        "aggs": {"mean": {"avg": {"field": "system.memory.total"}}},
    }
    answer = server.request("POST", f"/{index}/_search?size=0", query)
    assert answer["hits"]["total"]["value"] == 1
    assert answer["aggregations"]["mean"]["value"] > 0


def test_upgrade_brings_new_fields_into_the_index_written_to(
    server: shipper_eslocal.Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shipper.fields.field import gauge

    set_up(server, Index(replicas=0, namespace=namespace))
    index = stream_names.stream("agent", namespace)
    document = {**ENVELOPE, "@timestamp": NOW_MS, "event.dataset": "shipper.agent"}
    assert [one["status"] for one in send(server, index, "agent", [document], ids=False)] == [201]
    new = gauge(f"agent.{namespace}.count", "count", "New in the next version", "test")
    agent = DATASETS["agent"]
    monkeypatch.setitem(DATASETS, "agent", replace(agent, fields=(*agent.fields, new)))
    monkeypatch.setattr(templates, "TEMPLATE_VERSION", templates.TEMPLATE_VERSION + 1)
    lines = set_up(server, Index(replicas=0, namespace=namespace))
    assert actions(lines)["metrics-shipper.agent@package"] == "upgraded"
    assert [line for line in lines if line.startswith("not yet")] == []
    (there,) = server.request("GET", f"/{index}/_mapping").values()
    assert new.name in dict(flat(there["mappings"]["properties"]))
    monkeypatch.undo()
    known = templates.Features(look_back=False, routing_path=True)
    for one in templates.render(Index(namespace=namespace), known):
        server.request("PUT", one.path, dict(one.body))


def test_online_check_of_a_server_that_was_set_up(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    from shipper import cli

    wanted = ["--elasticsearch-hosts", server.url, "--index-layout", "dated", "--host-name", "a"]
    set_up(server, Index(layout="dated"))
    assert cli.main(["check", "--online", *wanted]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert f"ok     Elasticsearch {server.version} at {server.url}" in shown
    assert "ok     clock agrees with the server's" in shown
    assert f"ok     templates of version {templates.TEMPLATE_VERSION} are installed" in shown
    put_version(server, "shipper-host", 0)
    assert cli.main(["check", "--online", *wanted]) == 4
    assert (
        "wrong  templates are older than this shipper: shipper-host; run shipper setup"
        in capsys.readouterr().out.splitlines()
    )


def test_stages_of_downsampling_reach_the_server_or_are_said_to_be_left_out(server: shipper_eslocal.Cluster) -> None:
    lines = set_up(server, Index(downsample=("7d:10m", "30d:1h"), retention_days=90))
    (found,) = server.request("GET", "/_index_template/metrics-shipper.host-default")["index_templates"]
    lifecycle = found["index_template"]["template"]["lifecycle"]
    assert lifecycle["data_retention"] == "90d"
    stages = [(stage["after"], stage["fixed_interval"]) for stage in lifecycle.get("downsampling", ())]
    left_out = "left out   downsampling: the server has no module for it" in lines
    assert stages == ([] if left_out else [("7d", "10m"), ("30d", "1h")])
    set_up(server, Index())


def test_a_dead_server_among_several_is_named_and_spoils_nothing(
    server: shipper_eslocal.Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = "http://127.0.0.1:9"
    options = ["--elasticsearch-hosts", f"{dead},{server.url}", "--host-name", "a", "--host-verify", "false"]
    options += ["--spool", str(tmp_path), "--collect-datasets", "host"]
    for _ in range(3):
        cli.main(["check", "--online", *options])
        said = capsys.readouterr().out.splitlines()
        assert f"note   {dead}: connection refused; the other servers are used" in said
        assert not [line for line in said if line.startswith("wrong") and "refused" in line]
        assert any(line.startswith("ok     Elasticsearch ") for line in said)


def test_without_security_there_are_no_keys_and_the_error_says_so(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--create-key", "--create-roles"):
        assert cli.main(["setup", option, "--elasticsearch-hosts", server.url, "--yes"]) == 4
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "security is off on this server" in error


def test_what_compose_provisions_is_what_the_shipper_needs(server: shipper_eslocal.Cluster, tmp_path: Path) -> None:
    """Templates by curl into a real Elasticsearch take the shipper's documents; dashboards go into Kibana.

    The servers here lack the module that knows look_back_time and fills routing_path.
    """
    root = Path(__file__).parents[2]
    for one in templates.render(Index(), templates.Features(look_back=False, routing_path=True)):
        file = tmp_path / f"{one.kind}_template" / f"{one.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(one.body))
        assert (root / "mappings" / file.relative_to(tmp_path)).exists()
    with running() as kibana_site:
        environment = {
            "PATH": os.environ["PATH"],
            "ELASTICSEARCH": server.url,
            "KIBANA": kibana_site.url,
            "TEMPLATES": str(tmp_path),
            "BOARDS": str(root / "dashboards/kibana/boards"),
        }
        for _ in range(2):
            subprocess.run(["sh", root / "dashboards/compose/provision.sh"], env=environment, check=True, timeout=60)
        fleet = Fleet(hosts=1, containers=1, ticks=2, period_s=10)
        for body in fleet.bulk():
            assert server.request("POST", "/_bulk", body.data)["errors"] is False
        caps = server.request("GET", "/metrics-shipper.host-default/_field_caps?fields=system.load.1")["fields"]
        assert caps["system.load.1"]["float"]["time_series_metric"] == "gauge"
        assert {id_ for _, type_, id_ in kibana_site.objects if type_ == "dashboard"} == {board.uid for board in BOARDS}
