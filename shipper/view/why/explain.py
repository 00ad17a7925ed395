"""The explanation of one host, container or unit, from two rounds of searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.deliver.client import Connection
from shipper.fields.aliases import PERIOD
from shipper.settings.config import Index
from shipper.view.dashboards.model import ENTITY, HOST, TIME
from shipper.view.msearch import Asking, Filter, Search, searched, term, within
from shipper.view.why import changes, series, usual, who
from shipper.view.why.changes import Change
from shipper.view.why.signals import OF_CGROUP, OF_HOST, Kind, Signal
from shipper.view.why.usual import Usual
from shipper.view.why.verdict import Judgement, Shortage, judge
from shipper.view.why.who import Use

_PERIOD_MS: Final = 10_000  # of documents without a period
_LIMITED: Final = ("cgroup.memory.limit.pct", "cgroup.cpu.throttled.pct", "cgroup.pids.used.pct")
_OWN_LIMITS: Final = tuple(signal for one in OF_CGROUP for signal in one.signals if signal.field in _LIMITED)


@dataclass(frozen=True, slots=True)
class Target:
    """A host, or a container or service on it. ``role``: the host's label of that name."""

    host: str
    entity: str = ""
    role: str = ""
    period_ms: int = _PERIOD_MS

    @property
    def filters(self) -> list[Filter]:
        """Conditions on its own documents."""
        return [term(ENTITY, self.entity)] if self.entity else [term(HOST, self.host)]


@dataclass(frozen=True, slots=True)
class Fact:
    """The mean of a signal during the shortage."""

    signal: Signal
    device: str
    mean: float


@dataclass(frozen=True, slots=True)
class Cramped:
    """A container or service of the host that is beyond one of its own thresholds, even if the host is not short."""

    name: str
    signal: Signal
    mean: float


@dataclass(slots=True)
class Explanation:
    """What is short on the target and on a container's host; for the first shortage also users and changes.

    ``host``: of a container. ``main``: the first shortage. ``searches``: all searches that were sent.
    """

    target: Target
    first_ms: int
    last_ms: int
    own: Judgement
    host: Judgement | None = None
    cramped: list[Cramped] = field(default_factory=list)
    main: Shortage | None = None
    facts: list[Fact] = field(default_factory=list)
    use: Use | None = None
    changes: list[Change] = field(default_factory=list)
    usual: Usual | None = None
    searches: list[Search] = field(default_factory=list)


def find(asking: Asking, name: str, first_ms: int, last_ms: int) -> Target:
    """The host, or the container or service (``web-1@node-3``, or ``web-1`` if one host has it). Raises UserError."""
    span = within(first_ms, last_ms)
    newest = {"size": 1, "sort": [{TIME: "desc"}], "_source": ["labels", PERIOD.name, HOST]}
    of_entities = {"entities": {"terms": {"field": ENTITY, "size": 10}, "aggs": {"on": {"terms": {"field": HOST}}}}}
    either = {"bool": {"should": [term(ENTITY, name), term("cgroup.name", name)], "minimum_should_match": 1}}
    host, cgroups = asking.ask(
        [
            ("host", {**newest, "query": {"bool": {"filter": [span, term(HOST, name)]}}}),
            ("cgroup", searched([span, either], of_entities)),
        ]
    )
    if host["hits"]["hits"]:
        return _target(host, name)
    found = {one["key"]: one for one in cgroups.get("aggregations", {}).get("entities", {}).get("buckets", ())}
    if len(found) > 1 and name not in found:
        raise UserError(f"{name}: several hosts have a container of this name; use one of {', '.join(sorted(found))}")
    if not found:
        raise UserError(f"{name}: no host, container or unit of this name has documents in this time range")
    entity = name if name in found else next(iter(found))
    host_name = found[entity]["on"]["buckets"][0]["key"]
    (of_host,) = asking.ask([("host", {**newest, "query": {"bool": {"filter": [span, term(HOST, host_name)]}}})])
    return _target(of_host, host_name, entity)


def _target(response: Mapping[str, Any], host: str, entity: str = "") -> Target:
    hits = response["hits"]["hits"]
    source = hits[0]["_source"] if hits else {}
    period = source.get("metricset", {}).get("period", _PERIOD_MS)
    return Target(host, entity, str(source.get("labels", {}).get("role", "")), int(period))


def explain(connection: Connection, index: Index, name: str, first_ms: int, last_ms: int) -> Explanation:
    """Explain the range; documents of an equal range before that one show when a shortage began. Raises UserError."""
    asking = Asking(connection, index)
    target = find(asking, name, first_ms, last_ms)
    earlier_ms = 2 * first_ms - last_ms
    bucket_ms = series.width_ms(target.period_ms, earlier_ms, last_ms)
    span = within(earlier_ms, last_ms)
    host = list(series.searches(OF_HOST, [term(HOST, target.host), span], bucket_ms))
    if target.entity:
        own = list(series.searches(OF_CGROUP, [term(ENTITY, target.entity), span], bucket_ms))
    else:
        own = [("cgroup", _limits([term(HOST, target.host), within(first_ms, last_ms)]))]
    responses = asking.ask([*host, *own])
    lines = series.lines(OF_HOST, responses[: len(host)])
    judged = judge(OF_HOST, lines, first_ms, last_ms, bucket_ms)
    made = Explanation(target, first_ms, last_ms, judged, searches=asking.searches)
    if target.entity:
        own_lines = series.lines(OF_CGROUP, responses[len(host) :])
        made.own, made.host = judge(OF_CGROUP, own_lines, first_ms, last_ms, bucket_ms), judged
        lines += own_lines
    else:
        made.cramped = _cramped(responses[-1])
    made.main = next(iter((*made.own.short, *judged.short)), None)
    if made.main:
        made.facts = _facts(lines, made.main)
        _deepen(made, made.main, asking, bucket_ms)
    return made


def _limits(filters: Sequence[Filter]) -> dict[str, Any]:
    """The search for means of each container's own limits."""
    means = {str(i): {"avg": {"field": signal.field}} for i, signal in enumerate(_OWN_LIMITS)}
    entities = {"entities": {"terms": {"field": ENTITY, "size": who.MOST}, "aggs": means}}
    return searched([*filters, term("cgroup.aggregate", "false")], entities)


def _cramped(response: Mapping[str, Any]) -> list[Cramped]:
    found = [
        Cramped(one["key"], signal, mean)
        for one in response.get("aggregations", {}).get("entities", {}).get("buckets", ())
        for i, signal in enumerate(_OWN_LIMITS)
        if (mean := one[str(i)]["value"]) is not None and signal.steps.level(mean)
    ]
    return sorted(found, key=lambda one: one.mean / one.signal.steps.bad, reverse=True)


def _facts(lines: Sequence[series.Line], short: Shortage) -> list[Fact]:
    """Means of the resource's utilisation during the shortage."""
    found = []
    for line in lines:
        if line.signal in short.resource.signals and line.signal.kind is Kind.UTILISATION:
            values = [value for at, value in line.values.items() if short.first_ms <= at <= short.last_ms]
            if values:
                found.append(Fact(line.signal, line.device, sum(values) / len(values)))
    return found


def _deepen(made: Explanation, short: Shortage, asking: Asking, bucket_ms: int) -> None:
    """Add who uses the resource, what changed before, and whether the value is usual."""
    target, worst = made.target, short.episodes[0]
    resource = next(one for one in OF_HOST if one.name == short.resource.name)
    last_ms = max(short.last_ms + bucket_ms, short.first_ms + 2 * bucket_ms)
    users = list(who.searches(resource, target.host, short.first_ms, last_ms)) if resource.usage else []
    changed = list(changes.searches(target.host, short.first_ms, bucket_ms))
    whose = target.filters if worst.signal.dataset == "cgroup" else [term(HOST, target.host)]
    whose += [term(worst.signal.device, worst.device)] if worst.device else []
    peers = usual.peers_of(worst.signal, target.entity, target.role)
    alike = list(usual.searches(worst.signal, whose, peers, short.first_ms, last_ms))
    responses = asking.ask([*users, *changed, *alike])
    if users:
        made.use = who.use(resource, responses[: len(users)], target.entity)
    made.changes = changes.changes(responses[len(users) : len(users) + len(changed)], short.first_ms, bucket_ms)
    own = target.entity if worst.signal.dataset == "cgroup" else target.host
    made.usual = usual.usual(worst.mean, own, peers, responses[len(users) + len(changed) :])
