"""One document per container, service, machine, scope, pod and slice, straight from the cgroup files.

Which file gives what stands in ``cgroup_files``, which cgroup is what in ``identity``, where they are in ``hierarchy``.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from shipper.collect import cgroup_files
from shipper.collect.cgroup_files import CgroupFile
from shipper.collect.contract import Collector
from shipper.collect.hierarchy import Mode, detect, walk
from shipper.collect.identity import CgroupKind, Identity, Node, identify
from shipper.config import Config
from shipper.fields import Field, Kind, Type, attribute, dimension, gauge, real
from shipper.parse import ParseError, integer
from shipper.rates import Reading, Value
from shipper.source import File, Reader

FIELDS: tuple[Field, ...] = (
    dimension("cgroup.path", "Path of the cgroup below the root of its hierarchy", "the directory below sys/fs/cgroup"),
    attribute("cgroup.kind", "container, service, machine, scope, slice or pod", "the path"),
    attribute("cgroup.name", "Unit, container, machine or directory name to show", "the path"),
    attribute(
        "cgroup.aggregate",
        "Its usage contains that of other documents; leave it out of sums",
        "the path and what lies below it",
        Type.BOOLEAN,
    ),
    Field("cgroup.depth", Type.LONG, Kind.ATTRIBUTE, "", "1 for a cgroup right below the root", "the path"),
    attribute("cgroup.mode", "v1, v2 or hybrid", "sys/fs/cgroup"),
    attribute("container.id", "Id the runtime gave the container; name of a machine", "the path"),
    attribute("container.name", "Name of the container; its short id where only that is known", "the path"),
    attribute("container.runtime", "docker, containerd, cri-o, podman, systemd-nspawn, libvirt, lxc", "the path"),
    attribute("container.image.name", "Image the container was made from", "the runtime's own files"),
    *cgroup_files.FIELDS,
    real("cgroup.cpu.pct", "pct", "CPU time used, of all the host's logical CPUs", "cgroup.cpu.usage.ns"),
    real("cgroup.cpu.limit.pct", "pct", "CPU time used, of its own quota", "cgroup.cpu.usage.ns"),
    gauge(
        "cgroup.memory.working_set.bytes",
        "bytes",
        "Usage without inactive file pages, as kubelet counts",
        "memory.stat",
    ),
    real("cgroup.memory.limit.pct", "pct", "Working set, of the limit", "cgroup.memory.working_set.bytes"),
)
# Reading values that only derive needs
_CORES = "host cores"
_STACKED = (b"device-mapper", b"md", b"mdp", b"loop")


class _Cgroup:
    """A cgroup's kept files and what does not change about it."""

    def __init__(
        self, reader: Reader, path: str, node: Node, hierarchies: dict[str, str], table: list[CgroupFile]
    ) -> None:
        self.path = path
        self.inodes = tuple(sorted(node.inodes.items()))
        self.files: list[tuple[str, File, CgroupFile]] = []
        for spec in table:
            if spec.controller in node.inodes:
                name = f"{hierarchies[spec.controller]}{path}/{spec.name}"
                self.files.append((name, reader.file(name), spec))

    def read(self, reader: Reader) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, file, spec in self.files:
            if spec.unless in values:
                continue
            data = reader.attempt(name, file.read)
            if data:
                found = reader.parsed(name, data, spec.parse)
                if found:
                    values.update(found)
        return values

    def close(self) -> None:
        for _, file, _ in self.files:
            file.close()


class _Cgroups:
    """All cgroups of the host, from tick to tick."""

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader = reader
        self._exclude = config.collect.cgroup_exclude
        self._known: dict[str, _Cgroup] = {}

    def collect(self) -> Iterable[Reading]:
        mode, hierarchies = detect(self._reader)
        table = cgroup_files.TABLES[mode]
        stacked = stacked_majors(self._reader)
        cores = _cores(self._reader)
        known, self._known = self._known, {}
        for path, node, identity in identify(walk(self._reader, hierarchies)):
            if any(fnmatchcase(path, glob) for glob in self._exclude):
                continue
            cgroup = known.pop(path, None)
            if cgroup is None or cgroup.inodes != tuple(sorted(node.inodes.items())):
                if cgroup:
                    cgroup.close()
                cgroup = _Cgroup(self._reader, path, node, hierarchies, table)
            self._known[path] = cgroup
            at_ns = self._reader.now_ns()
            values = cgroup.read(self._reader)
            if values:
                cgroup_files.finish(values, stacked)
                if cores:
                    values[_CORES] = cores
                yield Reading(path, at_ns, {**_described(path, identity, mode), **values}, cgroup.inodes)
        for gone in known.values():
            gone.close()


def _described(path: str, identity: Identity, mode: Mode) -> dict[str, Value]:
    values: dict[str, Value] = {
        "cgroup.path": path,
        "cgroup.kind": identity.kind.value,
        "cgroup.name": identity.name,
        "cgroup.aggregate": identity.aggregate,
        "cgroup.depth": path.count("/"),
        "cgroup.mode": mode.value,
    }
    if identity.kind in (CgroupKind.CONTAINER, CgroupKind.MACHINE):
        values |= {"container.id": identity.id, "container.name": identity.name}
        if identity.runtime:
            values["container.runtime"] = identity.runtime
    return values


def _cores(reader: Reader) -> int:
    """Online logical CPUs: ``0-3,6``; 0 if unknown."""
    return reader.parse("sys/devices/system/cpu/online", online) or 0


def stacked_majors(reader: Reader) -> frozenset[bytes]:
    """Major numbers of block devices that lie on others (dm, md, loop): their io is counted again below them."""
    text = reader.read("proc/devices") or b""
    block = text.partition(b"Block devices:")[2]
    pairs = (line.split() for line in block.split(b"\n"))
    return frozenset(pair[0] for pair in pairs if len(pair) == 2 and pair[1] in _STACKED)  # noqa: PLR2004


def online(text: bytes) -> int:
    """How many CPUs a list such as ``0-3,6`` names (https://docs.kernel.org/admin-guide/cputopology.html)."""
    count = 0
    for part in text.strip().split(b","):
        first, dash, last = part.partition(b"-")
        count += integer(last) - integer(first) + 1 if dash else integer(first) >= 0
    if count < 1:
        raise ParseError("a CPU list that names no CPU")
    return count


def derive(values: dict[str, Value]) -> dict[str, Value]:
    """CPU shares and memory levels. Takes out of ``values`` what only it needs."""
    result: dict[str, Value] = {}
    cores, inactive = values.pop(_CORES, None), values.pop(cgroup_files.INACTIVE_FILE, None)
    used = values.get("cgroup.cpu.cores")
    if isinstance(used, float):
        if isinstance(cores, int):
            result["cgroup.cpu.pct"] = min(used / cores, 1.0)
        quota = values.get("cgroup.cpu.limit.cores")
        if isinstance(quota, float) and quota > 0:
            result["cgroup.cpu.limit.pct"] = used / quota
    usage = values.get("cgroup.memory.usage.bytes")
    if isinstance(usage, int) and isinstance(inactive, int):
        working_set = result["cgroup.memory.working_set.bytes"] = max(usage - inactive, 0)
        limit = values.get("cgroup.memory.limit.bytes")
        if isinstance(limit, int) and limit:
            result["cgroup.memory.limit.pct"] = working_set / limit
    return result


COLLECTOR = Collector("cgroup", "cgroup", FIELDS, lambda reader, config: _Cgroups(reader, config).collect, derive)
