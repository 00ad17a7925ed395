"""The containers and processes that use most of an alert's resource; for a container, the state of its host."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from shipper.deliver.document import flat
from shipper.view.alerts.judge import Responses, within
from shipper.view.alerts.model import PER_CONTAINER, Found, Resource
from shipper.view.dashboards.model import ENTITY, HOST, TIME
from shipper.view.msearch import Search
from shipper.view.unit_formats import shown

MOST: Final = 3
_CGROUPS_S: Final = 70  # the longest usual period is a minute
_PROCESSES_S: Final = 130  # processes are read once a minute
# Resource → fields of cgroup and process documents, and their unit
_FIELDS: Final[Mapping[Resource, tuple[str, str, str]]] = {
    Resource.CPU: ("cgroup.cpu.cores", "system.process.cpu.total.pct", "cores"),
    Resource.MEMORY: ("cgroup.memory.working_set.bytes", "system.process.memory.rss.bytes", "bytes"),
    Resource.IO: ("cgroup.io.busiest.bytes_per_s", "system.process.io.write.bytes_per_s", "bytes/s"),
    Resource.NETWORK: ("cgroup.network.out.bytes_per_s", "", "bytes/s"),
    Resource.TASKS: ("cgroup.pids.current", "system.process.num_threads", "count"),
}
_HOST: Final = {
    "CPU": "system.cpu.total.norm.pct",
    "CPU pressure": "system.pressure.cpu.some.avg10.pct",
    "memory pressure": "system.pressure.memory.some.avg10.pct",
    "I/O pressure": "system.pressure.io.some.avg10.pct",
}
Wanted = tuple[str, Resource]  # a host, and the resource; NONE: the state of the host


def wanted(alerts: Iterable[Found]) -> list[Wanted]:
    """What must be asked for ``alerts``, each once."""
    return list(dict.fromkeys(one for alert in alerts if (one := _wanted(alert))))


def _wanted(alert: Found) -> Wanted | None:
    if alert.rule.per == PER_CONTAINER:
        return (alert.host, Resource.NONE)
    return (alert.host, alert.rule.resource) if alert.rule.resource else None


def searches(wanted: Iterable[Wanted], at_ms: int) -> list[Search]:
    """Two searches for each, or one."""
    return [search for host, resource in wanted for search in _searches(host, resource, at_ms)]


def _searches(host: str, resource: Resource, at_ms: int) -> list[Search]:
    mine = {"term": {HOST: host}}
    if resource is Resource.NONE:
        filters = [mine, within(at_ms, _CGROUPS_S)]
        source = [*_HOST.values()]
        body = {"size": 1, "query": {"bool": {"filter": filters}}, "sort": [{TIME: "desc"}], "_source": source}
        return [("host", body)]
    cgroup, process, _ = _FIELDS[resource]
    leaf = {"term": {"cgroup.aggregate": False}}
    found: list[Search] = [("cgroup", _most(cgroup, ENTITY, ["cgroup.name"], [mine, leaf, within(at_ms, _CGROUPS_S)]))]
    if process:
        names = ["process.name", "process.pid"]
        found.append(("process", _most(process, "process.entity_id", names, [mine, within(at_ms, _PROCESSES_S)])))
    return found


def _most(field: str, entity: str, source: list[str], filters: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The MOST entities with the highest ``field``, each once."""
    return {
        "size": MOST,
        "query": {"bool": {"filter": [*filters, {"range": {field: {"gt": 0}}}]}},
        "sort": [{field: "desc"}],
        "collapse": {"field": entity},
        "_source": [*source, field],
    }


def named(alerts: Iterable[Found], asked: Iterable[Wanted], responses: Responses) -> list[Found]:
    """``alerts`` with their culprits, from the responses to ``searches(asked)``."""
    left = iter(responses)
    lines = {
        (host, resource): tuple(
            line for dataset, _ in _searches(host, resource, 0) if (line := _line(dataset, resource, next(left)))
        )
        for host, resource in asked
    }
    return [replace(alert, culprits=lines.get(_wanted(alert) or ("", Resource.NONE), ())) for alert in alerts]


def _line(dataset: str, resource: Resource, response: Mapping[str, Any]) -> str:
    rows = [flat(hit["_source"]) for hit in response["hits"]["hits"]]
    if not rows:
        return ""
    if dataset == "host":
        values = [f"{name} {shown(rows[0][field], 'pct')}" for name, field in _HOST.items() if field in rows[0]]
        return f"its host: {', '.join(values)}"
    cgroup, process, unit = _FIELDS[resource]
    if dataset == "cgroup":
        return "containers: " + ", ".join(f"{row['cgroup.name']} {shown(row[cgroup], unit)}" for row in rows)
    return "processes: " + ", ".join(
        f"{row.get('process.name', '?')} ({row.get('process.pid', '?')}) {shown(row[process], unit)}" for row in rows
    )
