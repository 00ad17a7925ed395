"""One cgroup over time: its names, its processes, and what is read less often than at every tick."""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from zlib import crc32

from shipper.base.tick_times import timestamp
from shipper.collect.cgroup import container_network
from shipper.collect.cgroup.entities import ENTITY
from shipper.collect.cgroup.identity import CgroupKind, Identity, pod_uid
from shipper.collect.cgroup.names import Naming
from shipper.collect.cgroup.reading import FileTable, TickFiles
from shipper.collect.cgroup.runtime.containers import Names, RuntimeFiles
from shipper.collect.cgroup.slow import Slow
from shipper.fields.aliases import CONTAINERS, PERIOD
from shipper.fields.rates import Ceiling, Value
from shipper.kernel.every import Every
from shipper.kernel.hierarchy import Layout, Node
from shipper.kernel.namespace import of_pid
from shipper.kernel.source import Reader

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_STATE_S: Final = 60
_EARLY_S: Final = 5  # a tick that begins a little early need not wait for the next one
_SETTINGS_S: Final = 300
_SPREAD: Final = 30
_HOLDERS: Final = (CgroupKind.SLICE, CgroupKind.POD)
_RUN_BY_OTHERS: Final = (CgroupKind.CONTAINER, CgroupKind.MACHINE)
_MOST_ASKED: Final = 8
_BUSIEST: Final = Ceiling(1e11)  # bytes, as of a disk


@dataclass
class HostCgroups:
    """What the cgroups of a host share. ``network`` is the host's namespace."""

    reader: Reader
    layout: Layout
    slow: Slow
    files: RuntimeFiles
    table: FileTable
    network: str  # empty if it cannot be read
    period_ms: int
    name: str  # of the host; empty if names need not be unique in the fleet

    def __post_init__(self) -> None:
        self.mode, self.hierarchies = self.layout.mode, self.layout.hierarchies


class Cgroup:
    """Call ``refresh`` and ``read`` at every tick, and ``close`` when the cgroup is gone."""

    __slots__ = (
        "_described", "_host", "_moved", "_moved_at", "_named", "_naming", "_pid", "_read_settings", "_read_state",
        "_settings", "_start_ns", "_state", "files", "identity", "inodes", "namespace", "node", "path", "started_ns",
    )  # fmt: skip

    def __init__(self, host: HostCgroups, path: str, node: Node, identity: Identity) -> None:
        self.path = path
        self.node, self.identity = node, identity
        self.inodes = inodes(node)
        self.namespace = ""
        self.files = TickFiles(host.table, path, node)
        self._host = host
        self._naming = Naming(path, identity)
        self._named: Names = self._naming.values
        self._described: dict[str, Value] = {}
        self._settings: dict[str, Value] = {}
        self._state: dict[str, Value] = {}
        self._pid = 0
        spread = crc32(path.encode("utf-8", "surrogateescape")) % _SPREAD  # those made together are not due together
        self._read_state = Every(_STATE_S, _EARLY_S, spread)
        self._read_settings = Every(_SETTINGS_S, offset_s=10 * spread)
        self._moved: dict[str, int] = {}
        self._moved_at = 0
        self._start_ns, self.started_ns = _start(host, path, node)

    @property
    def name(self) -> Hashable:
        """What stays the same when a container or service is restarted; None if that is not known."""
        known = self._naming.values
        if self.identity.kind is CgroupKind.CONTAINER:
            given = (
                self.identity.id if self.identity.name == self.identity.id else None
            )  # in lxc and ctr, ids are chosen names
            name = known.get("container.name", given)
            pod = (known.get("kubernetes.namespace"), known.get("kubernetes.pod.name"))
            return (self.identity.kind, *map(str, pod), str(name)) if name else None
        return self.path if self.identity.kind in (CgroupKind.SERVICE, CgroupKind.MACHINE) else None

    def become(self, node: Node, identity: Identity) -> None:
        """Update it after a change of the tree around it."""
        self.files.become(node)
        self.node = node
        if identity != self.identity:
            self.identity, self._described = identity, {}

    def refresh(self, now_ns: int) -> None:
        """Read names, settings, processes and the network namespace, if they are due; then held files are due, too."""
        self._naming.refresh(self._host.reader, self._host.files, now_ns)
        if not self._read_state.due(now_ns):
            return
        self.files.read_all()
        self._members()
        if self._read_settings.due(now_ns):
            self._settings = self._host.slow.settings(self.path, self.node)

    def _members(self) -> None:
        """Count the processes, and find one in a network namespace that is not the host's."""
        self._state = self._host.slow.state(self.path, self.node)
        if self.identity.kind in _HOLDERS:
            return
        pids = self._host.slow.processes(self.path, self.node)
        if pids:
            self._state["cgroup.processes.count"] = len(pids)
        pids = [pid for pid in pids if pid]
        if not pids and (pid := self._naming.pid(self._host.reader, self._host.files)):
            pids = [pid]
        reader, host_network = self._host.reader, self._host.network
        asked = _MOST_ASKED if self.identity.kind in _RUN_BY_OTHERS else 1
        for pid in pids[:asked] if host_network else ():
            namespace = of_pid(reader, pid, "net")
            if namespace and namespace != host_network:
                self._pid, self.namespace = pid, namespace
                return
        self._pid, self.namespace = 0, ""

    def network(self) -> dict[str, Value]:
        """Counters of its network namespace; if the known process is gone, another one is used."""
        for _ in range(2):
            if not self.namespace:
                break
            values = container_network.read(self._host.reader, self._pid, self.namespace)
            if values is not None:
                return values
            self._members()
        return {}

    def describe(self) -> dict[str, Value]:
        """Fields that do not change from tick to tick: kind, names, start."""
        if not self._described or self._named is not self._naming.values:
            self._named = self._naming.values
            self._described = _description(self.path, self.identity, self._host, self._start_ns, self._named)
        return self._described

    def read(self, now_ns: int) -> dict[str, Any]:
        """Values of the files that are read at every tick, and of what ``refresh`` read; empty if the cgroup is gone."""
        values = self.files.read(now_ns)
        if values:
            self._add_slow(values, now_ns)
        return values

    def _add_slow(self, values: dict[str, Any], now_ns: int) -> None:
        values.update(self._state)
        values.update(self._settings)
        if self._start_ns:
            values["cgroup.uptime.ms"] = max(now_ns - self.started_ns, 0) // _NS_PER_MS

    def busiest(self, moved: dict[str, int], now_ns: int) -> tuple[str, float] | None:
        """The device with most bytes since the previous call, and its bytes per second; None if there was no I/O."""
        before, self._moved = self._moved, moved
        since, self._moved_at = now_ns - self._moved_at, now_ns
        if not before or since <= 0:
            return None
        grown = {device: amount - before.get(device, 0) for device, amount in moved.items()}
        device = max(grown, key=grown.__getitem__, default="")
        possible = device and grown[device] > 0 and _BUSIEST.allows(grown[device], since)
        return (device, grown[device] * _NS_PER_S / since) if possible else None


def inodes(node: Node) -> Hashable:
    """What changes when the cgroup is recreated."""
    return tuple(chain(*sorted(node.inodes.items())))


def _start(host: HostCgroups, path: str, node: Node) -> tuple[int, int]:
    """When its directories were created, in ns since 1970 and on the clock of the rates; (0, now) if unknown.

    The times of a kernfs directory are those at which the kernel created its inode: at mkdir(2), and again after the inode
    was dropped under memory pressure. So the earliest time in all hierarchies is taken; it may be too late, never too
    early. After a chown, ctime and mtime also change when a cgroup is created below it; atime does not (kernfs_add_one in
    fs/kernfs/dir.c).
    """
    now_ns, times = host.reader.now_ns(), []
    for controller in node.inodes:
        directory = f"{host.hierarchies[controller]}{path}"
        stat = host.reader.attempt(directory, lambda directory=directory: host.reader.root.stat(directory))  # type: ignore[misc]
        known = (stat.st_ctime, stat.st_mtime, stat.st_atime) if stat else ()
        times += [int(seconds * 1e9) for seconds in known if seconds]
    if not times:
        return 0, now_ns
    return min(times), now_ns - (host.reader.root.wall_ns() - min(times))


def _description(path: str, identity: Identity, host: HostCgroups, start_ns: int, named: Names) -> dict[str, Value]:
    values: dict[str, Value] = {
        "cgroup.path": path,
        "cgroup.kind": identity.kind.value,
        "cgroup.name": identity.name,
        "cgroup.aggregate": identity.aggregate,
        "cgroup.depth": path.count("/"),
        "cgroup.mode": host.mode.value,
    }
    if start_ns:
        values["cgroup.start"] = timestamp(start_ns // _NS_PER_MS)
    if identity.kind in _RUN_BY_OTHERS:
        values |= {"container.id": identity.id, "container.name": identity.name}
        values |= {"event.module": CONTAINERS, PERIOD.name: host.period_ms}
        if identity.runtime:
            values["container.runtime"] = identity.runtime
    if identity.kind is CgroupKind.POD and identity.runtime == "kubernetes":
        values["kubernetes.pod.uid"] = identity.id
    elif uid := pod_uid(path):
        values["kubernetes.pod.uid"] = uid
    values |= named
    for shown in ("container.name", "kubernetes.pod.name"):
        if shown in named and (shown == "container.name") == (identity.kind in _RUN_BY_OTHERS):
            values["cgroup.name"] = named[shown]
    entity = _entity(path, values)
    values[ENTITY.name] = f"{entity}@{host.name}" if host.name else entity
    return values


def _entity(path: str, values: Names) -> str:
    """A name that is unique on the host: of the container or service, else the path."""
    name, pod = values["cgroup.name"], values.get("kubernetes.pod.name")
    if "container.id" in values:
        return f"{pod}/{name}" if pod else f"{name}"
    return f"{name}" if path == f"/system.slice/{name}" else path.strip("/")
