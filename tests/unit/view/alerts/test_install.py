"""``shipper alerts install``: what Grafana and Kibana receive; a second installation changes nothing."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_sites import Site, running

from shipper import cli
from shipper.view.alerts import kibana
from shipper.view.alerts.grafana import suits
from shipper.view.alerts.model import Measure
from shipper.view.alerts.rules import RULES, SUBJECTS

SOURCES = [{"type": "prometheus", "uid": "p"}, {"type": "elasticsearch", "uid": "mine"}]
# https://www.elastic.co/docs/api/doc/kibana: parameters of the rule type .es-query
COMMON = {*("searchType", "timeField", "timeWindowSize", "timeWindowUnit", "threshold", "thresholdComparator", "size")}
ROWS = COMMON | {"esqlQuery", "groupBy"}
GROUPS = COMMON | {"esQuery", "index", "aggType", "groupBy", "termField", "termSize", "excludeHitsFromPreviousRun"}


@pytest.fixture
def grafana() -> Iterator[Site]:
    with running({"/api/datasources": SOURCES}, "Bearer secret") as site:
        yield site


@pytest.fixture(params=["8.15.3", "9.4.0"])
def kibana_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with running({"/api/status": {"version": {"number": request.param}}}, "ApiKey secret") as site:
        yield site


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("secret\n")
    return str(tmp_path / "token")


def test_groups_are_made_in_grafana_and_then_left_alone(
    grafana: Site, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["alerts", "install", "--grafana", grafana.url, "--token-file", token]
    assert cli.main(command) == 0
    assert len(grafana.changes) == 1 + len(SUBJECTS)
    (hosts,) = (held for path, held in grafana.held.items() if path.endswith("/Hosts"))
    first = hosts["rules"][0]
    assert (hosts["interval"], first["folderUID"], first["ruleGroup"]) == (60, "shipper-alerts", "Hosts")
    assert first["annotations"].keys() > {"__dashboardUid__", "__panelId__"} and "panelId" not in first
    assert first["data"][0]["datasourceUid"] == "mine"
    grafana.changes.clear()
    assert cli.main(command) == 0
    assert grafana.changes == []
    assert capfd.readouterr().out.count("unchanged  ") == len(SUBJECTS)


def test_thresholds_for_all_are_installed_and_muted_rules_are_not(grafana: Site, token: str, tmp_path: Path) -> None:
    text = "[[adjust]]\nrules = ['host-cpu']\nwarning = 0.7\n[[mute]]\nrules = ['host-load']\n"
    (tmp_path / "alerts.toml").write_text(text)
    command = ["alerts", "install", "--grafana", grafana.url, "--token-file", token]
    assert cli.main([*command, "--rules", str(tmp_path / "alerts.toml")]) == 0
    (hosts,) = (held for path, held in grafana.held.items() if path.endswith("/Hosts"))
    by_uid = {rule["uid"]: rule for rule in hosts["rules"]}
    assert by_uid["shipper-host-cpu-w"]["data"][-1]["model"]["expression"] == "$B >= 0.7"
    assert not [uid for uid in by_uid if "host-load" in uid]


def test_without_one_data_source_grafana_is_not_touched(token: str, capfd: pytest.CaptureFixture[str]) -> None:
    with running({"/api/datasources": SOURCES[:1]}, "Bearer secret") as site:
        assert cli.main(["alerts", "install", "--grafana", site.url, "--token-file", token]) == 1
        assert not [path for _, path in site.changes if "rule-groups" in path]
    assert "0 Elasticsearch data sources" in capfd.readouterr().err


def test_a_wrong_token_is_an_error_without_the_token(grafana: Site, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["alerts", "install", "--grafana", grafana.url]) == 1
    assert "HTTP 401: the token is invalid" in capfd.readouterr().err


def test_rules_are_made_in_kibana_and_then_left_alone(
    kibana_site: Site, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["alerts", "install", "--kibana", kibana_site.url, "--token-file", token]
    assert cli.main(command) == 0
    made = len(kibana_site.changes)
    assert made > len(RULES) / 2
    for path, held in kibana_site.held.items():
        assert uuid.UUID(path.rpartition("/")[2]).version == 4
        _has_the_documented_schema(held)
    said = capfd.readouterr().out
    assert ("left out" in said) == ("8.15.3" in str(kibana_site.answers))
    kibana_site.changes.clear()
    path, held = next(iter(kibana_site.held.items()))
    held["name"], held["actions"] = "changed", [{"id": "mail"}]
    assert cli.main(command) == 0
    assert kibana_site.changes == [("PUT", path)]
    assert kibana_site.held[path]["actions"] == [{"id": "mail"}], "the operator's"
    assert f"1 updated, {made - 1} unchanged" in capfd.readouterr().out


def _has_the_documented_schema(held: dict[str, Any]) -> None:
    params = held["params"]
    assert held["rule_type_id"] == ".es-query" and re.fullmatch(r"\d+m", held["schedule"]["interval"])
    if params["searchType"] == "esqlQuery":
        assert params.keys() == ROWS and (params["threshold"], params["thresholdComparator"]) == ([0], ">")
    else:
        assert params.keys() - {"aggField"} == GROUPS and 0 < params["termSize"] <= 1000
        assert (params["thresholdComparator"] == "notBetween") == (len(params["threshold"]) == 2)


LOAD = """FROM metrics-shipper.host*-*
| WHERE @timestamp > NOW() - 900 seconds AND @timestamp <= NOW()
  AND event.dataset IN ("shipper.host") AND system.load.norm.`1` IS NOT NULL
| STATS value = AVG(system.load.norm.`1`) BY host.name | WHERE value >= 2"""
SILENT = """FROM metrics-shipper.agent*-*
| WHERE @timestamp > NOW() - 43200 seconds AND @timestamp <= NOW() AND event.dataset IN ("shipper.agent")
| STATS newest = MAX(@timestamp) BY host.name | WHERE newest <= NOW() - 300 seconds"""


@pytest.mark.parametrize(("name", "expected"), [("host-load", LOAD), ("host-silent", SILENT)])
def test_esql(name: str, expected: str) -> None:
    rule = next(rule for rule in RULES if rule.name == name)
    assert kibana.esql(rule, "warning", rule.steps.warning) == " ".join(expected.split())


def test_before_rows_were_alerts_rules_that_compare_one_number_remain() -> None:
    old = {body["tags"][2] for _, body in kibana.rules(RULES, (8, 15, 0))}
    new = {body["tags"][2] for _, body in kibana.rules(RULES, (9, 2, 0))}
    assert new == {rule.name for rule in RULES if suits(rule)}
    others = (Measure.SILENCE, Measure.GROWTH, Measure.UNIQUE, Measure.FULL_IN)
    assert new - old == {rule.name for rule in RULES if suits(rule) and rule.measure in others}
