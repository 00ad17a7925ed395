"""Who uses a resource: containers and services, whose shares with the rest add up to the host's use, and processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.view.dashboards.model import ENTITY, HOST
from shipper.view.msearch import Search, number, searched, term, within
from shipper.view.why.signals import Resource

MOST: Final = 1000  # cgroups of a host
_NAMED: Final = 3
_PROCESSES: Final = 2
_GROWTH: Final = 0.05  # as a share of the use; less growth does not identify a culprit
_LEAF: Final = term("cgroup.aggregate", "false")
_BY: Final = {"CPU": "system.process.cpu.total.pct", "memory": "system.process.memory.rss.bytes"}
_GROWS: Final = ("memory", "tasks")  # resources that are held: the culprit is the one whose use grew most


@dataclass(frozen=True, slots=True)
class Share:
    """The use of one container or service. ``grown``: compared with the time before, None if the entity did not exist.

    ``limit``: its use as a share of its own limit. ``waits``: the share of time in which it waited for the resource.
    """

    name: str
    used: float
    share: float
    grown: float | None = None
    limit: float | None = None
    waits: float | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses a resource of a host. ``named`` + ``others`` + ``unaccounted`` = ``total``.

    ``total``: of the host, or the sum of the cgroups if that is more. ``unaccounted``: by the kernel, by tasks in no
    leaf cgroup, or by cgroups that were not measured. ``victims``: those that wait most. ``processes``: of the first of
    ``named``.
    """

    total: float
    named: tuple[Share, ...]
    others: float
    unaccounted: float
    grown: bool
    victims: tuple[Share, ...]
    processes: tuple[str, ...]


def searches(resource: Resource, host: str, first_ms: int, last_ms: int) -> Iterator[Search]:
    """The use of the cgroups in the range and in an equal range before, of the host, and of the processes."""
    own = term(HOST, host)
    before_ms = 2 * first_ms - last_ms
    optional = {name: field for name, field in (("limit", resource.limit), ("waits", resource.pressure)) if field}
    means = {name: {"avg": {"field": field}} for name, field in (*_numbered(resource.usage), *optional.items())}
    by_entity = {"terms": {"field": ENTITY, "size": MOST}, "aggs": means}
    for start, end in ((first_ms, last_ms), (before_ms, first_ms - 1)):
        yield "cgroup", searched([own, _LEAF, within(start, end)], {"entities": by_entity})
    total = {name: {"avg": {"field": field}} for name, field in _numbered(resource.total)}
    yield "host", searched([own, within(first_ms, last_ms)], total)
    by = _BY.get(resource.name, "system.process.cpu.total.pct")
    names = {"terms": {"field": "process.name", "size": _PROCESSES, "order": {"by": "desc"}}}
    names = {"names": {**names, "aggs": {"by": {"max": {"field": by}}}}}
    processes = {"entities": {"terms": {"field": ENTITY, "size": MOST}, "aggs": names}}
    yield "process", searched([own, within(first_ms, last_ms)], processes)


def _numbered(fields: Sequence[str]) -> list[tuple[str, str]]:
    return [(str(i), field) for i, field in enumerate(fields)]


def use(resource: Resource, responses: Sequence[Mapping[str, Any]], asked: str = "") -> Use | None:
    """What the responses to ``searches`` say; None if the resource is not measured per cgroup.

    ``asked``: the entity that is asked about, which is named first.
    """
    now, before, host, processes = responses
    shares = {one["key"]: one for one in _entities(now)}
    earlier = {one["key"]: _sum(one, resource.usage) for one in _entities(before)}
    known = {name: used for name, one in shares.items() if (used := _sum(one, resource.usage)) is not None}
    total = _sum(host.get("aggregations", {}), resource.total)
    if not known or not total:
        return None
    total = max(total, sum(known.values()))  # traffic between containers is not the host's
    everyone = [
        Share(
            name,
            used,
            used / total,
            _grown(used, earlier, name),
            number(shares[name], "limit"),
            number(shares[name], "waits"),
        )
        for name, used in known.items()
    ]
    growth = sum(share.grown or 0 for share in everyone if (share.grown or 0) > 0)
    grown = resource.name in _GROWS and growth > _GROWTH * total
    everyone.sort(key=lambda share: _order(share, asked, grown=grown), reverse=True)
    named, others = everyone[:_NAMED], sum(share.used for share in everyone[_NAMED:])
    unaccounted = total - sum(known.values())
    waiting = sorted((share for share in everyone if share.waits), key=lambda share: share.waits or 0, reverse=True)
    victims = tuple(share for share in waiting if share.name != named[0].name)[:_NAMED]
    first = next((one for one in _entities(processes) if one["key"] == named[0].name), None)
    names = tuple(one["key"] for one in first["names"]["buckets"]) if first else ()
    return Use(total, tuple(named), others, unaccounted, grown, victims, names)


def _order(share: Share, asked: str, *, grown: bool) -> tuple[bool, float]:
    """The entity of the question first, then by growth or by use; the growth of a new entity is all of its use."""
    return share.name == asked, share.grown if grown and share.grown is not None else share.used


def _entities(response: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = response.get("aggregations", {}).get("entities", {}).get("buckets", ())
    return found


def _grown(used: float, earlier: Mapping[str, float | None], name: str) -> float | None:
    was = earlier.get(name)
    return None if was is None else used - was


def _sum(bucket: Mapping[str, Any], fields: Sequence[str]) -> float | None:
    values = [value for name, _ in _numbered(fields) if (value := number(bucket, name)) is not None]
    return sum(values) if values else None
