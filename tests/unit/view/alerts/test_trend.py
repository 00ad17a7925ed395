"""The rules about steady growth without a server: their judge gets the hourly means of one container."""

from collections.abc import Sequence
from typing import Any

import pytest

from shipper.view.alerts import trend
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.judge import Moment
from shipper.view.alerts.model import Found
from shipper.view.alerts.rules import RULES
from shipper.view.dashboards.model import ENTITY, HOST

RULE = next(rule for rule in RULES if rule.name == "container-memory-fills")
HOUR_MS = 3_600_000
HOURS = range(12)


def judged(means: Sequence[float]) -> list[Found]:
    judging = trend.judge(RULE, Moment(len(means) * HOUR_MS, Adjustments()))
    next(judging)
    judging.send([{"aggregations": {"per": {"buckets": [{"key": "web@n"}]}}}])
    source = {ENTITY: "web@n", HOST: "n"}
    bucket: dict[str, Any] = {"key": "web@n", "newest": {"hits": {"hits": [{"_source": source}]}}}
    bucket["times"] = {"buckets": [{"key": at * HOUR_MS, "mean": {"value": mean}} for at, mean in enumerate(means)]}
    with pytest.raises(StopIteration) as ended:
        judging.send([{"aggregations": {"per": {"buckets": [bucket]}}}])
    found: list[Found] = ended.value.value
    return found


def test_steady_growth_has_an_alert_with_the_time_that_is_left() -> None:
    (alert,) = judged([0.5 + 0.02 * hour for hour in HOURS])
    assert alert.value == pytest.approx((1 - 0.72) / 0.02 * 3600)
    assert alert.text == "Memory limit reached soon: 14 h (72 % used, +48 % a day)"
    assert (alert.severity, alert.who) == ("warning", "web@n")


@pytest.mark.parametrize(
    "means",
    [
        [0.8] * 12,
        [0.9 - 0.01 * hour for hour in HOURS],
        [0.3 + 0.01 * hour + 0.4 * (hour % 2) for hour in HOURS],  # too irregular
        [0.5 + 0.005 * hour for hour in HOURS],  # full in more than a day
        [0.5, 0.6, 0.7],  # too few hours
    ],
)
def test_what_does_not_grow_steadily_and_soon_has_none(means: list[float]) -> None:
    assert judged(means) == []
