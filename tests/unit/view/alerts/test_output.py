import pytest

from shipper.view.alerts.model import Found
from shipper.view.alerts.output import as_dict
from shipper.view.alerts.rules import RULES
from shipper.view.thresholds import Level

AT_MS = 1_764_118_800_000


@pytest.mark.parametrize(
    ("rule", "entity", "expected"),
    [
        ("host-cpu", {"host.name": "node-3"}, "node-3"),
        ("container-cpu", {"host.name": "node-3", "cgroup.entity": "web-1@node-3"}, "web-1@node-3"),
        ("filesystem-full", {"host.name": "a b;rm", "system.filesystem.mount_point": "/"}, "'a b;rm'"),
    ],
)
def test_an_alert_says_the_command_that_explains_it(rule: str, entity: dict[str, str], expected: str) -> None:
    found = next(one for one in RULES if one.name == rule)
    alert = Found(found, AT_MS, entity, 1.0, Level.BAD, found.steps)
    assert as_dict(alert)["explain"] == f"shipper why {expected} --at 2025-11-26T01:00:00"
