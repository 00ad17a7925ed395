"""One document per container, service, machine, scope, pod and slice, straight from the cgroup files.

Which file gives what stands in ``cgroup_files``, which cgroup is what in ``identity``, where they are in ``hierarchy``.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shipper.collect.cgroup import block_devices, container_network, controllers, slow
from shipper.collect.cgroup.block_devices import Devices
from shipper.collect.cgroup.entities import ENTITY, entities
from shipper.collect.cgroup.identity import identify, looks_like_a_container
from shipper.collect.cgroup.member import Cgroup, HostCgroups
from shipper.collect.cgroup.runtime import containers, unit_files
from shipper.collect.cgroup.runtime.containers import RuntimeFiles
from shipper.collect.cgroup.slow import Slow
from shipper.collect.contract import Collect, Collector, Need, Output, matcher
from shipper.collect.events import kernel_log
from shipper.fields.aliases import PERIOD
from shipper.fields.dataset import CGROUP
from shipper.fields.field import Field, Kind, Type, attribute, constant, dimension, gauge, real
from shipper.fields.rates import Reading, Value, cpus
from shipper.kernel.every import Every
from shipper.kernel.hierarchy import Mode, Node, Walker, detect
from shipper.kernel.namespace import of_host
from shipper.kernel.parse import ParseError, integer, meminfo
from shipper.kernel.source import Reader
from shipper.settings.config import Config
from shipper.settings.options import globs, option

FIELDS: tuple[Field, ...] = (
    dimension("cgroup.path", "Path of the cgroup below the root of its hierarchy", "the directory below sys/fs/cgroup"),
    constant("cgroup.kind", "container, service, machine, scope, slice or pod", "the path"),
    constant("cgroup.name", "Unit, container, machine or directory name to show", "the path"),
    ENTITY,
    attribute(
        "cgroup.aggregate",
        "Leave it out of sums: its usage contains that of other documents, or is in that of the container around it",
        "the path and what lies below it",
        Type.BOOLEAN,
    ),
    Field("cgroup.depth", Type.LONG, Kind.ATTRIBUTE, "", "1 for a cgroup right below the root", "the path"),
    attribute("cgroup.mode", "v1, v2 or hybrid", "sys/fs/cgroup"),
    constant("container.id", "Id the runtime gave the container; name of a machine", "the path"),
    constant(
        "container.name",
        "Name of the container; its short id where only that is known",
        "the runtime's own files; the path",
    ),
    constant(
        "container.runtime",
        "docker, containerd, cri-o, podman, systemd-nspawn, libvirt, qemu, lxc, nomad, garden",
        "the path",
    ),
    *containers.FIELDS,
    unit_files.FIELD,
    Field(
        "cgroup.start",
        Type.DATE,
        Kind.ATTRIBUTE,
        "",
        "When it was made; may be late, never early, if the kernel dropped its inode before the shipper saw it",
        "times of its directories",
    ),
    gauge("cgroup.uptime.ms", "ms", "Time since cgroup.start", "times of its directories"),
    gauge(
        "cgroup.restarts.count",
        "count",
        "How often a cgroup of this service or name of a container was recreated since the shipper started",
        "inode numbers",
    ),
    gauge(
        "cgroup.oom_kills.count",
        "count",
        "Processes of this container or service killed for lack of memory since the shipper started, also in its former cgroups",
        "dev/kmsg",
    ),
    *controllers.FIELDS,
    *slow.FIELDS,
    *container_network.FIELDS,
    real("cgroup.cpu.pct", "pct", "CPU time used, of all the host's logical CPUs", "cgroup.cpu.usage.ns"),
    real(
        "cgroup.cpu.throttled.pct",
        "pct",
        "Share of the quota periods in which it ran that it was throttled in",
        "cgroup.cpu.throttled.count / cgroup.cpu.periods.count",
    ),
    real("cgroup.cpu.limit.pct", "pct", "CPU time used, of its own quota", "cgroup.cpu.usage.ns"),
    gauge(
        "cgroup.memory.working_set.bytes",
        "bytes",
        "Usage without inactive file pages, as kubelet counts",
        "cgroup.memory.usage.bytes - memory.stat inactive_file",
    ),
    real("cgroup.memory.limit.pct", "pct", "Working set, of the limit", "cgroup.memory.working_set.bytes"),
    real(
        "cgroup.memory.working_set.pct",
        "pct",
        "Working set, of what it may have: the smallest limit on it, or the host's memory if that is less",
        "cgroup.memory.working_set.bytes; proc/meminfo MemTotal",
    ),
    PERIOD,
)
# Inputs of derive
_CORES = "cores"  # of the host
_MEMORY = "memory"  # of the host, in bytes
_INACTIVE = "inactive_file"  # bytes
_MOST_RESTARTED = 4096
_MOST_NAMED = 5
_IO = "cgroup.io"
_SLOWLY_S = 60


@dataclass(frozen=True)
class Options:
    """Options of the cgroup collector, in section ``collect``."""

    cgroup_exclude: tuple[str, ...] = option(
        ("*.mount", "*.swap", "*.socket"), "Cgroup paths to exclude, with all cgroups below them", globs()
    )


class _Cgroups:
    """All cgroups of the host, from tick to tick."""

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader = reader
        self._config = config
        self._is_excluded = excluded(config.of(Options).cgroup_exclude)
        self._walker = Walker(reader)
        self._files = RuntimeFiles(reader, config)
        self._devices = Devices(reader)
        self._host: HostCgroups | None = None
        self._look_for_layout = Every(_SLOWLY_S)
        self._counts_no_io = False
        self._read_memory = Every(_SLOWLY_S)
        self._memory: dict[str, int] | None = None
        self._tree: Node | None = None
        self._known: dict[str, Cgroup] = {}
        self._restarts = Restarts(_MOST_RESTARTED)
        self._log = kernel_log.of(reader, config.spool.directory)
        self._killed = Killed(self._log.killed)
        self._entities = entities(reader)

    def collect(self) -> Iterable[Reading]:
        now_ns = self._reader.now_ns()
        self._log.read(self._reader)
        self._files.begin()
        self._entities.begin()
        host = self._look_at_host()
        tree = self._walker.walk(host.hierarchies)
        if tree is not self._tree:
            self._tree = tree
            self._update(host, tree)
        cgroups = list(self._known.values())
        for cgroup in cgroups:
            cgroup.refresh(now_ns)
        owners = _owners(cgroups)
        self._devices.refresh(now_ns)
        of_host = self._of_host(now_ns)
        most = {"ns": cpus(of_host[_CORES])} if _CORES in of_host else {}
        limits: dict[str, int] = {}
        for cgroup in cgroups:
            at_ns = self._reader.now_ns()
            values = cgroup.read(at_ns)
            if cgroup.missed:
                self._walker.suspect()
            _inherit_limit(cgroup.path, values, limits)
            if not values:
                continue
            self._add_io(cgroup, values, at_ns)
            if cgroup.namespace and (cgroup.identity.aggregate or owners[cgroup.namespace] is cgroup):
                values.update(cgroup.network())
            if (name := cgroup.name) is not None:
                values["cgroup.restarts.count"] = self._restarts.of(name, cgroup.inodes)
                if self._log.readable:
                    values["cgroup.oom_kills.count"] = self._killed.of(name, cgroup.path)
            described = cgroup.describe()
            self._entities.add(cgroup.path, described[ENTITY.name])
            inactive = values.pop(controllers.INACTIVE_FILE, None)
            inputs = of_host if inactive is None else {**of_host, _INACTIVE: inactive}
            identity = (cgroup.inodes, cgroup.namespace)
            yield Reading(CGROUP, cgroup.path, at_ns, {**described, **values}, identity, most, inputs)

    def _add_io(self, cgroup: Cgroup, values: dict[str, Any], at_ns: int) -> None:
        if self._counts_no_io:
            controllers.drop_io(values)
        moved = cgroup.busiest(controllers.finish(values, self._devices.stacked), at_ns)
        if moved:
            values["cgroup.io.busiest.name"] = self._devices.name(moved[0])
            values["cgroup.io.busiest.bytes_per_s"] = moved[1]

    def _look_at_host(self) -> HostCgroups:
        """Where its cgroups are is looked up each minute, and at each tick until there are any."""
        host, now_ns = self._host, self._reader.now_ns()
        due = self._look_for_layout.due(now_ns)
        if host is not None and host.mode is not Mode.NONE and not due:
            return host
        layout = detect(self._reader)
        self._counts_no_io = block_devices.counts_no_io(self._reader, layout.hierarchies.get("blkio"))
        if host is None or host.layout != layout:
            missing = "no hierarchy has the controller; it may be turned off (cgroup_disable=)"
            self._reader.lacks = {f"cgroup.{controller}": missing for controller in layout.lacks()}
            slow, table = Slow(self._reader, layout), controllers.table(layout)
            network = of_host(self._reader, "net")
            period_ms, name = self._config.collect.period_s * 1000, self._config.host.name
            host = self._host = HostCgroups(self._reader, layout, slow, self._files, table, network, period_ms, name)
            self._forget()
        self._reader.lacks.pop(_IO, None)
        if self._counts_no_io:
            self._reader.lacks[_IO] = "the kernel's blkio files count nothing, while the disks work"
        return host

    def _of_host(self, now_ns: int) -> dict[str, int]:
        """What derive needs to know of the host; its memory is asked for each minute."""
        if self._read_memory.due(now_ns):
            self._memory = self._reader.parse("proc/meminfo", lambda text: meminfo(text, {b"MemTotal": _MEMORY}))
        cores = _cores(self._reader)
        return {**(self._memory or {}), **({_CORES: cores} if cores else {})}

    def _update(self, host: HostCgroups, tree: Node) -> None:
        """Bring the cgroups known in line with ``tree``."""
        known, self._known = self._known, {}
        unknown: list[str] = []
        known_excluded: dict[str, bool] = {}
        for path, node, identity in identify(tree):
            if self._is_excluded(path, known_excluded):
                continue
            cgroup = known.get(path)
            if cgroup is None or cgroup.inodes != tuple(sorted(node.inodes.items())):
                cgroup = Cgroup(host, path, node, identity)
            else:
                del known[path]
                cgroup.become(node, identity)
            self._known[path] = cgroup
            if looks_like_a_container(path.rpartition("/")[2], identity.kind):
                unknown.append(path)
        self._tell_unknown(unknown)
        for gone in known.values():
            gone.close()

    def _tell_unknown(self, paths: list[str]) -> None:
        what = "containers of unknown runtimes"
        self._reader.lacks.pop(what, None)
        if paths:
            self._reader.lacks[what] = (
                f"{len(paths)} cgroups have an id in their names: {', '.join(paths[:_MOST_NAMED])}"
            )

    def _forget(self) -> None:
        for cgroup in self._known.values():
            cgroup.close()
        self._known, self._tree = {}, None


def excluded(globs: Iterable[str]) -> Callable[[str, dict[str, bool]], bool]:
    """Whether a cgroup's path, or that of a cgroup above it, matches one of ``globs``; the dict keeps the answers."""
    matches = matcher(glob.rstrip("/") for glob in globs)

    def is_excluded(path: str, known: dict[str, bool]) -> bool:
        if path not in known:
            above = path.rpartition("/")[0]
            known[path] = matches(path) or (bool(above) and is_excluded(above, known))
        return known[path]

    return is_excluded


def _owners(cgroups: Iterable[Cgroup]) -> dict[str, Cgroup]:
    """For each network namespace the cgroup in whose document its counters stand: the first made of those in it."""
    owners: dict[str, Cgroup] = {}
    for cgroup in cgroups:
        if cgroup.namespace and not cgroup.identity.aggregate:
            owner = owners.setdefault(cgroup.namespace, cgroup)
            if (cgroup.started_ns, cgroup.path) < (owner.started_ns, owner.path):
                owners[cgroup.namespace] = cgroup
    return owners


def _inherit_limit(path: str, values: dict[str, Any], limits: dict[str, int]) -> None:
    """Add the smallest limit on the way up. ``limits`` holds those of the cgroups before, parents first."""
    found = [limits.get(path.rpartition("/")[0]), values.get("cgroup.memory.limit.bytes")]
    found.append(values.pop(controllers.INHERITED_LIMIT, None))
    smallest = min((one for one in found if one is not None), default=controllers.V1_UNLIMITED)
    if smallest < controllers.V1_UNLIMITED:
        limits[path] = smallest
        if values:
            values["cgroup.memory.limit.effective.bytes"] = smallest


class Killed:
    """OOM kills of all cgroups that a container or service has had, as long as the kernel's log has counted for them."""

    def __init__(self, by_path: Mapping[str, int]) -> None:
        self._by_path = by_path
        self._paths: dict[int, tuple[str, ...]] = {}

    def of(self, name: Hashable, path: str) -> int:
        former = self._paths.pop(hash(name), ())
        # Those without a kill need not be remembered
        paths = self._paths[hash(name)] = (*(one for one in former if one != path and one in self._by_path), path)
        if len(self._paths) > _MOST_RESTARTED:
            del self._paths[next(iter(self._paths))]
        return sum(self._by_path.get(one, 0) for one in paths)


class Restarts:
    """How often cgroups of one name were recreated, of the ``most`` names seen last."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Hashes: names and inodes of what is gone would take ten times as much
        self._seen: dict[int, tuple[int, int]] = {}

    def of(self, name: Hashable, inodes: Hashable) -> int:
        key, now = hash(name), hash(inodes)
        before, count = self._seen.pop(key, (now, 0))
        if before != now:
            count += 1
        self._seen[key] = (now, count)  # last in order
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]
        return count


def _cores(reader: Reader) -> int:
    """Online logical CPUs: ``0-3,6``; 0 if unknown."""
    return reader.parse("sys/devices/system/cpu/online", online) or 0


def online(text: bytes) -> int:
    """How many CPUs a list such as ``0-3,6`` names (https://docs.kernel.org/admin-guide/cputopology.html)."""
    count = 0
    for part in text.strip().split(b","):
        first, dash, last = part.partition(b"-")
        count += integer(last) - integer(first) + 1 if dash else integer(first) >= 0
    if count < 1:
        raise ParseError("a CPU list that names no CPU")
    return count


def derive(values: dict[str, Value], inputs: Mapping[str, int]) -> dict[str, Value]:
    """CPU shares and memory levels. Takes the growth of network counters out of what is no container."""
    if "container.id" not in values:
        for field in container_network.DELTAS.values():
            values.pop(field, None)
    result: dict[str, Value] = {}
    cores, memory, inactive = inputs.get(_CORES), inputs.get(_MEMORY), inputs.get(_INACTIVE)
    used = values.get("cgroup.cpu.cores")
    if isinstance(used, float):
        if cores:
            result["cgroup.cpu.pct"] = min(used / cores, 1.0)
        quota = values.get("cgroup.cpu.limit.cores")
        if isinstance(quota, float) and quota > 0:
            result["cgroup.cpu.limit.pct"] = used / quota
    periods, throttled = values.get("cgroup.cpu.periods.count_per_s"), values.get("cgroup.cpu.throttled.count_per_s")
    if periods and isinstance(periods, float) and isinstance(throttled, float):
        result["cgroup.cpu.throttled.pct"] = min(throttled / periods, 1.0)
    usage = values.get("cgroup.memory.usage.bytes")
    if isinstance(usage, int) and inactive is not None:
        working_set = result["cgroup.memory.working_set.bytes"] = max(usage - inactive, 0)
        limit = values.get("cgroup.memory.limit.bytes")
        if isinstance(limit, int) and limit:
            result["cgroup.memory.limit.pct"] = working_set / limit
        most = values.get("cgroup.memory.limit.effective.bytes", memory)
        if memory and isinstance(most, int) and min(most, memory):
            result["cgroup.memory.working_set.pct"] = working_set / min(most, memory)
    return result


NEEDS = (
    Need(
        "containers and services (cgroup)",
        ("sys/fs/cgroup/cgroup.controllers", "sys/fs/cgroup/memory", "sys/fs/cgroup/cpuacct", "sys/fs/cgroup/unified"),
        "no cgroups are mounted below sys/fs/cgroup",
    ),
)


def start(reader: Reader, config: Config) -> Collect:
    return _Cgroups(reader, config).collect


COLLECTOR = Collector("cgroup", start, {CGROUP: Output(FIELDS, derive)}, NEEDS, options=(Options, containers.Options))
