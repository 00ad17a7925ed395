"""Hosts that send nothing, and why: stopped, cut off, a wrong clock, or down."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from shipper.view.alerts.judge import MOST, Judging, Moment, by_entity, chosen, document_of, entities, within
from shipper.view.alerts.model import Found, Rule
from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import HOST, TIME
from shipper.view.msearch import searched
from shipper.view.thresholds import Level
from shipper.view.unit_formats import shown

_FAR_MS: Final = 30 * 86_400_000
_CLOCK_MS: Final = 60_000  # a clock that differs by more explains a silence
_TOGETHER_MS: Final = 120_000  # hosts that fell silent within this time did so together
_LEAST: Final = 2
_STOPPED: Final = "agent.stopped"
_SKEW: Final = "agent.clock.skew.ms"
_LABEL: Final = "labels."
_LAST: Final = {"last": {"max": {"field": TIME}}}


@dataclass(frozen=True, slots=True)
class _Host:
    last_ms: int
    document: Mapping[str, Any]

    def fields(self, prefix: str) -> dict[str, str]:
        return {name: str(value) for name, value in self.document.items() if name.startswith(prefix)}


def judge(rule: Rule, when: Moment) -> Judging:
    """Alerts of the rule that measures SILENCE."""
    seen = [within(when.at_ms, rule.window_s), *dsl(rule.tests)]
    (answer,) = yield [(rule.dataset, searched(seen, by_entity(rule.per, MOST, _LAST, {"last": "asc"})))]
    earliest = when.earliest(rule)
    names = [keys for keys, bucket in entities(rule, answer) if when.at_ms - bucket["last"]["value"] >= earliest * 1000]
    if not names:
        return []
    hits = {"size": 1, "sort": [{TIME: "desc"}], "_source": ["host", "labels", _STOPPED, _SKEW]}
    last = _LAST | {"newest": {"top_hits": hits}}
    ahead = {"range": {TIME: {"gt": when.at_ms, "lte": when.at_ms + _FAR_MS, "format": "epoch_millis"}}}
    mine = chosen(rule.per, names)
    silent, early = yield [
        (rule.dataset, searched([*seen, *mine], by_entity(rule.per, len(names), last))),
        (rule.dataset, searched([ahead, *mine], by_entity(rule.per, len(names), _LAST))),
    ]
    hosts = {
        keys[0]: _Host(int(bucket["last"]["value"]), document_of(bucket)) for keys, bucket in entities(rule, silent)
    }
    future = {keys[0]: int(bucket["last"]["value"]) for keys, bucket in entities(rule, early)}
    labels = sorted({pair for host in hosts.values() for pair in host.fields(_LABEL).items()})
    groups: list[dict[str, Any]] = [{"match_all": {}}, *({"term": {name: value}} for name, value in labels)]
    number = {"hosts": {"cardinality": {"field": HOST, "precision_threshold": 10_000}}}
    answers = yield [(rule.dataset, searched([*seen, group], number)) for group in groups]
    sizes = [int(answer["aggregations"]["hosts"]["value"]) for answer in answers]
    cut = {"": sizes[0], **{f"{name}={value}": size for (name, value), size in zip(labels, sizes[1:], strict=True)}}
    return list(_found(rule, when, hosts, future, cut))


def _found(
    rule: Rule,
    when: Moment,
    hosts: Mapping[str, _Host],
    future: Mapping[str, int],
    sizes: Mapping[str, int],
) -> Iterator[Found]:
    for name, host in hosts.items():
        why = _clock(host, future.get(name, 0) - when.at_ms)
        stopped = host.document.get(_STOPPED) is True
        if stopped:
            why = "stopped: its shipper was stopped"
        note = why or _cut_off(host, hosts, sizes) or "down: the host or its shipper ended without a clean stop"
        found = when.alert(rule, (when.at_ms - host.last_ms) / 1000, host.document, note)
        if found:
            yield replace(found, level=Level.WARNING) if stopped else found


def _clock(host: _Host, early_ms: int) -> str:
    skew_ms = host.document.get(_SKEW)
    if early_ms > 0:
        return f"clock: its documents are {shown(early_ms, 'ms')} early"
    if isinstance(skew_ms, int) and abs(skew_ms) >= _CLOCK_MS:
        return f"clock: {shown(abs(skew_ms), 'ms')} {'ahead of' if skew_ms > 0 else 'behind'} Elasticsearch"
    return ""


def _cut_off(host: _Host, hosts: Mapping[str, _Host], sizes: Mapping[str, int]) -> str:
    """The largest group of hosts, all of which fell silent together with ``host``."""
    together = [other for other in hosts.values() if abs(other.last_ms - host.last_ms) <= _TOGETHER_MS]
    mine = ["", *(f"{name}={value}" for name, value in host.fields(_LABEL).items())]
    whole = [
        (sizes[group], group)
        for group in mine
        if sizes[group] >= _LEAST and sizes[group] == sum(1 for other in together if not group or _in(other, group))
    ]
    if not whole:
        return ""
    size, group = max(whole)
    return f"cut off: all {size} hosts{f' with {group}' if group else ''} are silent"


def _in(host: _Host, group: str) -> bool:
    name, _, value = group.partition("=")
    return str(host.document.get(name)) == value
