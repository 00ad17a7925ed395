"""What will soon be full, by the robust slope of ``shipper forecast``; what does not grow steadily has no alert."""

from collections.abc import Mapping
from typing import Any, Final

from shipper.view.alerts.judge import (
    NOW_S,
    Judging,
    Keys,
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
from shipper.view.dashboards.model import TIME, exists
from shipper.view.msearch import searched
from shipper.view.unit_formats import percent
from shipper.view.why.forecast import forecast

_DAY_MS: Final = 86_400_000
_HOURLY: Final = {"field": TIME, "fixed_interval": "1h", "min_doc_count": 1}


def judge(rule: Rule, when: Moment) -> Judging:
    """Alerts of a rule that measures TREND. Only what is already used to the degree of the conditions is judged."""
    names = yield from meeting(rule, within(when.at_ms, NOW_S))
    if not names:
        return []
    means = {"times": {"date_histogram": _HOURLY, "aggs": {"mean": {"avg": {"field": rule.field}}}}}
    known = dsl((*rule.tests[:1], exists(rule.field)))
    filters = [within(when.at_ms, rule.window_s), *known, *chosen(rule.per, names)]
    (answer,) = yield [(rule.dataset, searched(filters, by_entity(rule.per, len(names), means | newest(rule))))]
    wanted = set(names)
    return [
        found
        for keys, bucket in entities(rule, answer)
        if keys in wanted and (found := _found(rule, when, keys, bucket))
    ]


def _found(rule: Rule, when: Moment, keys: Keys, bucket: Mapping[str, Any]) -> Found | None:
    means = [(one["key"] / _DAY_MS, one["mean"]["value"]) for one in bucket["times"]["buckets"]]
    seen = forecast(rule.name, keys, means)
    if seen.days is None:
        return None
    note = f"{percent(seen.now)} used, {percent(seen.per_day, '+')} a day"
    return when.alert(rule, seen.days * _DAY_MS / 1000, document_of(bucket), note)
