"""The provisioned alert rules have the structure that Grafana reads, and avoid the known faults of Grafana."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shipper.view.alerts.grafana import suits
from shipper.view.alerts.model import Measure
from shipper.view.alerts.rules import RULES

ROOT = Path(__file__).parents[4] / "dashboards/grafana"
FILE = yaml.load((ROOT / "alerting/shipper.yaml").read_text(), yaml.CSafeLoader)
BY_UID: dict[str, dict[str, Any]] = {rule["uid"]: rule for group in FILE["groups"] for rule in group["rules"]}
# pkg/services/provisioning/alerting/rules_types.go
GROUP = {"orgId", "name", "folder", "interval", "rules"}
RULE = {
    *("uid", "title", "condition", "data", "for", "noDataState", "execErrState", "annotations", "labels", "isPaused"),
    *("dashboardUid", "panelId"),
}
DURATION = re.compile(r"\d+[smh]")


def test_the_file_has_groups_of_rules() -> None:
    assert FILE.keys() == {"apiVersion", "groups"} and FILE["apiVersion"] == 1
    for group in FILE["groups"]:
        assert group.keys() == GROUP and DURATION.fullmatch(group["interval"])
    titles = [rule["title"] for group in FILE["groups"] for rule in group["rules"]]
    assert len(set(titles)) == len(titles) == len(BY_UID), "titles are unique in a folder"


def test_each_rule_that_grafana_can_judge_is_there() -> None:
    assert {rule["labels"]["rule"] for rule in BY_UID.values()} == {rule.name for rule in RULES if suits(rule)}
    left_out = {rule.name for rule in RULES if not suits(rule)}
    assert left_out == {rule.name for rule in RULES if rule.notice or rule.measure in (Measure.GONE, Measure.TREND)}


@pytest.mark.parametrize("uid", BY_UID)
def test_a_rule_has_the_keys_that_grafana_reads(uid: str) -> None:
    rule = BY_UID[uid]
    assert rule.keys() == RULE and len(uid) <= 40 and DURATION.fullmatch(rule["for"])
    assert (rule["noDataState"], rule["execErrState"]) == ("OK", "Error")
    board = json.loads((ROOT / f"boards/{rule['dashboardUid']}.json").read_text())
    panels = [one for panel in board["panels"] for one in (panel, *panel.get("panels", ()))]
    assert rule["panelId"] in {panel["id"] for panel in panels if panel["type"] != "row"}


@pytest.mark.parametrize("uid", BY_UID)
def test_queries_are_such_as_the_backend_can_judge(uid: str) -> None:
    parts = {part["refId"]: part for part in BY_UID[uid]["data"]}
    assert len(parts) == len(BY_UID[uid]["data"]) and parts[BY_UID[uid]["condition"]]["datasourceUid"] == "__expr__"
    for part in parts.values():
        model = part["model"]
        assert model["refId"] == part["refId"]
        if part["datasourceUid"] == "__expr__":
            assert set(re.findall(r"\$(\w+)", model["expression"]) or [model["expression"]]) <= parts.keys()
            continue
        assert "$" not in json.dumps(model), "no variables: nothing interpolates them in a rule"
        assert len(model["metrics"]) == 1
        *terms, histogram = model["bucketAggs"]
        assert histogram["type"] == "date_histogram" and re.fullmatch(r"\d+s", histogram["settings"]["interval"])
        assert terms and all(0 < int(one["settings"]["size"]) <= 500 for one in terms)
        seconds = part["relativeTimeRange"]["from"] - part["relativeTimeRange"]["to"]
        points = seconds // int(histogram["settings"]["interval"][:-1])
        assert points * 300 <= 65_536, "buckets of 300 hosts"


@pytest.mark.parametrize("uid", BY_UID)
def test_texts_hold_nothing_that_grafana_would_expand_by_mistake(uid: str) -> None:
    rule = BY_UID[uid]
    assert not any("$" in value for value in rule["labels"].values()), "labels expand every $"
    assert "{{" not in rule["annotations"]["description"] and "${" not in json.dumps(rule["annotations"])
    assert "$labels." not in rule["annotations"]["summary"], "names with dots need index"


@pytest.mark.parametrize("uid", BY_UID)
def test_an_alert_has_the_command_that_explains_it(uid: str) -> None:
    per = next(rule.per for rule in RULES if rule.name == BY_UID[uid]["labels"]["rule"])
    name = "cgroup.entity" if "cgroup.entity" in per else "host.name"
    oom = " --oom" if "oom" in uid else ""
    quoted = f"""{{{{ reReplaceAll "'" `'\\''` (index $labels "{name}") }}}}"""
    assert BY_UID[uid]["annotations"]["explain"] == f"shipper why{oom} '{quoted}'"
