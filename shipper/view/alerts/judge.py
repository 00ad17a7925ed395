"""Judges a rule: the searches, and what their responses mean. Pure: a judge yields searches and receives the responses.

Most entities are fine, so a judge first searches for those with any document that reaches a threshold, then reads
only their numbers.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.deliver.document import flat
from shipper.view import msearch
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.model import SUSTAINED, Found, Measure, Rule, matches
from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import HOST, TIME, exists
from shipper.view.msearch import Filter, Search, searched
from shipper.view.thresholds import Level

MOST: Final = 1000  # entities per rule: if more have alerts, the rest does not matter
NOW_S: Final = 600  # how old a document may be that says what is full now: filesystems are read once a minute
_LONG_ENOUGH: Final = 0.5  # part of the window that the documents must cover
_MOST_TOLD: Final = 3
Responses = Sequence[Mapping[str, Any]]
Judging = Generator[list[Search], Responses, list[Found]]
Keys = tuple[str, ...]  # values of rule.per


@dataclass(frozen=True, slots=True)
class Moment:
    """The time at which rules are judged, in ms since 1970, and the operator's changes to the rules."""

    at_ms: int
    adjustments: Adjustments

    def alert(self, rule: Rule, value: float, document: Mapping[str, Any], note: str = "") -> Found | None:
        """An alert, if ``value`` reaches a threshold for the entity of ``document``, and the alert is not muted."""
        steps = self.adjustments.steps(rule, document)
        level = steps.level(value)
        if level is Level.OK or self.adjustments.muted(rule, document, self.at_ms):
            return None
        entity = {name: str(document[name]) for name in (HOST, *rule.per) if name in document}
        mild = Level.WARNING if rule.mild else level
        return Found(rule, self.at_ms, entity, value, mild, steps, document, note or _told(rule, document))

    def earliest(self, rule: Rule) -> float:
        """The threshold that is reached first, of those that may apply to an entity."""
        pick = max if rule.steps.falling else min
        return pick(steps.warning for steps in self.adjustments.all_steps(rule))


def judge(rule: Rule, when: Moment) -> Judging:
    """Alerts of a rule whose measure is not in OWN."""
    (answer,) = yield [(rule.dataset, suspects(rule, when.at_ms, when.earliest(rule)))]
    names = [keys for keys, _ in entities(rule, answer)]
    if not names:
        return []
    (answer,) = yield [(rule.dataset, _facts(rule, when.at_ms, names))]
    wanted = set(names)
    return [
        found for keys, bucket in entities(rule, answer) if keys in wanted and (found := _found(rule, when, bucket))
    ]


def suspects(rule: Rule, at_ms: int, bound: float) -> dict[str, Any]:
    """The search for entities with a document that reaches the threshold ``bound``."""
    filters = [within(at_ms, rule.window_s), *dsl(rule.tests), *dsl(rule.suspects)]
    if rule.measure in SUSTAINED | {Measure.MAX}:
        filters.append(_reaches(rule, bound))
    return searched(filters, by_entity(rule.per, MOST, {}))


def _reaches(rule: Rule, bound: float) -> dict[str, Any]:
    above: dict[str, Any] = {"range": {rule.field: {"lte" if rule.steps.falling else "gte": bound}}}
    if not rule.signed:
        return above
    return {"bool": {"should": [above, {"range": {rule.field: {"lte": -bound}}}], "minimum_should_match": 1}}


def _facts(rule: Rule, at_ms: int, names: Sequence[Keys]) -> dict[str, Any]:
    filters = [within(at_ms, rule.window_s), *chosen(rule.per, names)]
    if rule.measure is Measure.COUNT:
        filters += dsl(rule.tests[:1])  # the newest document, whether or not it matches
    else:
        filters += dsl((*rule.tests, exists(rule.field)))
    return searched(filters, by_entity(rule.per, len(names), numbers(rule) | newest(rule)))


def numbers(rule: Rule) -> dict[str, Any]:
    """Aggregations from which ``value`` computes the number of an entity."""
    of = {"field": rule.field}
    match rule.measure:
        case Measure.COUNT:
            return {"value": {"filter": {"bool": {"filter": dsl(rule.where)}}}}
        case Measure.UNIQUE:
            return {"value": {"cardinality": of}}
        case Measure.GROWTH:
            return {"value": {"max": of}, "least": {"min": of}}
        case _:
            return {"value": {str(rule.measure): of}}


def newest(rule: Rule) -> dict[str, Any]:
    """The newest document of an entity, and the times of its first and last."""
    shown = ["host", "labels", "cgroup.name", "cgroup.entity", "container", "kubernetes", *rule.per, rule.tells]
    wanted = [*filter(None, shown), *(test.field for test in rule.last)]
    hits = {"size": 1, "sort": [{TIME: "desc"}], "_source": wanted}
    return {"first": {"min": {"field": TIME}}, "last": {"max": {"field": TIME}}, "newest": {"top_hits": hits}}


def _found(rule: Rule, when: Moment, bucket: Mapping[str, Any]) -> Found | None:
    value = number(rule, bucket)
    if value is None:
        return None
    if rule.measure in SUSTAINED and span_s(bucket) < rule.window_s * _LONG_ENOUGH:
        return None
    document = document_of(bucket)
    if not all(matches(test, document) for test in rule.last):
        return None
    return when.alert(rule, value, document)


def _told(rule: Rule, document: Mapping[str, Any]) -> str:
    value = document.get(rule.tells)
    if isinstance(value, list):
        more = f" and {len(value) - _MOST_TOLD} more" if len(value) > _MOST_TOLD else ""
        return ", ".join(map(str, value[:_MOST_TOLD])) + more
    return "" if value is None else str(value)


def number(rule: Rule, bucket: Mapping[str, Any]) -> float | None:
    """The number of an entity; None if no document has the field."""
    if rule.measure is Measure.COUNT:
        return float(bucket["value"]["doc_count"])
    value = bucket["value"]["value"]
    if value is None:
        return None
    if rule.measure is Measure.GROWTH:
        return float(value - bucket["least"]["value"])
    return abs(float(value)) if rule.signed else float(value)


def span_s(bucket: Mapping[str, Any]) -> float:
    """Seconds from the first to the last document of an entity."""
    first, last = bucket["first"]["value"], bucket["last"]["value"]
    return 0.0 if first is None else (last - first) / 1000


def document_of(bucket: Mapping[str, Any]) -> dict[str, Any]:
    """The entity's newest document, flat."""
    return flat(bucket["newest"]["hits"]["hits"][0]["_source"])


def within(at_ms: int, seconds: float) -> Filter:
    """The documents of the last ``seconds`` up to ``at_ms``."""
    return msearch.within(at_ms - round(seconds * 1000) + 1, at_ms)


def chosen(per: Keys, names: Sequence[Keys]) -> list[dict[str, Any]]:
    """The documents of the entities ``names``, and perhaps of a few more, if ``per`` has several fields."""
    return [{"terms": {field: sorted({keys[i] for keys in names})}} for i, field in enumerate(per)]


def by_entity(per: Keys, size: int, aggs: Mapping[str, Any], order: Mapping[str, str] | None = None) -> dict[str, Any]:
    """``aggs`` for each entity; ``entities`` reads the response."""
    inner = dict(aggs)
    for i in reversed(range(len(per))):
        terms: dict[str, Any] = {"field": per[i], "size": size}
        if order and i == len(per) - 1:
            terms["order"] = order
        inner = {"per": {"terms": terms, "aggs": inner}} if inner else {"per": {"terms": terms}}
    return inner


def entities(rule: Rule, answer: Mapping[str, Any]) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
    """The entities of a response and their buckets; nothing if no index exists."""
    yield from below(answer.get("aggregations", {}), len(rule.per))


def meeting(rule: Rule, now: Filter) -> Generator[list[Search], Responses, list[Keys]]:
    """The entities of which a document that passes ``now`` meets the rule's conditions."""
    (answer,) = yield [(rule.dataset, searched([now, *dsl(rule.tests)], by_entity(rule.per, MOST, {})))]
    return [keys for keys, _ in entities(rule, answer)]


def below(level: Mapping[str, Any], depth: int, keys: Keys = ()) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
    """The innermost buckets of ``depth`` nested aggregations, and the keys on the way."""
    for bucket in level.get("per", {}).get("buckets", ()):
        found = (*keys, str(bucket["key"]))
        if depth > 1:
            yield from below(bucket, depth - 1, found)
        else:
            yield found, bucket
