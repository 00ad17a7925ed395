"""Containers that are gone although their host still sends."""

from typing import Final

from shipper.view.alerts.judge import (
    MOST,
    Judging,
    Moment,
    by_entity,
    chosen,
    document_of,
    entities,
    newest,
    within,
)
from shipper.view.alerts.model import Rule, matches
from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import HOST, TIME
from shipper.view.msearch import searched

_LAST: Final = {"last": {"max": {"field": TIME}}}


def judge(rule: Rule, when: Moment) -> Judging:
    """Alerts of the rule that measures GONE. The time of a host is that of its own newest document."""
    seen = within(when.at_ms, rule.window_s)
    (answer,) = yield [
        (rule.dataset, searched([seen, *dsl(rule.tests)], by_entity(rule.per, MOST, _LAST, {"last": "asc"})))
    ]
    earliest = when.earliest(rule)
    names = [keys for keys, bucket in entities(rule, answer) if when.at_ms - bucket["last"]["value"] >= earliest * 1000]
    if not names:
        return []
    filters = [seen, *dsl(rule.tests), *chosen(rule.per, names)]
    hosts = {"per": {"terms": {"field": HOST, "size": 10 * MOST}, "aggs": _LAST}}
    gone, alive = yield [
        (rule.dataset, searched(filters, by_entity(rule.per, len(names), newest(rule)))),
        ("host", searched([seen], hosts)),
    ]
    newest_of = {
        bucket["key"]: bucket["last"]["value"]
        for bucket in alive.get("aggregations", {"per": {"buckets": []}})["per"]["buckets"]
    }
    result = []
    for _, bucket in entities(rule, gone):
        document = document_of(bucket)
        silent_s = (newest_of.get(document[HOST], 0) - bucket["last"]["value"]) / 1000
        if all(matches(test, document) for test in rule.last) and (found := when.alert(rule, silent_s, document)):
            result.append(found)
    return result
