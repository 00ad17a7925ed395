"""The post-mortem of an OOM kill: whose limit, kinds of memory, growth, and a limit that would have been enough."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.base.text import escaped
from shipper.deliver.client import Connection
from shipper.settings.config import Index
from shipper.view.dashboards.model import ENTITY, HOST, TIME
from shipper.view.msearch import Filter, Search, msearch, searched, term, within
from shipper.view.unit_formats import moment, shown
from shipper.view.why.forecast import theil_sen

_BEFORE_MS: Final = 5 * 60_000
_BUCKET: Final = "30s"
_MINUTE_MS: Final = 60_000
_PARTS: Final = ("anon", "file", "kernel", "sock", "shmem")
_USAGE, _LIMIT = "cgroup.memory.usage.bytes", "cgroup.memory.limit.effective.bytes"
_EVENT: Final = (TIME, HOST, ENTITY, "event.*", "process.pid", "process.name", "cgroup.path", "message")
_MOST: Final = 3
_MARGIN: Final = 1.25
_GROWS: Final = 0.005  # of the usage per minute; slower growth counts as none
_AN_HOUR: Final = 60  # minutes


@dataclass(frozen=True, slots=True)
class Kill:
    """One OOM kill. ``fields``: of the event. ``parts``: means by kind of memory in the last document before it.

    ``usage``: by time in ms. ``processes``: names and resident bytes before the kill, the largest first.
    """

    at_ms: int
    fields: Mapping[str, Any]
    parts: Mapping[str, float]
    usage: Mapping[int, float]
    limit: float | None
    processes: Sequence[tuple[str, float]]

    @property
    def growth(self) -> float:
        """Bytes per minute before the kill, by a robust slope."""
        values = [(at / _MINUTE_MS, used) for at, used in self.usage.items()]
        return theil_sen(values)[0] if len(values) > 1 else 0.0


def find(connection: Connection, index: Index, first_ms: int, last_ms: int, name: str = "") -> list[Kill]:
    """The newest kills, of the container, service or host ``name`` if given. Raises UserError if there is none."""
    whose: list[Filter] = [{"bool": {"should": [term(ENTITY, name), term(HOST, name)]}}] if name else []
    filters = [within(first_ms, last_ms), term("event.action", "oom_kill"), *whose]
    fields = [field if field != TIME else {"field": TIME, "format": "epoch_millis"} for field in _EVENT]
    query = {"size": _MOST, "query": {"bool": {"filter": filters}}, "sort": [{TIME: "desc"}], "_source": False}
    (events,) = msearch(connection, index, [("event", {**query, "fields": fields})])
    hits = events["hits"]["hits"]
    if not hits:
        raise UserError(f"no OOM kill{f' of {name}' if name else ''} is stored for this time range")
    found = [{key: values[0] for key, values in hit["fields"].items()} for hit in hits]
    searches = [search for fields_ in found for search in _searches(fields_)]
    responses = list(msearch(connection, index, searches))
    return [_kill(fields_, responses[2 * i], responses[2 * i + 1]) for i, fields_ in enumerate(found)]


def _searches(fields: Mapping[str, Any]) -> Iterator[Search]:
    at_ms = _at(fields)
    whose = [term(ENTITY, fields[ENTITY]) if ENTITY in fields else term(HOST, fields[HOST])]
    filters = [*whose, within(at_ms - _BEFORE_MS, at_ms)]
    means = {name: {"avg": {"field": f"cgroup.memory.{name}.bytes"}} for name in _PARTS}
    means |= {"usage": {"max": {"field": _USAGE}}, "limit": {"max": {"field": _LIMIT}}}
    times = {"date_histogram": {"field": TIME, "fixed_interval": _BUCKET, "min_doc_count": 1}, "aggs": means}
    yield "cgroup", searched(filters, {"times": times})
    rss = {"rss": {"max": {"field": "system.process.memory.rss.bytes"}}}
    names = {"terms": {"field": "process.name", "size": 3, "order": {"rss": "desc"}}, "aggs": rss}
    yield "process", searched(filters, {"names": names})


def _at(fields: Mapping[str, Any]) -> int:
    started = fields.get("event.start")
    return round(datetime.fromisoformat(started).timestamp() * 1000) if started else int(fields[TIME])


def _kill(fields: Mapping[str, Any], cgroup: Mapping[str, Any], processes: Mapping[str, Any]) -> Kill:
    buckets = cgroup.get("aggregations", {}).get("times", {}).get("buckets", ())
    usage = {one["key"]: one["usage"]["value"] for one in buckets if one["usage"]["value"] is not None}
    last = buckets[-1] if buckets else {}
    parts = {name: last[name]["value"] for name in _PARTS if last and last[name]["value"] is not None}
    limit = fields.get("event.oom.limit.bytes") or (last["limit"]["value"] if last else None)
    names = processes.get("aggregations", {}).get("names", {}).get("buckets", ())
    largest = [(one["key"], one["rss"]["value"]) for one in names if one["rss"]["value"] is not None]
    return Kill(_at(fields), fields, parts, usage, limit, largest)


def lines(kill: Kill) -> Iterator[str]:
    """The post-mortem of one kill, fit for a terminal."""
    return map(escaped, _lines(kill))


def _lines(kill: Kill) -> Iterator[str]:
    fields = kill.fields
    whose = fields.get(ENTITY) or fields.get("cgroup.path") or fields[HOST]
    victim = f"{fields.get('process.name', 'a process')}, pid {fields.get('process.pid', '?')}"
    yield f"{moment(kill.at_ms)} UTC: the kernel OOM-killed {victim}, of {whose}"
    of_host = fields.get("event.oom.scope") == "host"
    reached = f"the limit of {shown(kill.limit, 'bytes')}" if kill.limit else "a limit"
    yield "  why: the host had no memory left" if of_host else f"  why: its cgroup reached {reached}"
    split = {name: fields.get(f"event.oom.{name}.bytes") for name in ("anon", "file", "shmem")}
    if any(split.values()):
        told = ", ".join(f"{name} {shown(size, 'bytes')}" for name, size in split.items() if size is not None)
        yield f"  the killed process had: {told}"
    if kill.parts:
        told = ", ".join(f"{name} {shown(size, 'bytes')}" for name, size in kill.parts.items() if size)
        yield f"  the cgroup's memory before: {told}"
    if kill.processes:
        told = ", ".join(f"{name} {shown(size, 'bytes')}" for name, size in kill.processes)
        yield f"  largest processes before: {told}"
    yield from _growth(kill)


def _growth(kill: Kill) -> Iterator[str]:
    if len(kill.usage) < 2:  # noqa: PLR2004
        yield "  growth: unknown, because there are too few documents before the kill"
        return
    peak, growth = max(kill.usage.values()), kill.growth
    minutes = (max(kill.usage) - min(kill.usage)) / _MINUTE_MS
    if growth < _GROWS * peak:
        yield f"  growth: none in the {minutes:.0f} minutes before; a peak of {shown(peak, 'bytes')}"
        yield f"  a limit of about {shown(peak * _MARGIN, 'bytes')} would have been enough: the peak plus a quarter"
        return
    yield f"  growth: {shown(growth, 'bytes')} per minute in the {minutes:.0f} minutes before"
    hour = shown(peak + _AN_HOUR * growth, "bytes")
    yield f"  no limit is enough at this growth; a limit of {hour} would have lasted an hour longer"


def plain(kill: Kill) -> dict[str, Any]:
    """The kill as JSON: times in ms since 1970, sizes in bytes."""
    return {
        "at": datetime.fromtimestamp(kill.at_ms / 1000, UTC).isoformat(),
        "event": dict(kill.fields),
        "limit_bytes": kill.limit,
        "parts_bytes": dict(kill.parts),
        "usage_bytes": {str(at): used for at, used in kill.usage.items()},
        "growth_bytes_per_minute": kill.growth,
        "processes_bytes": dict(kill.processes),
    }
