"""When a resource will be full, by a robust slope: the median of the slopes between all pairs of values (Theil–Sen).

https://en.wikipedia.org/wiki/Theil%E2%80%93Sen_estimator
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from statistics import fmean, median
from typing import Any, Final

from shipper.view.dashboards.model import ENTITY, HOST, TIME
from shipper.view.msearch import Filter, Search, searched, within
from shipper.view.unit_formats import percent

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
_POINTS: Final = 28  # few enough values for all pairs, and few enough buckets for the server
_MOST: Final = 500  # entities of a kind, the fullest; of devices, hosts
_DEVICES: Final = 20  # of a host
_FEWEST: Final = 6  # values
_LEAST_PER_DAY: Final = 0.002  # growth of a share that is worth reporting
_IRREGULAR: Final = 0.15  # scatter around the line, as a share of the whole
_FAR_DAYS: Final = 365.0


class Outlook(StrEnum):
    """What can be said about the future."""

    FULL_IN = "full in"
    NOT_GROWING = "not growing"
    IRREGULAR = "too irregular to say"
    TOO_SHORT = "too few hours to say"


@dataclass(frozen=True, slots=True)
class Kind:
    """A share from 0 to 1 that may reach 1, of the entities that ``per`` identifies."""

    name: str
    dataset: str
    field: str
    per: tuple[str, ...]


KINDS: Final[tuple[Kind, ...]] = (
    Kind("filesystem", "filesystem", "system.filesystem.used.pct", (HOST, "system.filesystem.mount_point")),
    Kind("inodes", "filesystem", "system.filesystem.used_files.pct", (HOST, "system.filesystem.mount_point")),
    Kind("swap", "host", "system.memory.swap.used.pct", (HOST,)),
    Kind("connection tracking", "host", "system.conntrack.used.pct", (HOST,)),
    Kind("threads", "host", "system.threads.used.pct", (HOST,)),
    Kind("open files", "host", "system.files.used.pct", (HOST,)),
    Kind("memory limit", "cgroup", "cgroup.memory.limit.pct", (ENTITY,)),
    Kind("task limit", "cgroup", "cgroup.pids.used.pct", (ENTITY,)),
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outlook of one entity. ``now``: its last mean. ``days``: until the entity is full, if its growth says so."""

    kind: str
    entity: tuple[str, ...]
    now: float
    per_day: float
    outlook: Outlook
    days: float | None = None


def searches(first_ms: int, last_ms: int, filters: Sequence[Filter], kinds: Sequence[Kind] = KINDS) -> Iterator[Search]:
    """Means over time of each kind, of the entities that were the fullest."""
    hours = -(-(last_ms - first_ms) // (_POINTS * _HOUR_MS))
    for kind in kinds:
        mean = {"mean": {"avg": {"field": kind.field}}}
        times = {"date_histogram": {"field": TIME, "fixed_interval": f"{hours}h", "min_doc_count": 1}, "aggs": mean}
        fullest = {"fullest": {"max": {"field": kind.field}}}
        aggs: dict[str, Any] = {"times": times}
        for name, size in zip(reversed(kind.per), (_DEVICES if len(kind.per) > 1 else _MOST, _MOST), strict=False):
            terms = {"field": name, "size": size, "order": {"fullest": "desc"}}
            aggs = {"entities": {"terms": terms, "aggs": {**aggs, **fullest}}}
        known = {"exists": {"field": kind.field}}
        yield kind.dataset, searched([within(first_ms, last_ms), known, *filters], aggs)


def forecasts(responses: Iterable[Mapping[str, Any]], kinds: Sequence[Kind] = KINDS) -> list[Forecast]:
    """The forecasts from the responses to ``searches``, the soonest full first."""
    found = []
    for kind, response in zip(kinds, responses, strict=True):
        for entity, bucket in _entities(response.get("aggregations", {}), len(kind.per)):
            means = [(one["key"], one["mean"]["value"]) for one in bucket["times"]["buckets"]]
            values = [(at / _DAY_MS, value) for at, value in means if value is not None]
            if values:
                found.append(forecast(kind.name, entity, values))
    return sorted(found, key=_soonest)


def _soonest(one: Forecast) -> tuple[float, float]:
    return one.days if one.days is not None else 1e9, -one.now


def _entities(
    level: Mapping[str, Any], depth: int, keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for bucket in level.get("entities", {}).get("buckets", ()):
        if depth > 1:
            yield from _entities(bucket, depth - 1, (*keys, bucket["key"]))
        else:
            yield (*keys, bucket["key"]), bucket


def forecast(kind: str, entity: tuple[str, ...], values: Sequence[tuple[float, float]]) -> Forecast:
    """The outlook of ``values``: days and shares, oldest first."""
    now = values[-1][1]
    if len(values) < _FEWEST:
        return Forecast(kind, entity, now, 0.0, Outlook.TOO_SHORT)
    slope, start = theil_sen(values)
    scatter = fmean(abs(value - (start + slope * day)) for day, value in values)
    grown = abs(slope) * (values[-1][0] - values[0][0])
    if slope <= _LEAST_PER_DAY:
        return Forecast(kind, entity, now, slope, Outlook.NOT_GROWING)
    if scatter > _IRREGULAR or scatter > grown:
        return Forecast(kind, entity, now, slope, Outlook.IRREGULAR)
    days = max(0.0, (1 - now) / slope)
    outlook = Outlook.FULL_IN if days <= _FAR_DAYS else Outlook.NOT_GROWING
    return Forecast(kind, entity, now, slope, outlook, days if outlook is Outlook.FULL_IN else None)


def theil_sen(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and value at 0 of the line through ``values``; up to 29 % of the values may be outliers."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(values, 2) if b[0] != a[0]]
    slope = median(slopes) if slopes else 0.0
    return slope, median(value - slope * at for at, value in values)


def line(one: Forecast) -> str:
    """``full in 2.1 d  filesystem /var on node-3: 91 %, +4.2 % a day``."""
    where = " on ".join(reversed(one.entity))
    outlook = f"{one.outlook} {one.days:.1f} d" if one.days is not None else str(one.outlook)
    growth = "" if one.outlook is Outlook.TOO_SHORT else f", {one.per_day * 100:+.1f} % a day"
    return f"{outlook:<22} {one.kind} {where}: {percent(one.now)}{growth}"
