"""One tick as the server holds it, by search: the host, its busiest cgroups, the ledger."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shipper.deliver.client import Connection, call
from shipper.deliver.document import flat
from shipper.schema.stream_names import stream
from shipper.settings.config import Index

_ROWS: Final = 6
# Without aggregates, so that no usage is listed twice
_LEAVES: Final = {"term": {"cgroup.aggregate": False}}
# Up to now: a host whose clock is ahead ships documents from the future
_RECENT: Final = {"range": {"@timestamp": {"gte": "now-15m", "lte": "now"}}}
_SHOWN: Final = [
    "cgroup.name",
    "cgroup.kind",
    "container.*",
    "cgroup.cpu.pct",
    "cgroup.memory.*",
    "cgroup.pids.current",
]


@dataclass(frozen=True)
class LastTick:
    """Documents of one tick as flat dotted names → values; None if the server has none yet."""

    tick: str
    host: Mapping[str, Any]
    by_cpu: list[Mapping[str, Any]]
    by_memory: list[Mapping[str, Any]]
    agent: Mapping[str, Any]


def latest(client: Connection, index: Index, host_id: str) -> LastTick | None:
    """The newest tick of a host in the last 15 minutes; None if search finds none yet. Raises ServerError."""
    filters = [{"term": {"host.id": host_id}}, _RECENT]
    newest = {"size": 1, "sort": [{"@timestamp": "desc"}], "query": {"bool": {"filter": filters}}}
    hosts = _search(client, stream("host", index.namespace), newest)
    if not hosts:
        return None
    tick = hosts[0]["@timestamp"]
    agents = _search(client, stream("agent", index.namespace), newest)
    by_cpu = _top(client, index, host_id, tick, "cgroup.cpu.pct")
    by_memory = _top(client, index, host_id, tick, "cgroup.memory.working_set.bytes")
    return LastTick(tick, hosts[0], by_cpu, by_memory, agents[0] if agents else {})


def _top(client: Connection, index: Index, host_id: str, tick: str, field: str) -> list[Mapping[str, Any]]:
    filters = [{"term": {"host.id": host_id}}, {"term": {"@timestamp": tick}}, _LEAVES, {"exists": {"field": field}}]
    body = {
        "size": _ROWS,
        "sort": [{field: "desc"}],
        "query": {"bool": {"filter": filters}},
        "_source": _SHOWN,
    }
    return _search(client, stream("cgroup", index.namespace), body)


def _search(client: Connection, name: str, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    path = f"/{name}/_search?ignore_unavailable=true&filter_path=hits.hits._source"
    answer = call(client, "POST", path, body)
    return [flat(hit["_source"]) for hit in (answer or {}).get("hits", {}).get("hits", ())]


_QUESTIONS: Final[tuple[tuple[str, str, Mapping[str, Any], Mapping[str, Any]], ...]] = (
    (
        "Which containers and services used the most memory in the last 15 minutes, and how much CPU did they use?",
        "cgroup",
        {"bool": {"filter": [_LEAVES, _RECENT]}},
        {"cgroup": {
            "terms": {"field": "cgroup.path", "size": 5, "order": {"memory": "desc"}},
            "aggs": {
                "memory": {"max": {"field": "cgroup.memory.working_set.bytes"}},
                "cpu": {"avg": {"field": "cgroup.cpu.pct"}},
            },
        }},
    ),
    (
        "How did the CPU usage, load and memory pressure of each host change, minute by minute?",
        "host",
        _RECENT,
        {"host": {"terms": {"field": "host.name"}, "aggs": {"time": {
            "date_histogram": {"field": "@timestamp", "fixed_interval": "1m"},
            "aggs": {
                "cpu": {"avg": {"field": "system.cpu.total.norm.pct"}},
                "load": {"max": {"field": "system.load.1"}},
                "stalled": {"max": {"field": "system.pressure.memory.some.avg10.pct"}},
            },
        }}}},
    ),
    (
        "Which filesystems are fullest?",
        "filesystem",
        _RECENT,
        {"mount": {
            "terms": {"field": "system.filesystem.mount_point", "size": 5, "order": {"used": "desc"}},
            "aggs": {"used": {"max": {"field": "system.filesystem.used.pct"}}},
        }},
    ),
)  # fmt: skip


def questions(url: str, index: Index) -> list[tuple[str, str]]:
    """A few ad-hoc queries: the question, and the curl command that asks it."""
    return [
        (question, _curl(f"{url}/{stream(dataset, index.namespace)}", {"size": 0, "query": query, "aggs": aggs}))
        for question, dataset, query, aggs in _QUESTIONS
    ]


def _curl(url: str, body: Mapping[str, Any]) -> str:
    address = f"{url}/_search?pretty&filter_path=aggregations"
    return f"curl -s '{address}' -H 'content-type: application/json' -d '{json.dumps(body)}'"
