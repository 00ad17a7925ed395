"""Who used what over a time range: core-hours and GiB-hours by container, image or label, adding up to the hosts'."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.fields.aliases import PERIOD
from shipper.fields.field import Type
from shipper.view.dashboards.model import ENTITY, HOST, BoardError, find
from shipper.view.msearch import Filter, Search, searched, term, within

_HOSTS: Final = 500
_GROUPS: Final = 120  # of a host; with _HOSTS within the server's limit of buckets
_MS_PER_HOUR: Final = 3_600_000
_GIB: Final = 1 << 30
_CPU, _MEMORY = "cgroup.cpu.cores", "cgroup.memory.usage.bytes"
_OF_HOST: Final = {
    "cpu": "system.cpu.total.pct",
    "cpus": "system.cpu.cores",
    "memory": "system.memory.used.bytes",
    "memories": "system.memory.total",
}
NONE: Final = "(none)"
# Key on the command line → field
KEYS: Final = {
    "container": ENTITY,
    "name": "cgroup.name",
    "image": "container.image.name",
    "pod": "kubernetes.pod.name",
    "namespace": "kubernetes.namespace",
    "host": HOST,
}
_LABEL: Final = "label."


@dataclass(frozen=True, slots=True)
class Used:
    """What a group used."""

    group: str
    core_hours: float
    gib_hours: float


@dataclass(frozen=True, slots=True)
class Usage:
    """``groups``: the most core-hours first. ``groups`` + ``unaccounted`` + ``idle`` = ``hosts``.

    ``unaccounted``: by the kernel, and by tasks in no leaf cgroup. A value below 0 means that memory is charged to
    several cgroups at once, or that the documents are of different moments.
    """

    groups: tuple[Used, ...]
    unaccounted: Used
    idle: Used
    hosts: Used


def field(key: str) -> str:
    """The field of a key: one of KEYS, or ``label.NAME`` for a container's label. Raises BoardError."""
    if key.startswith(_LABEL):
        return f"container.labels.{key.removeprefix(_LABEL)}"
    if key not in KEYS:
        raise BoardError(f"{key}: must be one of {', '.join(KEYS)}, or label.NAME")
    return KEYS[key]


def searches(by: str, first_ms: int, last_ms: int, filters: Sequence[Filter] = ()) -> Iterator[Search]:
    """Sums over the documents of leaf cgroups by host and group, and of the hosts."""
    assert find("cgroup", by).type in (Type.KEYWORD, Type.FLATTENED)
    span = within(first_ms, last_ms)
    sums = {"cpu": {"sum": {"field": _CPU}}, "memory": {"sum": {"field": _MEMORY}}}
    groups = {
        "groups": {"terms": {"field": by, "size": _GROUPS, "missing": NONE, "order": {"cpu": "desc"}}, "aggs": sums}
    }
    leaf = term("cgroup.aggregate", "false")
    for dataset, more, aggs in (
        ("cgroup", [leaf], groups),
        ("host", [], {name: {"sum": {"field": of}} for name, of in _OF_HOST.items()} | _period()),
    ):
        hosts = {"hosts": {"terms": {"field": HOST, "size": _HOSTS}, "aggs": aggs}}
        yield dataset, searched([span, *more, *filters], hosts)


def _period() -> dict[str, Any]:
    return {"period": {"avg": {"field": PERIOD.name}}}


def usage(responses: Sequence[Mapping[str, Any]]) -> Usage:
    """What the responses to ``searches`` say; a document stands for one period of its host."""
    cgroups, of_hosts = ({one["key"]: one for one in _hosts(response)} for response in responses)
    hours = {name: (one["period"]["value"] or 0) / _MS_PER_HOUR for name, one in of_hosts.items()}
    groups: dict[str, list[float]] = {}
    for host, one in cgroups.items():
        for group in one["groups"]["buckets"]:
            sums = groups.setdefault(group["key"], [0.0, 0.0])
            sums[0] += group["cpu"]["value"] * hours.get(host, 0.0)
            sums[1] += group["memory"]["value"] * hours.get(host, 0.0) / _GIB
    total = {
        name: sum(one[name]["value"] * hours[host] for host, one in of_hosts.items()) / (_GIB if "mem" in name else 1)
        for name in _OF_HOST
    }
    used = sorted((Used(name, *sums) for name, sums in groups.items()), key=lambda one: one.core_hours, reverse=True)
    cpu, memory = sum(one.core_hours for one in used), sum(one.gib_hours for one in used)
    return Usage(
        tuple(used),
        Used("unaccounted", total["cpu"] - cpu, total["memory"] - memory),
        Used("idle or free", total["cpus"] - total["cpu"], total["memories"] - total["memory"]),
        Used("all hosts", total["cpus"], total["memories"]),
    )


def _hosts(response: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = response.get("aggregations", {}).get("hosts", {}).get("buckets", ())
    return found
