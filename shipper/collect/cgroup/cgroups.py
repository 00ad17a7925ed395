"""One document per container, service, machine, scope, pod and slice, straight from the cgroup files.

``controllers`` says which file gives which field, ``identity`` what a cgroup is, ``kernel.hierarchy`` where cgroups are.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shipper.collect.cgroup import block_devices, container_network, controllers, slow
from shipper.collect.cgroup.block_devices import Devices
from shipper.collect.cgroup.entities import ENTITY, entities
from shipper.collect.cgroup.identity import identify, looks_like_a_container
from shipper.collect.cgroup.member import Cgroup, HostCgroups, inodes
from shipper.collect.cgroup.reading import FileTable
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
    constant("cgroup.name", "Name for display: of the unit, container or machine, else the directory", "the path"),
    ENTITY,
    attribute(
        "cgroup.aggregate",
        "Whether to leave it out of sums: its usage includes that of other documents, or is part of its container's",
        "the path and the cgroups below it",
        Type.BOOLEAN,
    ),
    Field("cgroup.depth", Type.LONG, Kind.ATTRIBUTE, "", "1 for a cgroup directly below the root", "the path"),
    attribute("cgroup.mode", "v1, v2 or hybrid", "sys/fs/cgroup"),
    constant("container.id", "Id that the runtime gave to the container; for a machine its name", "the path"),
    constant(
        "container.name",
        "Name of the container, or its short id if the name is not known",
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
        "Creation time; may be too late, never too early, if the kernel dropped the inode before the shipper saw it",
        "times of its directories",
    ),
    gauge("cgroup.uptime.ms", "ms", "Time since cgroup.start", "times of its directories"),
    gauge(
        "cgroup.restarts.count",
        "count",
        "Times that the cgroup of this service or container name was recreated since the shipper started",
        "inode numbers",
    ),
    attribute(
        "cgroup.first",
        "True in the first document of a cgroup that was created since the shipper's first tick; else absent",
        "inode numbers, times of its directories",
        Type.BOOLEAN,
    ),
    attribute(
        "container.image.changed",
        "True in the first document with another image than the container of this name had before; else absent",
        "container.image.name",
        Type.BOOLEAN,
    ),
    gauge(
        "cgroup.oom_kills.count",
        "count",
        "OOM-killed processes of this container or service since the shipper started, including its former cgroups",
        "dev/kmsg",
    ),
    *controllers.FIELDS,
    *slow.FIELDS,
    *container_network.FIELDS,
    real("cgroup.cpu.pct", "pct", "CPU usage as a share of all logical CPUs of the host", "cgroup.cpu.usage.ns"),
    real(
        "cgroup.cpu.throttled.pct",
        "pct",
        "Share of the quota periods with CPU usage in which it was throttled",
        "cgroup.cpu.throttled.count / cgroup.cpu.periods.count",
    ),
    real("cgroup.cpu.limit.pct", "pct", "CPU usage as a share of its own quota", "cgroup.cpu.usage.ns"),
    real("cgroup.pids.used.pct", "pct", "Processes and threads as a share of their limit", "cgroup.pids.current"),
    gauge(
        "cgroup.memory.working_set.bytes",
        "bytes",
        "Working set as kubelet counts it: memory usage without inactive file pages",
        "cgroup.memory.usage.bytes - memory.stat inactive_file",
    ),
    real("cgroup.memory.limit.pct", "pct", "Working set as a share of the limit", "cgroup.memory.working_set.bytes"),
    real(
        "cgroup.memory.working_set.pct",
        "pct",
        "Working set as a share of the memory it can use: the smallest limit that applies, or the host's memory if less",
        "cgroup.memory.working_set.bytes; proc/meminfo MemTotal",
    ),
    PERIOD,
)
# Inputs of ``derive``
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
    """All cgroups of the host over time."""

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
        self._lives = Lives(_MOST_RESTARTED)
        self._since_ns = 0
        self._log = kernel_log.of(reader, config.spool.directory)
        self._killed = Killed(self._log.killed)
        self._entities = entities(reader)

    def collect(self) -> Iterable[Reading]:
        """One reading per cgroup, parents first."""
        now_ns = self._reader.now_ns()
        # What was created less than a period before the first turn was in no document of an earlier run
        self._since_ns = self._since_ns or now_ns - self._config.collect.period_s * 1_000_000_000
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
            if cgroup.files.missed:
                self._walker.suspect()
            _inherit_limit(cgroup.path, values, limits)
            if not values:
                continue
            self._add_io(cgroup, values, at_ns)
            if cgroup.namespace and (cgroup.identity.aggregate or owners[cgroup.namespace] is cgroup):
                values.update(cgroup.network())
            described = cgroup.describe()
            if (name := cgroup.name) is not None:
                values |= self._life(name, cgroup, described)
                if self._log.readable:
                    values["cgroup.oom_kills.count"] = self._killed.of(name, cgroup.path)
            self._entities.add(cgroup.path, described[ENTITY.name])
            inactive = values.pop(controllers.INACTIVE_FILE, None)
            inputs = of_host if inactive is None else {**of_host, _INACTIVE: inactive}
            identity = (cgroup.inodes, cgroup.namespace)
            yield Reading(CGROUP, cgroup.path, at_ns, {**described, **values}, identity, most, inputs)

    def _life(self, name: Hashable, cgroup: Cgroup, described: Mapping[str, Value]) -> dict[str, Value]:
        life = self._lives.of(name, cgroup.inodes, str(described.get("container.image.name", "")))
        values: dict[str, Value] = {"cgroup.restarts.count": life.restarts}
        if life.new and "cgroup.start" in described and cgroup.started_ns > self._since_ns:
            values["cgroup.first"] = True
        if life.changed:
            values["container.image.changed"] = True
        return values

    def _add_io(self, cgroup: Cgroup, values: dict[str, Any], at_ns: int) -> None:
        if self._counts_no_io:
            controllers.drop_io(values)
        busiest = cgroup.busiest(controllers.finish(values, self._devices.stacked), at_ns)
        if busiest:
            device, bytes_per_s = busiest
            values["cgroup.io.busiest.name"] = self._devices.name(device)
            values["cgroup.io.busiest.bytes_per_s"] = bytes_per_s

    def _look_at_host(self) -> HostCgroups:
        """Where the cgroups are: looked up once a minute, and at every tick as long as there are none."""
        host, now_ns = self._host, self._reader.now_ns()
        due = self._look_for_layout.due(now_ns)
        if host is not None and host.mode is not Mode.NONE and not due:
            return host
        layout = detect(self._reader)
        self._counts_no_io = block_devices.counts_no_io(self._reader, layout.hierarchies.get("blkio"))
        if host is None or host.layout != layout:
            missing = "no hierarchy has the controller; it may be disabled (cgroup_disable=)"
            self._reader.lacks = {f"cgroup.{controller}": missing for controller in layout.lacks()}
            slow, table = Slow(self._reader, layout), FileTable(self._reader, layout)
            network = of_host(self._reader, "net")
            period_ms, name = self._config.collect.period_s * 1000, self._config.host.name
            host = self._host = HostCgroups(self._reader, layout, slow, self._files, table, network, period_ms, name)
            self._forget()
        self._reader.lacks.pop(_IO, None)
        if self._counts_no_io:
            self._reader.lacks[_IO] = "the kernel's blkio files count nothing although the disks do I/O"
        return host

    def _of_host(self, now_ns: int) -> dict[str, int]:
        """Inputs of ``derive`` that are the same for all cgroups; memory is read once a minute."""
        if self._read_memory.due(now_ns):
            self._memory = self._reader.parse("proc/meminfo", lambda text: meminfo(text, {b"MemTotal": _MEMORY}))
        cores = _cores(self._reader)
        return {**(self._memory or {}), **({_CORES: cores} if cores else {})}

    def _update(self, host: HostCgroups, tree: Node) -> None:
        """Update the known cgroups from ``tree``."""
        known_excluded: dict[str, bool] = {}
        found = {
            path: (node, identity)
            for path, node, identity in identify(tree)
            if not self._is_excluded(path, known_excluded)
        }
        self._close_gone({path: inodes(node) for path, (node, _) in found.items()})
        known, self._known = self._known, {}
        unknown: list[str] = []
        for path, (node, identity) in found.items():
            cgroup = known.get(path)
            if cgroup is None:
                cgroup = Cgroup(host, path, node, identity)
            else:
                cgroup.become(node, identity)
            self._known[path] = cgroup
            if looks_like_a_container(path.rpartition("/")[2], identity.kind):
                unknown.append(path)
        self._note_unknown(unknown)
        for cgroup, most in zip(
            self._known.values(), self._reader.root.descriptors.shares(len(self._known)), strict=True
        ):
            cgroup.files.keep(most)

    def _close_gone(self, found: Mapping[str, Hashable]) -> None:
        """Free the cgroups that are not among those ``found`` before others are made: this halves the peak of memory."""
        for path, cgroup in list(self._known.items()):
            if found.get(path) != cgroup.inodes:
                cgroup.files.close()
                del self._known[path]

    def _note_unknown(self, paths: list[str]) -> None:
        what = "containers of unknown runtimes"
        self._reader.lacks.pop(what, None)
        if paths:
            self._reader.lacks[what] = (
                f"{len(paths)} cgroups have an id in their names: {', '.join(paths[:_MOST_NAMED])}"
            )

    def _forget(self) -> None:
        for cgroup in self._known.values():
            cgroup.files.close()
        self._known, self._tree = {}, None


def excluded(globs: Iterable[str]) -> Callable[[str, dict[str, bool]], bool]:
    """A function that tells whether the path of a cgroup, or of one above it, matches one of ``globs``.

    It keeps its answers in the dict that it is given.
    """
    matches = matcher(glob.rstrip("/") for glob in globs)

    def is_excluded(path: str, known: dict[str, bool]) -> bool:
        if path not in known:
            above = path.rpartition("/")[0]
            known[path] = matches(path) or (bool(above) and is_excluded(above, known))
        return known[path]

    return is_excluded


def _owners(cgroups: Iterable[Cgroup]) -> dict[str, Cgroup]:
    """For each network namespace the cgroup that publishes its counters: the oldest one in it."""
    owners: dict[str, Cgroup] = {}
    for cgroup in cgroups:
        if cgroup.namespace and not cgroup.identity.aggregate:
            owner = owners.setdefault(cgroup.namespace, cgroup)
            if (cgroup.started_ns, cgroup.path) < (owner.started_ns, owner.path):
                owners[cgroup.namespace] = cgroup
    return owners


def _inherit_limit(path: str, values: dict[str, Any], limits: dict[str, int]) -> None:
    """Add the smallest limit of the cgroup and those above it. ``limits`` has those of the cgroups before, parents first."""
    unlimited = controllers.V1_UNLIMITED
    own = values.get("cgroup.memory.limit.bytes", unlimited)
    inherited = values.pop(controllers.INHERITED_LIMIT, unlimited)
    above = limits.get(path.rpartition("/")[0], unlimited) if limits else unlimited
    smallest = min(own, inherited, above)
    if smallest < unlimited:
        limits[path] = smallest
        if values:
            values["cgroup.memory.limit.effective.bytes"] = smallest


class Killed:
    """OOM kills of a container or service in all cgroups it has had, as far as the kernel's log counts them."""

    def __init__(self, by_path: Mapping[str, int]) -> None:
        self._by_path = by_path
        self._paths: dict[int, tuple[str, ...]] = {}

    def of(self, name: Hashable, path: str) -> int:
        """Kills under this name, whose cgroup is now ``path``."""
        key = hash(name)
        paths = self._paths.pop(key, ())
        if paths != (path,):
            # Cgroups without a kill need not be remembered
            paths = (*(cgroup for cgroup in paths if cgroup != path and cgroup in self._by_path), path)
        self._paths[key] = paths
        if len(self._paths) > _MOST_RESTARTED:
            del self._paths[next(iter(self._paths))]
        return sum([self._by_path.get(cgroup, 0) for cgroup in paths]) if self._by_path else 0


class Life(NamedTuple):
    """``restarts``: times that the cgroup of a name was recreated; ``new``: it was not seen before; ``changed``: its
    image is not the one that the name had.
    """

    restarts: int
    new: bool
    changed: bool


class Lives:
    """The cgroups that each name had, for the ``most`` names that were seen last."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Hashes, because names and inodes of removed cgroups would take ten times as much memory
        self._seen: dict[int, tuple[int, int, int]] = {}

    def of(self, name: Hashable, inodes: Hashable, image: str) -> Life:
        """That of ``name``, whose cgroup has these ``inodes`` now."""
        key, now = hash(name), hash(inodes)
        before, count, ran = self._seen.pop(key, (None, -1, 0))
        forgets = before is None and len(self._seen) >= self._most  # and may have forgotten this one
        if before != now:
            count += 1
        runs = hash(image) if image else ran
        self._seen[key] = (now, count, runs)  # now the last in order
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]
        return Life(count, before != now and not forgets, bool(ran) and runs != ran)


def _cores(reader: Reader) -> int:
    """Number of online logical CPUs; 0 if unknown."""
    return reader.parse("sys/devices/system/cpu/online", online) or 0


def online(text: bytes) -> int:
    """How many CPUs a list such as ``0-3,6`` has (https://docs.kernel.org/admin-guide/cputopology.html). Raises ParseError."""
    count = 0
    for part in text.strip().split(b","):
        first, dash, last = part.partition(b"-")
        count += integer(last) - integer(first) + 1 if dash else integer(first) >= 0
    if count < 1:
        raise ParseError("a CPU list that names no CPU")
    return count


def derive(values: dict[str, Value], inputs: Mapping[str, int]) -> dict[str, Value]:
    """Shares of CPU, memory and tasks. Removes the growth of network counters from documents that are not of a container."""
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
    if inactive is not None:
        result |= _memory(values, inactive, memory)
    tasks, most_tasks = values.get("cgroup.pids.current"), values.get("cgroup.pids.limit")
    if isinstance(tasks, int) and isinstance(most_tasks, int) and most_tasks:
        result["cgroup.pids.used.pct"] = tasks / most_tasks
    return result


def _memory(values: Mapping[str, Value], inactive: int, memory: int | None) -> dict[str, Value]:
    usage = values.get("cgroup.memory.usage.bytes")
    if not isinstance(usage, int):
        return {}
    working_set = max(usage - inactive, 0)
    result: dict[str, Value] = {"cgroup.memory.working_set.bytes": working_set}
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
    """One reading per cgroup that is published."""
    return _Cgroups(reader, config).collect


COLLECTOR = Collector("cgroup", start, {CGROUP: Output(FIELDS, derive)}, NEEDS, options=(Options, containers.Options))
