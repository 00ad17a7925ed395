"""The fleet at one moment, by search: its hosts, and what runs on one of them. Needs only the privilege ``read``."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from shipper.deliver.client import Connection, call
from shipper.deliver.document import flat
from shipper.schema.stream_names import indices
from shipper.settings.config import Index

Row = dict[str, Any]
KEEP_S: Final = 15 * 60  # if a host is silent for longer, only the time of its last document is shown
SILENT_MS: Final = 120_000  # as long as the dashboards' model.RECENT
_DAY_S: Final = 86_400  # a host that is silent for longer is omitted, as on the dashboards
_SLOW_S: Final = 3 * 60  # long enough for each filesystem and container to have shipped
_FUTURE_S: Final = 30  # a clock may be this far ahead of the server's before its documents are reported
_FAR_S: Final = 30 * 86_400
_MOST: Final = 10_000  # hits of one search, by default of the server
AGE: Final = "age_ms"  # since the newest document of all
FULLEST: Final = "system.filesystem.used.pct"  # the highest of the host
CONTAINERS: Final = "containers"
STOPPED: Final = "agent.stopped"

_HOST_FIELDS: Final = (
    *("@timestamp", "host.name", "host.id", "metricset.period", "system.cpu.total.norm.pct", "system.load.norm.1"),
    *("system.memory.actual.used.pct", "system.uptime.duration.ms", "system.diskio.total.*", "system.network.total.*"),
    *("system.pressure.cpu.some.avg10.pct", "system.pressure.memory.some.avg10.pct"),
    "system.pressure.io.some.avg10.pct",
)
_CGROUP_FIELDS: Final = (
    *(
        "@timestamp",
        "host.id",
        "cgroup.path",
        "cgroup.name",
        "cgroup.entity",
        "cgroup.kind",
        "cgroup.uptime.ms",
        "cgroup.restarts.count",
    ),
    *("container.runtime", "container.image.name", "kubernetes.pod.name", "kubernetes.namespace", "cgroup.cpu.cores"),
    *("cgroup.cpu.limit.pct", "cgroup.cpu.throttled.pct", "cgroup.memory.working_set.*", "cgroup.pids.current"),
    *("cgroup.io.read.bytes_per_s", "cgroup.io.write.bytes_per_s", "cgroup.memory.events.oom_kill.count"),
    *("cgroup.network.in.bytes_per_s", "cgroup.network.out.bytes_per_s", "cgroup.pressure.memory.some.avg10.pct"),
)


@dataclass(frozen=True)
class Seen:
    """``rows``: flat values by dotted name, one row per host or cgroup; ``at``: the newest ``@timestamp``, empty if
    none.

    ``future``: hosts that have shipped documents from the future, and the newest of these times.
    """

    at: str
    rows: list[Row]
    future: Mapping[str, str] = field(default_factory=dict)

    @property
    def at_ms(self) -> int:
        return milliseconds(self.at) if self.at else 0


def milliseconds(timestamp: str) -> int:
    """Milliseconds since 1970 of an ISO timestamp."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


def hosts(client: Connection, index: Index, at_ms: int | None = None) -> Seen:
    """The newest document of each host up to ``at_ms`` (None: now), if it is not older than KEEP_S.

    A row has the document's age, the usage of the fullest filesystem and the number of recent containers. The row of a
    host that is silent for up to a day has its last time, its age, and whether its shipper was stopped. Raises
    ServerError.
    """
    body = {
        "size": _MOST,
        "query": {"bool": {"filter": [_between(at_ms, KEEP_S)]}},
        "sort": [{"@timestamp": "desc"}],
        "collapse": {"field": "host.name"},
        "_source": list(_HOST_FIELDS),
    }
    rows = _hits(_search(client, index, "host", body))
    future = {} if at_ms is not None else _future(client, index)
    ends = max((milliseconds(row["@timestamp"]) for row in rows), default=at_ms or round(time.time() * 1000))
    there = {row["host.name"] for row in rows}
    of_a_day = _newest(client, index, "host", _between(at_ms, _DAY_S))
    rows += [{"host.name": name, "@timestamp": last} for name, last in of_a_day.items() if name not in there]
    if not rows:
        return Seen("", [], future)
    full = _by_host(client, index, "filesystem", ends, {"max": {"field": "system.filesystem.used.pct"}})
    ran = _by_host(client, index, "cgroup", ends, {"cardinality": {"field": "container.id"}})
    for row in rows:
        name = row["host.name"]
        more = {FULLEST: full.get(name), CONTAINERS: ran.get(name), AGE: ends - milliseconds(row["@timestamp"])}
        row |= {key: value for key, value in more.items() if value is not None}
    _tell_stopped(client, index, at_ms, [row for row in rows if row[AGE] > SILENT_MS])
    return Seen(max((row["@timestamp"] for row in rows), key=milliseconds), rows, future)


def _tell_stopped(client: Connection, index: Index, at_ms: int | None, silent: Sequence[Row]) -> None:
    """Set STOPPED in the rows of hosts whose shipper said in its last document that it stops."""
    if not silent:
        return
    names = {"terms": {"host.name": [row["host.name"] for row in silent]}}
    said = _newest(client, index, "agent", _between(at_ms, _DAY_S), names, {"term": {STOPPED: True}})
    for row in silent:
        last = said.get(row["host.name"], "")
        row[STOPPED] = bool(last) and milliseconds(last) >= milliseconds(row["@timestamp"])


def cgroups(client: Connection, index: Index, host: str, at_ms: int | None = None) -> Seen:
    """What ran on ``host`` at its newest tick up to ``at_ms``, without aggregates. Raises ServerError."""
    mine = {"term": {"host.name": host}}
    newest = {
        "size": 1,
        "query": {"bool": {"filter": [mine, _between(at_ms, KEEP_S)]}},
        "sort": [{"@timestamp": "desc"}],
        "_source": ["@timestamp"],
    }
    newest_hits = _hits(_search(client, index, "cgroup", newest))
    if not newest_hits:
        return Seen("", [])
    tick = newest_hits[0]["@timestamp"]
    filters = [mine, {"term": {"@timestamp": tick}}, {"term": {"cgroup.aggregate": False}}]
    body = {"size": _MOST, "query": {"bool": {"filter": filters}}, "_source": list(_CGROUP_FIELDS)}
    return Seen(tick, _hits(_search(client, index, "cgroup", body)))


def _between(at_ms: int | None, seconds: int) -> Mapping[str, Any]:
    """The time range: up to now by the server's clock, so that documents from the future are excluded, or up to
    ``at_ms``.
    """
    if at_ms is None:
        return {"range": {"@timestamp": {"gte": f"now-{seconds}s", "lte": "now"}}}
    span = {"gte": at_ms - seconds * 1000, "lte": at_ms, "format": "epoch_millis"}
    return {"range": {"@timestamp": span}}


def _future(client: Connection, index: Index) -> dict[str, str]:
    """Hosts whose clock is, or was, ahead of the server's, and the time of their newest document."""
    later = {"range": {"@timestamp": {"gt": f"now+{_FUTURE_S}s", "lte": f"now+{_FAR_S}s"}}}
    return _newest(client, index, "host", later)


def _newest(client: Connection, index: Index, dataset: str, *filters: Mapping[str, Any]) -> dict[str, str]:
    """Host → time of the newest of its documents that pass ``filters``."""
    newest = {"max": {"field": "@timestamp", "format": "strict_date_time"}}
    body = {
        "size": 0,
        "query": {"bool": {"filter": list(filters)}},
        "aggs": {"hosts": {"terms": {"field": "host.name", "size": _MOST}, "aggs": {"it": newest}}},
    }
    found = _buckets(_search(client, index, dataset, body))
    return {bucket["key"]: bucket["it"]["value_as_string"] for bucket in found}


def _by_host(
    client: Connection, index: Index, dataset: str, at_ms: int, metric: Mapping[str, Any]
) -> dict[str, float | None]:
    aggregations = {"hosts": {"terms": {"field": "host.name", "size": _MOST}, "aggs": {"it": metric}}}
    body = {"size": 0, "query": {"bool": {"filter": [_between(at_ms, _SLOW_S)]}}, "aggs": aggregations}
    return {bucket["key"]: bucket["it"]["value"] for bucket in _buckets(_search(client, index, dataset, body))}


def _buckets(answer: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    buckets: Iterable[Mapping[str, Any]] = answer.get("aggregations", {}).get("hosts", {}).get("buckets", ())
    return buckets


def _search(client: Connection, index: Index, dataset: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ",".join(indices(index, dataset))
    path = f"/{names}/_search?ignore_unavailable=true&filter_path=hits.hits._source,aggregations"
    return call(client, "POST", path, body) or {}


def _hits(answer: Mapping[str, Any]) -> list[Row]:
    return [flat(hit["_source"]) for hit in answer.get("hits", {}).get("hits", ())]
