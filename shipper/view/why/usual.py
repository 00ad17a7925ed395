"""Whether a value is usual, compared with the same hours of yesterday and last week, and with other hosts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from shipper.view.dashboards.model import ENTITY, HOST
from shipper.view.msearch import Filter, Search, number, searched, term, within
from shipper.view.why.signals import Signal

_DAY_MS: Final = 86_400_000
_EARLIER: Final = {"yesterday": _DAY_MS, "last week": 7 * _DAY_MS}
_MOST_PEERS: Final = 1000
_FEWEST_PEERS: Final = 4
TO_SIGMA: Final = 1.4826  # of a normal distribution: https://en.wikipedia.org/wiki/Median_absolute_deviation
_UNUSUAL: Final = 3.0


@dataclass(frozen=True, slots=True)
class Peers:
    """The entities with which a value is compared: values of ``field`` in documents that pass ``filters``."""

    words: str
    field: str
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Usual:
    """``earlier``: means in the same hours; a time without documents is missing. ``number``: of peers.

    ``middle``: their median. ``away``: how many median absolute deviations (scaled to a standard deviation) the value
    is above it; None if all peers have the same value, or if there are too few.
    """

    earlier: dict[str, float]
    peers: str
    number: int
    middle: float | None
    away: float | None

    @property
    def unusual(self) -> bool:
        """Whether the value is far above that of the peers."""
        return self.away is not None and self.away > _UNUSUAL


def peers_of(signal: Signal, entity: str, role: str) -> Peers:
    """Containers of the same name, hosts with the same label ``role``, or all hosts."""
    if signal.dataset == "cgroup":
        name = entity.rpartition("@")[0]
        return Peers(f"others of the name {name}", ENTITY, (term("cgroup.name", name),))
    if role:
        return Peers(f"other hosts of role {role}", HOST, (term("labels.role", role),))
    return Peers("other hosts", HOST)


def searches(signal: Signal, whose: Sequence[Filter], peers: Peers, first_ms: int, last_ms: int) -> Iterator[Search]:
    """The same hours before, and the peers now. ``whose``: filters of the entity."""
    mean = {"mean": {"avg": {"field": signal.field}}}
    for back_ms in _EARLIER.values():
        filters = [*whose, within(first_ms - back_ms, last_ms - back_ms)]
        yield signal.dataset, searched(filters, mean)
    alike = [within(first_ms, last_ms), *peers.filters]
    split = {"peers": {"terms": {"field": peers.field, "size": _MOST_PEERS}, "aggs": mean}}
    yield signal.dataset, searched(alike, split)


def usual(value: float, own: str, peers: Peers, responses: Sequence[Mapping[str, Any]]) -> Usual:
    """What the responses to ``searches`` say about ``value``; ``own``: the name of what is compared with its peers."""
    *earlier, alike = responses
    means = {
        name: number(response.get("aggregations", {}), "mean") for name, response in zip(_EARLIER, earlier, strict=True)
    }
    known = {name: mean for name, mean in means.items() if mean is not None}
    buckets = alike.get("aggregations", {}).get("peers", {}).get("buckets", ())
    others = [mean for one in buckets if one["key"] != own and (mean := number(one, "mean")) is not None]
    middle = median(others) if len(others) >= _FEWEST_PEERS else None
    away = None if middle is None else deviations(value, middle, others)
    return Usual(known, peers.words, len(others), middle, away)


def deviations(value: float, middle: float, peers: Sequence[float]) -> float | None:
    """How many scaled median absolute deviations ``value`` is above ``middle``."""
    spread = median(abs(peer - middle) for peer in peers) * TO_SIGMA
    return (value - middle) / spread if spread else None
