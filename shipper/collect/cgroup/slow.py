"""What is read less often than at every tick: processes, freezer and limits once a minute, other settings and rare controllers
every five minutes.

``cgroup.procs`` is expensive for large cgroups: the kernel builds, and in v1 sorts, the whole list (pidlist_array_load in
kernel/cgroup/cgroup-v1.c). A reader in its own pid namespace sees only the processes of that namespace (v1) or zeros (v2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from shipper.collect.cgroup.controllers import QUOTA, QUOTA_PERIOD, CgroupFile, limit, number, weight_of_shares
from shipper.fields.field import Field, Type, attribute, gauge
from shipper.fields.rates import Value
from shipper.kernel.hierarchy import UNIFIED, Layout, Mode, Node, rare
from shipper.kernel.namespace import own_processes
from shipper.kernel.parse import LARGEST, ParseError, integer, key_values, lines, signed, then
from shipper.kernel.source import Reader

_SIZES: Final = ("64KB", "2MB", "32MB", "512MB", "1GB", "16GB")
_NAMED_SIZES: Final = ("2MB", "1GB")
_MISC: Final = {b"sev": "sev", b"sev_es": "sev_es", b"tdx": "tdx"}
_RDMA: Final = {b"hca_handle": "cgroup.rdma.handles.count", b"hca_object": "cgroup.rdma.objects.count"}

FIELDS: Final[tuple[Field, ...]] = (
    gauge("cgroup.processes.count", "count", "Processes, including those in the cgroups below that have no document of their own; read once a minute", "cgroup.procs"),
    attribute("cgroup.frozen", "Whether it is frozen (paused); read once a minute", "cgroup.events frozen; v1 freezer.state", Type.BOOLEAN),
    gauge("cgroup.hugetlb.usage.bytes", "bytes", "Huge pages of all sizes; read every 5 minutes", "hugetlb.SIZE.current; v1 hugetlb.SIZE.usage_in_bytes"),
    *(
        gauge(f"cgroup.hugetlb.{size.lower()}.usage.bytes", "bytes", f"Huge pages of {size}; read every 5 minutes", f"hugetlb.{size}.current; v1 hugetlb.{size}.usage_in_bytes")
        for size in _NAMED_SIZES
    ),
    gauge("cgroup.rdma.handles.count", "count", "RDMA handles on all devices (HCA handles); read every 5 minutes", "rdma.current hca_handle"),
    gauge("cgroup.rdma.objects.count", "count", "RDMA objects on all devices (HCA objects); read every 5 minutes", "rdma.current hca_object"),
    *(
        gauge(f"cgroup.misc.{name}.count", "count", f"Used {name.upper()} ids; read every 5 minutes", f"misc.current {name}")
        for name in _MISC.values()
    ),
)  # fmt: skip
# The processes of a cgroup are read in the first of these hierarchies that it is in
_LISTED_IN: Final = ("pids", "memory", "cpuacct", "cpu", "blkio", UNIFIED)
# v1 hierarchies in which nothing is read at every tick
_RARE: Final = ("freezer", "hugetlb", "rdma", "misc")


def _hugetlb(size: str) -> tuple[CgroupFile, CgroupFile]:
    parse = number(f"hugetlb {size}")
    v2 = CgroupFile(UNIFIED, f"hugetlb.{size}.current", parse, needs="hugetlb")
    return v2, CgroupFile("hugetlb", f"hugetlb.{size}.usage_in_bytes", parse)


def _is_frozen(events: Mapping[str, int]) -> Mapping[str, Value]:
    return {"cgroup.frozen": events["frozen"] == 1} if events else {}


# A line ``frozen 1`` in cgroup.events (Linux 5.2)
_frozen = then(lambda text: key_values(text, {b"frozen": "frozen"}), _is_frozen)


def _freezer(text: bytes) -> Mapping[str, Value]:
    state = text.strip()
    if state not in (b"THAWED", b"FREEZING", b"FROZEN"):
        raise ParseError("neither THAWED, FREEZING nor FROZEN")
    return {"cgroup.frozen": state == b"FROZEN"}


def _rdma(text: bytes) -> Mapping[str, Value]:
    """A line ``mlx4_0 hca_handle=2 hca_object=2000`` per device; a sum is known if the number of each device is."""
    total: dict[str, Value] = {}
    bad: dict[str, str] = {}
    for pair in text.split():
        key, _, amount = pair.partition(b"=")
        if key in _RDMA:
            field = _RDMA[key]
            try:
                total[field] = integer(amount) + int(total.get(field, 0))  # type: ignore[arg-type]
            except ParseError as error:
                bad[field] = str(error)
    if bad:
        raise ParseError(next(iter(bad.values())), {field: sum_ for field, sum_ in total.items() if field not in bad})
    return total


def _misc(text: bytes) -> Mapping[str, Value]:
    return {**key_values(text, {key: f"cgroup.misc.{name}.count" for key, name in _MISC.items()})}


def _cpu_max(text: bytes) -> Mapping[str, Value]:
    """``max 100000`` or ``50000 100000``: quota and period in µs."""
    quota, _, period = text.strip().partition(b" ")
    return {} if quota == b"max" else {QUOTA: integer(quota), QUOTA_PERIOD: integer(period)}


def _cfs_quota(text: bytes) -> Mapping[str, Value]:
    quota = signed(text)
    return {QUOTA: quota} if quota > 0 else {}


_V2: Final = [
    CgroupFile(UNIFIED, "cpu.weight", number("cgroup.cpu.weight"), needs="cpu"),
    CgroupFile(UNIFIED, "memory.low", limit("cgroup.memory.low.bytes"), needs="memory"),
    CgroupFile(UNIFIED, "memory.min", limit("cgroup.memory.min.bytes"), needs="memory"),
    CgroupFile(UNIFIED, "memory.swap.max", limit("cgroup.memory.swap.limit.bytes"), needs="memory"),
    CgroupFile(UNIFIED, "pids.peak", number("cgroup.pids.peak"), needs="pids"),
    *(_hugetlb(size)[0] for size in _SIZES),
    CgroupFile(UNIFIED, "rdma.current", _rdma, needs="rdma"),
    CgroupFile(UNIFIED, "misc.current", _misc, needs="misc"),
]
_V1: Final = [
    CgroupFile("cpu", "cpu.shares", weight_of_shares),
    CgroupFile("pids", "pids.peak", number("cgroup.pids.peak")),
    *(_hugetlb(size)[1] for size in _SIZES),
    CgroupFile("rdma", "rdma.current", _rdma),
    CgroupFile("misc", "misc.current", _misc),
]
_STATE: Final = [
    CgroupFile("cpu", "cpu.cfs_quota_us", _cfs_quota),
    CgroupFile("cpu", "cpu.cfs_period_us", number(QUOTA_PERIOD)),
    CgroupFile(UNIFIED, "cpu.max", _cpu_max, needs="cpu"),
    CgroupFile("memory", "memory.limit_in_bytes", limit("cgroup.memory.limit.bytes")),
    CgroupFile(UNIFIED, "memory.max", limit("cgroup.memory.limit.bytes"), needs="memory"),
    CgroupFile(UNIFIED, "memory.high", limit("cgroup.memory.high.bytes"), needs="memory"),
    CgroupFile("pids", "pids.max", limit("cgroup.pids.limit")),
    CgroupFile(UNIFIED, "pids.max", limit("cgroup.pids.limit"), unless="cgroup.pids.limit", needs="pids"),
    CgroupFile("freezer", "freezer.state", _freezer),
    CgroupFile(UNIFIED, "cgroup.events", _frozen, unless="cgroup.frozen"),
]

TABLES: Final = {"v2": _V2, "v1": _V1, "state": _STATE}


class Slow:
    """Slow reads of the cgroups of a host, only of controllers that the host has."""

    def __init__(self, reader: Reader, layout: Layout) -> None:
        self._reader = reader
        self._own_processes = own_processes(reader)
        more = rare(reader, _RARE) if layout.mode is not Mode.V2 else {}
        self._layout = replace(layout, hierarchies={**more, **layout.hierarchies})
        self._hierarchies = self._layout.hierarchies
        self._settings = self._possible([*_V1, *_V2])
        self._state = self._possible(_STATE)

    def _possible(self, table: list[CgroupFile]) -> list[CgroupFile]:
        return [spec for spec in table if self._layout.has(spec.controller, spec.needs)]

    def settings(self, path: str, node: Node) -> dict[str, Value]:
        """What is read every five minutes, of the cgroup ``path``."""
        return _with_hugetlb(self._read(self._settings, path, node))

    def state(self, path: str, node: Node) -> dict[str, Value]:
        """What is read once a minute, of the cgroup ``path``."""
        return self._read(self._state, path, node)

    def _read(self, table: list[CgroupFile], path: str, node: Node) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for spec in table:
            if spec.unless in values or (spec.controller not in _RARE and spec.controller not in node.inodes):
                continue
            name = f"{self._hierarchies[spec.controller]}{path}/{spec.name}"
            data = self._reader.read_once(name)
            if data:
                values.update(self._reader.parsed(name, data, spec.parse) or {})
        return values

    def processes(self, path: str, node: Node) -> list[int]:
        """Pids of the processes in the cgroup ``path`` and in the cgroups below it.

        In a pid namespace of our own, v2 lists the host's processes as 0, and v1 leaves them out, so v1 is not read then.
        """
        listed_in = (UNIFIED,) if self._own_processes else _LISTED_IN
        controller = next((name for name in listed_in if name in node.inodes), "")
        pids: list[int] = []
        for cgroup in _paths(path, node, controller) if controller else ():
            name = f"{self._hierarchies[controller]}{cgroup}/cgroup.procs"
            data = self._reader.read_once(name)
            if data:
                pids += self._reader.parsed(name, data, lambda text: lines(text, integer)) or []
        return pids


def _paths(path: str, node: Node, controller: str) -> Iterator[str]:
    yield path
    for name, child in node.children.items():
        if controller in child.inodes:
            yield from _paths(f"{path}/{name}", child, controller)


def _with_hugetlb(values: dict[str, Any]) -> dict[str, Value]:
    sizes = {size: values.pop(f"hugetlb {size}") for size in _SIZES if f"hugetlb {size}" in values}
    if sizes and sum(sizes.values()) <= LARGEST:
        values["cgroup.hugetlb.usage.bytes"] = sum(sizes.values())
        values |= {f"cgroup.hugetlb.{size.lower()}.usage.bytes": sizes[size] for size in _NAMED_SIZES if size in sizes}
    return values
