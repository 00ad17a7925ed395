"""Each alert rule on a real Elasticsearch: quiet before a fault, fires for its entity during it, clear after it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fleetload
import pytest
import shipper_eslocal
import yaml
from alert_target import firing
from calm import Breach, Calm

from shipper import cli
from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.alerts import adjust, kibana
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.check import Checked, check
from shipper.view.alerts.judge import below, by_entity
from shipper.view.alerts.model import Found, Measure, Rule
from shipper.view.alerts.rules import RULES
from shipper.view.dashboards import model
from shipper.view.dashboards.model import HOST
from shipper.view.msearch import searched

ALERTING = Path(__file__).parents[2] / "dashboards/grafana/alerting/shipper.yaml"
BEGIN, END, AFTER, TICKS = 370, 405, 470, 475
UNCHANGED = Adjustments()
FAULT = range(BEGIN, END)
VAR = {"system.filesystem.mount_point": "/var"}
WEB = {"container.name": "web-1"}
BY_NAME = {rule.name: rule for rule in RULES}
# Host → what is wrong with it
NUMBERS, FILLING, SILENT, GONE = 1, 2, 3, 4
ENTITIES: dict[str, dict[str, Any]] = {
    "host": {},
    "agent": {},
    "filesystem": {"system.filesystem.mount_point": "/"},
    "disk": {"system.diskio.name": "vda"},
    "network": {"system.network.name": "eth0"},
    "raid": {"system.raid.name": "md0"},
    "sensor": {"system.sensor.name": "coretemp-0"},
    "cgroup": WEB,
}
EXTRA = {
    "raid": {"system.raid.name": "md0", "system.raid.disks.failed": 0, "system.raid.disks.missing.count": 0},
    "sensor": {"system.sensor.name": "coretemp-0", "system.sensor.temperature.celsius": 50.0},
}


def _met(test: model.Test) -> Any:
    """A value that meets a condition."""
    if test.below is not None:
        return test.below / 2
    if test.above is not None:
        return test.above + 1
    if not test.values:
        return "trouble"
    return test.values[0] == "true" if test.values[0] in ("true", "false") else test.values[0]


def _whole(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value) if isinstance(value, float) and value > 10 else value for name, value in values.items()}


def _fault(rule: Rule) -> Breach:
    """Documents that breach ``rule``: the threshold itself if it is whole, else just above, as floats are inexact."""
    entity = ENTITIES[rule.dataset]

    def values(tick: int) -> dict[str, Any]:
        met = {test.field: _met(test) for test in (*rule.suspects, *rule.last)}
        match rule.measure:
            case Measure.COUNT:
                return met | _whole({test.field: _met(test) for test in rule.where})
            case Measure.GROWTH:
                return met | {rule.field: tick - BEGIN}
            case Measure.UNIQUE:
                return met | {rule.field: f"shop/web:{tick // 10}"}
            case Measure.TREND:  # for hours; what is used less than half is not judged
                return {rule.field: 0.1 if tick >= END else 0.1 + 0.001 * tick}
            case _:
                bound = rule.steps.bad * 1.000001 if isinstance(rule.steps.bad, float) else rule.steps.bad
                return met | _whole({rule.field: -bound if rule.signed else bound})

    if rule.measure is Measure.TREND:
        return Breach(rule.dataset, FILLING, range(TICKS), values, entity)
    return Breach(rule.dataset, NUMBERS, FAULT, values, entity)


def _available(tick: int) -> dict[str, Any]:
    """20 GiB available until shortly before the fault ends; then 1 GiB, which lasts for a quarter of an hour."""
    size = 1 << 30 if END - 30 <= tick < END else 20 << 30
    return {"system.filesystem.available": size, "system.filesystem.used.pct": 0.88 if size == 1 << 30 else 0.5}


OWN = {
    "host-silent": SILENT,
    "container-gone": GONE,
    "filesystem-fills": FILLING,
    "filesystem-read-only": NUMBERS,
}
SOON = {rule.name: FILLING for rule in RULES if rule.measure is Measure.TREND}


def fleet(namespace: str) -> Calm:
    return Calm(
        hosts=5, containers=3, ticks=TICKS, period_s=60, namespace=namespace, extra=EXTRA,
        breaches=(
            *(_fault(rule) for rule in RULES if rule.name not in OWN),
            Breach("filesystem", FILLING, range(TICKS), _available, {"system.filesystem.mount_point": "/"}),
            Breach("filesystem", NUMBERS, FAULT, {"system.filesystem.read_only": True}, VAR),
        ),
        silent={
            SILENT: (*range(300), *range(END - 10, END + 20)),
            **dict.fromkeys((0, NUMBERS, GONE), range(300)),  # only filling takes hours
        },
        missing=(Breach("cgroup", GONE, range(END - 10, END + 20), entity=WEB),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(es8: shipper_eslocal.Cluster) -> shipper_eslocal.Cluster:
    """The version that has ES|QL here, for the newer rules of Kibana."""
    return es8


@pytest.fixture(scope="module")
def faulty(server: shipper_eslocal.Cluster) -> Calm:
    made = fleet("faults")
    fleetload.load([server.url], made, workers=1)
    return made


def config(server: shipper_eslocal.Cluster, namespace: str) -> Config:
    return Config(elasticsearch=Elasticsearch(hosts=(server.url,)), index=Index(namespace=namespace))


def judged(
    server: shipper_eslocal.Cluster,
    made: Calm,
    tick: int,
    adjustments: Adjustments = UNCHANGED,
    rules: Sequence[Rule] = RULES,
) -> Checked:
    with client.connect(config(server, made.namespace)) as connection:
        return check(connection, Index(namespace=made.namespace), made.tick_ms(tick), adjustments, rules)


@pytest.fixture(scope="module")
def during(server: shipper_eslocal.Cluster, faulty: Calm) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {rule.name: [] for rule in RULES}
    for alert in judged(server, faulty, END - 1).alerts:
        found[alert.rule.name].append(alert)
    return found


def test_before_the_faults_nothing_fires(server: shipper_eslocal.Cluster, faulty: Calm) -> None:
    assert [alert.key for alert in judged(server, faulty, BEGIN - 1).alerts] == []


def test_after_the_faults_everything_is_clear(server: shipper_eslocal.Cluster, faulty: Calm) -> None:
    assert [alert.key for alert in judged(server, faulty, AFTER).alerts] == []


@pytest.mark.parametrize("name", BY_NAME)
def test_during_the_faults_the_rule_names_its_entity(during: dict[str, list[Found]], faulty: Calm, name: str) -> None:
    rule, (alert,) = BY_NAME[name], during[name]
    host = faulty.host_name((OWN | SOON).get(name, NUMBERS))
    assert alert.host == host
    if rule.dataset == "cgroup":
        assert alert.who == f"web-1@{host}"
    elif name == "filesystem-read-only":
        assert alert.who == f"/var on {host}"
    elif rule.per != (HOST,):
        assert alert.who == f"{next(iter(ENTITIES[rule.dataset].values()))} on {host}"
    expected = "notice" if rule.notice else "warning" if rule.mild or name == "host-silent" else "critical"
    assert alert.severity == expected


def test_an_alert_on_a_host_names_who_uses_most(during: dict[str, list[Found]]) -> None:
    (cpu,), (silent,) = during["host-cpu"], during["host-silent"]
    containers, processes = cpu.culprits
    assert containers.startswith("containers: ") and containers.count(" cores") == 3
    assert processes.startswith("processes: ") and processes.count("(10") == 3
    assert silent.culprits == ()


def test_an_alert_on_a_container_has_the_state_of_its_host(during: dict[str, list[Found]]) -> None:
    (memory,) = during["container-memory"]
    (line,) = memory.culprits
    assert line.startswith("its host: CPU ") and "memory pressure 40 %" not in line and "I/O pressure" in line


def test_thresholds_may_differ_by_label_and_hosts_be_muted(
    server: shipper_eslocal.Cluster, faulty: Calm, tmp_path: Path
) -> None:
    rack = f"r{NUMBERS % 4}"

    def fired(text: str) -> set[str]:
        (tmp_path / "alerts.toml").write_text(text)
        return {
            alert.rule.name
            for alert in judged(server, faulty, END - 1, adjust.load(str(tmp_path / "alerts.toml"))).alerts
            if alert.host == faulty.host_name(NUMBERS)
        }

    usual = fired("")
    batch = '[[adjust]]\nrules = ["host-cpu"]\nwhere = {{"labels.rack" = "{}"}}\nwarning = 0.99\ncritical = 1.0\n'
    assert usual - fired(batch.format(rack)) == {"host-cpu"}
    assert fired(batch.format("other")) == usual
    assert usual - fired('[[mute]]\nrules = ["disk-*"]\nwhere = {"host.name" = "node-00?"}\n') == {
        *("disk-busy", "disk-queue", "disk-read-latency", "disk-write-latency")
    }
    assert fired('[[mute]]\nrules = ["*"]\nuntil = 2020-01-01T00:00:00Z\n') == usual


def test_a_lower_threshold_finds_what_the_usual_one_does_not(
    server: shipper_eslocal.Cluster, faulty: Calm, tmp_path: Path
) -> None:
    (tmp_path / "alerts.toml").write_text('[[adjust]]\nrules = ["host-memory"]\nwarning = 0.0001\n')
    found = judged(server, faulty, BEGIN - 1, adjust.load(str(tmp_path / "alerts.toml"))).alerts
    assert [alert.key for alert in found] == [("host-memory", faulty.host_name(host)) for host in range(5)]
    assert {alert.severity for alert in found} == {"warning"}


@pytest.mark.parametrize(("tick", "code"), [(BEGIN - 1, 0), (END - 1, 2), (-800, 3)])
def test_the_command_has_the_exit_status_of_a_monitoring_plugin(
    server: shipper_eslocal.Cluster, faulty: Calm, capfd: pytest.CaptureFixture[str], tick: int, code: int
) -> None:
    at = datetime.fromtimestamp(faulty.tick_ms(tick) / 1000, UTC).isoformat()
    command = ["alerts", "check", "--at", at, "--elasticsearch-hosts", server.url, "--index-namespace", "faults"]
    assert cli.main(command) == code
    text = capfd.readouterr().out
    assert text.startswith(("OK: ", "WARNING: ", "CRITICAL: ", "UNKNOWN: ")[code])
    assert cli.main([*command, "--json"]) == code
    found = json.loads(capfd.readouterr().out)
    assert (found["status"], len(found["alerts"])) == (code, text.count("["))


def test_without_a_server_the_status_is_unknown(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["alerts", "check", "--elasticsearch-hosts", "http://127.0.0.1:1"]) == 3
    assert capfd.readouterr().err.startswith("UNKNOWN: http://127.0.0.1:1: ")


# Host → how it ends, and which class of silence that is
ENDS: dict[int, tuple[str, dict[str, Any]]] = {
    0: ("down", {}),
    1: ("stopped", {"agent.stopped": True}),
    2: ("clock", {"agent.clock.skew.ms": -900_000}),
    3: ("cut off: all 2 hosts with labels.rack=r3", {}),
    7: ("cut off: all 2 hosts with labels.rack=r3", {}),
}


def test_a_silence_is_classified(server: shipper_eslocal.Cluster) -> None:
    fleet = Calm(
        hosts=9, ticks=60, period_s=60, namespace="silence", datasets=("agent",),
        silent={host: range(40, 60) for host in ENDS},
        breaches=tuple(Breach("agent", host, range(39, 40), values) for host, (_, values) in ENDS.items()),
    )  # fmt: skip
    fleetload.load([server.url], fleet, workers=1)
    silent = (BY_NAME["host-silent"],)
    found = {alert.host: alert for alert in judged(server, fleet, 44, rules=silent).alerts}
    assert {host: alert.severity for host, alert in found.items()} == {
        fleet.host_name(host): "warning" for host in ENDS
    }
    for host, (why, _) in ENDS.items():
        assert found[fleet.host_name(host)].note.startswith(why)
    assert judged(server, fleet, 42, rules=silent).alerts == (), "three minutes are no silence yet"
    later = {alert.host: alert.severity for alert in judged(server, fleet, 59, rules=silent).alerts}
    assert later == {fleet.host_name(host): "warning" if ENDS[host][0] == "stopped" else "critical" for host in ENDS}


def test_a_host_whose_documents_are_early_has_a_wrong_clock(server: shipper_eslocal.Cluster) -> None:
    fleet = Calm(hosts=3, ticks=60, period_s=60, namespace="early", datasets=("agent",), silent={1: range(20, 50)})
    fleetload.load([server.url], fleet, workers=1)
    (alert,) = judged(server, fleet, 30).alerts
    assert (alert.host, alert.note) == ("node-001", "clock: its documents are 29 min early")


def test_if_all_are_silent_no_host_is_called_down(server: shipper_eslocal.Cluster) -> None:
    fleet = Calm(hosts=4, ticks=20, period_s=60, namespace="none", datasets=("agent",))
    fleetload.load([server.url], fleet, workers=1)
    found = judged(server, fleet, 40).alerts
    assert [alert.note for alert in found] == ["cut off: all 4 hosts are silent"] * 4


PROVISIONED = [rule for group in yaml.load(ALERTING.read_text(), yaml.CSafeLoader)["groups"] for rule in group["rules"]]


def _fires(server: shipper_eslocal.Cluster, made: Calm, tick: int) -> dict[str, list[dict[str, str]]]:
    index = f"metrics-shipper.*-{made.namespace}"
    return {rule["uid"]: firing(server, rule, made.tick_ms(tick), index) for rule in PROVISIONED}


@pytest.mark.parametrize("tick", [BEGIN - 1, AFTER])
def test_in_grafana_nothing_fires_before_and_after_the_faults(
    server: shipper_eslocal.Cluster, faulty: Calm, tick: int
) -> None:
    assert {uid: labels for uid, labels in _fires(server, faulty, tick).items() if labels} == {}


def test_in_grafana_each_rule_fires_for_the_entity_of_the_check(
    server: shipper_eslocal.Cluster, faulty: Calm, during: dict[str, list[Found]]
) -> None:
    fires = _fires(server, faulty, END - 1)
    for rule in PROVISIONED:
        (alert,) = during[rule["labels"]["rule"]]
        assert fires[rule["uid"]] == [{name: alert.entity[name] for name in alert.rule.per}], rule["uid"]


def _groups(cluster: shipper_eslocal.Cluster, params: dict[str, Any], at_ms: int) -> list[dict[str, str]]:
    """What Kibana's rule executor makes of a query with groups: a number per group, compared with the threshold."""
    span = {"gte": at_ms - params["timeWindowSize"] * 60_000, "lte": at_ms, "format": "epoch_millis"}
    filters = [json.loads(params["esQuery"])["query"], {"range": {params["timeField"]: span}}]
    counts = params["aggType"] == "count"
    aggs = {} if counts else {"number": {params["aggType"]: {"field": params["aggField"]}}}
    body = searched(filters, by_entity(tuple(params["termField"]), params["termSize"], aggs))
    path = f"/{','.join(params['index'])}/_search?ignore_unavailable=true"
    answer = cluster.request("POST", path, body)

    def holds(value: float) -> bool:
        if params["thresholdComparator"] == ">=":
            return bool(value >= params["threshold"][0])
        low, high = params["threshold"]
        return bool(not low < value < high)

    return [
        dict(zip(params["termField"], keys, strict=True))
        for keys, bucket in below(answer.get("aggregations", {}), len(params["termField"]))
        if holds(bucket["doc_count"] if counts else bucket["number"]["value"])
    ]


OLD_KIBANA = [body for _, body in kibana.rules(RULES, (8, 15), "faults")]


@pytest.mark.parametrize("tick", [BEGIN - 1, AFTER])
def test_in_kibana_no_group_breaches_before_and_after_the_faults(
    server: shipper_eslocal.Cluster, faulty: Calm, tick: int
) -> None:
    fires = {body["name"]: _groups(server, body["params"], faulty.tick_ms(tick)) for body in OLD_KIBANA}
    assert {name: groups for name, groups in fires.items() if groups} == {}


def test_in_kibana_each_query_with_groups_finds_the_entity_of_the_check(
    server: shipper_eslocal.Cluster, faulty: Calm, during: dict[str, list[Found]]
) -> None:
    for body in OLD_KIBANA:
        (alert,) = during[body["tags"][2]]
        found = _groups(server, body["params"], faulty.tick_ms(END - 1))
        assert found == [{name: alert.entity[name] for name in alert.rule.per}], body["name"]


def test_in_kibana_each_row_is_the_entity_of_the_check(
    server: shipper_eslocal.Cluster, faulty: Calm, during: dict[str, list[Found]]
) -> None:
    """ES|QL."""
    for tick in (BEGIN - 1, END - 1, AFTER):
        now = f'"{datetime.fromtimestamp(faulty.tick_ms(tick) / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"::DATETIME'
        for _, body in kibana.rules(RULES, (9, 2), "faults"):
            query = body["params"]["esqlQuery"]["esql"].replace("NOW()", now)
            answer = server.request("POST", "/_query", {"query": query})
            names = [column["name"] for column in answer["columns"]]
            rows = [dict(zip(names, row, strict=True)) for row in answer["values"]]
            (alert,) = during[body["tags"][2]]
            entity = {name: alert.entity[name] for name in alert.rule.per}
            found = [{name: row[name] for name in entity} for row in rows]
            fires = tick == END - 1 and {"warning", alert.severity} >= {body["tags"][1]}
            assert found == ([entity] if fires else []), (body["name"], tick)
