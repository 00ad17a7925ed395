"""The signals of a host or cgroup over a time range, by search."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.view.dashboards.model import TIME
from shipper.view.msearch import Filter, Search, searched
from shipper.view.why.signals import Resource, Signal

_MOST_DEVICES: Final = 50
_MOST_BUCKETS: Final = 360
# Means by the start of their time bucket in ms, oldest first; a bucket without a value is missing
Series = dict[int, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One signal over time. ``device`` is empty for a signal of the host or cgroup itself."""

    signal: Signal
    device: str
    values: Series


def width_ms(period_ms: int, first_ms: int, last_ms: int) -> int:
    """Width of a time bucket: a multiple of the period, such that there are not too many buckets."""
    buckets = max(1, (last_ms - first_ms) // period_ms)
    return period_ms * -(-buckets // _MOST_BUCKETS)


def searches(resources: Sequence[Resource], filters: Sequence[Filter], bucket_ms: int) -> Iterator[Search]:
    """One search for each dataset that has signals."""
    for (dataset, device), signals in _grouped(resources).items():
        means = {str(i): {"avg": {"field": signal.field}} for i, signal in enumerate(signals)}
        times = {"date_histogram": {"field": TIME, "fixed_interval": f"{bucket_ms}ms", "min_doc_count": 1}}
        aggs: dict[str, Any] = {"times": {**times, "aggs": means}}
        if device:
            aggs = {"devices": {"terms": {"field": device, "size": _MOST_DEVICES}, "aggs": aggs}}
        yield dataset, searched(filters, aggs)


def lines(resources: Sequence[Resource], responses: Iterable[Mapping[str, Any]]) -> list[Line]:
    """What the responses to ``searches`` say; a signal without any value has no line."""
    found = []
    for ((_, device), signals), response in zip(_grouped(resources).items(), responses, strict=True):
        aggs = response.get("aggregations", {})
        parts = {one["key"]: one for one in aggs.get("devices", {}).get("buckets", ())} if device else {"": aggs}
        for name, part in parts.items():
            buckets = part.get("times", {}).get("buckets", ())
            for i, signal in enumerate(signals):
                values = {one["key"]: one[str(i)]["value"] for one in buckets if one[str(i)]["value"] is not None}
                if values:
                    found.append(Line(signal, name, values))
    return found


def _grouped(resources: Sequence[Resource]) -> dict[tuple[str, str], list[Signal]]:
    grouped: dict[tuple[str, str], list[Signal]] = {}
    for resource in resources:
        for signal in resource.signals:
            grouped.setdefault((signal.dataset, signal.device), []).append(signal)
    return grouped
