"""Filesystems that will soon be full, at their growth in the last hours."""

from collections.abc import Mapping
from typing import Any, Final

from shipper.view.alerts.judge import (
    NOW_S,
    Judging,
    Moment,
    by_entity,
    chosen,
    document_of,
    entities,
    meeting,
    newest,
    within,
)
from shipper.view.alerts.model import Found, Rule
from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import TIME
from shipper.view.msearch import searched
from shipper.view.unit_formats import percent

THEN_S: Final = 3600  # length of the first part of the window
AVAILABLE: Final = "system.filesystem.available"
_USED: Final = "system.filesystem.used.pct"
URGENT: Final = 0.8  # NM: critical only if so much is used


def judge(rule: Rule, when: Moment) -> Judging:
    """Alerts of the rule that measures FULL_IN."""
    now = within(when.at_ms, NOW_S)
    names = yield from meeting(rule, now)
    if not names:
        return []
    then = within(when.at_ms - (rule.window_s - THEN_S) * 1000, THEN_S)
    both = {"bool": {"should": [then, now], "minimum_should_match": 1}}
    average = {
        "available": {"avg": {"field": AVAILABLE}},
        "used": {"max": {"field": _USED}},
        "time": {"avg": {"field": TIME}},
    }
    parts = {"then": {"filter": then, "aggs": average}, "now": {"filter": now, "aggs": average}}
    filters = [both, *dsl(rule.tests[:1]), *chosen(rule.per, names)]
    (answer,) = yield [(rule.dataset, searched(filters, by_entity(rule.per, len(names), parts | newest(rule))))]
    wanted = set(names)
    return [
        found for keys, bucket in entities(rule, answer) if keys in wanted and (found := _found(rule, when, bucket))
    ]


def _found(rule: Rule, when: Moment, bucket: Mapping[str, Any]) -> Found | None:
    seconds = full_in_s(bucket["then"], bucket["now"])
    if seconds is None:
        return None
    used = bucket["now"]["used"]["value"]
    if used < URGENT:  # too early to be critical
        seconds = max(seconds, rule.steps.bad + 1)
    return when.alert(rule, seconds, document_of(bucket), f"{percent(used)} used")


def full_in_s(then: Mapping[str, Any], now: Mapping[str, Any]) -> float | None:
    """Seconds until nothing is available; None if the used space does not grow, or if there are too few documents."""
    before, after = then["available"]["value"], now["available"]["value"]
    if before is None or after is None or after >= before:
        return None
    per_s = (before - after) / (now["time"]["value"] - then["time"]["value"]) * 1000
    return float(after / per_s)
