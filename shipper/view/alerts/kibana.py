"""The rules as Kibana's Elasticsearch query rules, one for each severity.

From 9.2 such a rule may be an ES|QL query whose rows are alerts. Before, a rule is a query with groups, which can
compare a mean, a minimum, a maximum or a number of documents; rules that need more are left out.
https://www.elastic.co/docs/explore-analyze/alerting/alerts/rule-type-es-query
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

from shipper.view.alerts import filling, judge
from shipper.view.alerts.grafana import severities, suits
from shipper.view.alerts.model import Measure, Rule
from shipper.view.alerts.output import DOCS
from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import ENTITY, HOST, TIME, Test, exists

ROWS_SINCE: Final = (9, 2)
_TYPE: Final = ".es-query"
_INTERVAL: Final = "1m"
_MOST: Final = 100
_WORDS: Final = frozenset({"in", "is", "like", "not", "null"})
_GROUPED: Final = frozenset({Measure.AVG, Measure.MIN, Measure.MAX, Measure.COUNT})


def rules(
    chosen: Iterable[Rule], version: tuple[int, ...], namespace: str = "*"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Id and body of each rule for a Kibana of ``version``. ``namespace``: whose data streams are searched."""
    for rule in chosen:
        if not suits(rule):
            continue
        for severity, bound in severities(rule):
            if version >= ROWS_SINCE:
                params = _rows(rule, severity, bound, namespace)
            elif rule.measure in _GROUPED:
                params = _groups(rule, bound, namespace)
            else:
                continue
            yield _id(rule, severity), _body(rule, severity, params) | (_guide(rule) if version >= ROWS_SINCE else {})


def _id(rule: Rule, severity: str) -> str:
    """The same for the same rule: Kibana takes UUIDs only."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"shipper/alerts/{rule.name}/{severity}")
    return str(uuid.UUID(bytes=name.bytes, version=4))


def _body(rule: Rule, severity: str, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{rule.title} ({severity})",
        "tags": ["shipper", severity, rule.name, f"{DOCS}#{rule.name}"],
        "schedule": {"interval": _INTERVAL},
        "params": {"timeField": TIME, "timeWindowSize": rule.window_s // 60, "timeWindowUnit": "m", **params},
        "actions": [],
        "rule_type_id": _TYPE,
        "consumer": "stackAlerts",
        "enabled": True,
    }


def _guide(rule: Rule) -> dict[str, Any]:
    """How to explain an alert. Kibana expands no names here."""
    name = ENTITY if ENTITY in rule.per else HOST
    blob = f"`{rule.explains} NAME --at TIME` explains an alert: NAME is its `{name}`, TIME when it began (UTC)."
    return {"artifacts": {"investigation_guide": {"blob": f"{blob} {DOCS}#{rule.name} describes the rule."}}}


def _rows(rule: Rule, severity: str, bound: float, namespace: str) -> dict[str, Any]:
    query = esql(rule, severity, bound, namespace)
    return {
        "searchType": "esqlQuery",
        "esqlQuery": {"esql": query},
        "groupBy": "row",
        "size": _MOST,
        "threshold": [0],
        "thresholdComparator": ">",
    }


def _groups(rule: Rule, bound: float, namespace: str) -> dict[str, Any]:
    counts = rule.measure is Measure.COUNT
    tests = rule.tests if counts else (*rule.tests, exists(rule.field))
    return {
        "searchType": "esQuery",
        "esQuery": json.dumps({"query": {"bool": {"filter": dsl(tests)}}}),
        "index": [f"metrics-shipper.{rule.dataset}-{namespace}", f"metrics-shipper.{rule.dataset}.late-{namespace}"],
        "aggType": "count" if counts else str(rule.measure),
        **({} if counts else {"aggField": rule.field}),
        "groupBy": "top",
        "termField": list(rule.per),
        "termSize": _MOST,
        "size": _MOST,
        "threshold": [-bound, bound] if rule.signed else [bound],
        "thresholdComparator": "notBetween" if rule.signed else ">=",
        "excludeHitsFromPreviousRun": False,
    }


def esql(rule: Rule, severity: str, bound: float, namespace: str = "*", now: str = "NOW()") -> str:
    """The query whose rows are the entities for which ``rule`` fires."""
    value, condition = _number(rule, severity, bound, now)
    by = ", ".join(map(_name, rule.per))
    names = f"metrics-shipper.{rule.dataset}*-{namespace}"  # a pattern: there may be no late documents
    tests = _tests(rule)
    where = " AND ".join([f"{TIME} > {now} - {rule.window_s} seconds", f"{TIME} <= {now}", *map(_test, tests)])
    return f"FROM {names} | WHERE {where} | STATS {value} BY {by} | WHERE {condition}"


def _tests(rule: Rule) -> tuple[Test, ...]:
    """Which documents count."""
    if rule.measure is Measure.FULL_IN:  # how much is used now does not matter for then
        return tuple(test for test in rule.tests if test.field != rule.field)
    growth = rule.suspects if rule.measure is Measure.GROWTH else ()
    return (*rule.tests, *growth, *([exists(rule.field)] if rule.field else ()))


def _number(rule: Rule, severity: str, bound: float, now: str) -> tuple[str, str]:
    """What STATS computes, and when the rule fires."""
    field = _name(rule.field) if rule.field else ""
    match rule.measure:
        case Measure.SILENCE:
            return f"newest = MAX({TIME})", f"newest <= {now} - {bound:g} seconds"
        case Measure.COUNT:
            return "value = COUNT(*)", f"value >= {bound:g}"
        case Measure.GROWTH:
            return f"value = MAX({field}) - MIN({field})", f"value >= {bound:g}"
        case Measure.UNIQUE:
            when = f"bad = MAX(CASE({' AND '.join(map(_test, rule.last))}, {TIME}, NULL)), newest = MAX({TIME})"
            return f"value = COUNT_DISTINCT({field}), {when}", f"value >= {bound:g} AND bad == newest"
        case Measure.FULL_IN:
            return _filling(rule, severity, bound, now)
        case measure:
            value = f"value = {measure.upper()}({field})"
            return (value, f"ABS(value) >= {bound:g}") if rule.signed else (value, f"value >= {bound:g}")


def _filling(rule: Rule, severity: str, bound: float, now: str) -> tuple[str, str]:
    available, used = _name(filling.AVAILABLE), _name(rule.field)
    then = f"{TIME} <= {now} - {rule.window_s - filling.THEN_S} seconds"
    recent = f"{TIME} > {now} - {judge.NOW_S} seconds"
    between_s = rule.window_s - filling.THEN_S // 2 - judge.NOW_S // 2
    stats = (
        f"before = AVG(CASE({then}, {available}, NULL)), after = AVG(CASE({recent}, {available}, NULL)), "
        f"used = MAX(CASE({recent}, {used}, NULL))"
    )
    least = [f"used > {test.above:g}" for test in rule.where if test.field == rule.field]
    if severity == "critical":
        least.append(f"used >= {filling.URGENT:g}")
    soon = f"after < before AND after / (before - after) * {between_s} <= {bound:g}"
    return stats, " AND ".join([soon, *least])


def _test(test: Test) -> str:
    name = _name(test.field)
    if test.above is not None:
        return f"{name} > {test.above:g}"
    if test.below is not None:
        return f"{name} < {test.below:g}"
    if not test.values:
        return f"{name} IS NOT NULL"
    if set(test.values) <= {"true", "false"}:
        return f"{name} == {test.values[0]}"
    return f"{name} IN ({', '.join(json.dumps(value) for value in test.values)})"


def _name(field: str) -> str:
    """A part of a name that begins with a digit, or is a word of the language, must be quoted."""
    return ".".join(f"`{part}`" if part[0].isdigit() or part in _WORDS else part for part in field.split("."))
