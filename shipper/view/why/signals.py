"""The fields that show that a resource of a host or cgroup is short, and those that show who uses the resource."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shipper.view.thresholds import THRESHOLDS, Steps


class Kind(StrEnum):
    """A signal of the USE method. Utilisation alone makes no resource short, except one that can be full."""

    UTILISATION = "utilisation"
    FULL = "full"
    SATURATION = "saturation"
    ERRORS = "errors"


@dataclass(frozen=True, slots=True)
class Signal:
    """A field with thresholds.

    ``words``: a text with ``{}`` for the value. ``device``: the field that names the device.
    """

    field: str
    kind: Kind
    words: str
    dataset: str = "host"
    device: str = ""

    @property
    def steps(self) -> Steps:
        """The thresholds of the field."""
        return THRESHOLDS[self.field]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource by its signals. ``usage``: fields of cgroups whose sum is the use; ``total``: the same of the host.

    Several resources are often short at once, because one causes the other: the order in the tables below is from cause
    to effect.
    """

    name: str
    signals: tuple[Signal, ...]
    usage: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    limit: str = ""  # the field of a cgroup's use as a share of its own limit
    pressure: str = ""  # the field of a cgroup's time lost waiting for the resource
    users: str = ""  # heading of the users; by default the name and "use"


def _host(field: str, kind: Kind, words: str) -> Signal:
    return Signal(field, kind, words)


def _of(dataset: str, device: str, field: str, kind: Kind, words: str) -> Signal:
    return Signal(field, kind, words, dataset, device)


_U, _F, _S, _E = Kind.UTILISATION, Kind.FULL, Kind.SATURATION, Kind.ERRORS
_MOUNT, _DISK, _INTERFACE = "system.filesystem.mount_point", "system.diskio.name", "system.network.name"

OF_HOST: Final[tuple[Resource, ...]] = (
    Resource(
        "memory",
        (
            _host("system.pressure.memory.some.avg10.pct", _S, "some task waited for memory {} of the time"),
            _host("system.vm.faults.major.count_per_s", _S, "{} page faults read from a disk"),
            _host("system.vm.oom_kills.count_per_s", _E, "the kernel OOM-killed processes, {}"),
            _host("system.memory.actual.used.pct", _U, "{} of the memory is used"),
            _host("system.memory.swap.used.pct", _U, "{} of the swap is used"),
        ),
        usage=("cgroup.memory.usage.bytes",),
        total=("system.memory.used.bytes",),
        limit="cgroup.memory.limit.pct",
        pressure="cgroup.pressure.memory.some.avg10.pct",
    ),
    Resource(
        "filesystem",
        (
            _of("filesystem", _MOUNT, "system.filesystem.used.pct", _F, "{} of the space is used"),
            _of("filesystem", _MOUNT, "system.filesystem.used_files.pct", _F, "{} of the inodes are used"),
        ),
        usage=("cgroup.io.write.bytes_per_s",),
        total=("system.diskio.total.write.bytes_per_s",),
        users="writes to all disks",
    ),
    Resource(
        "disk",
        (
            _host("system.pressure.io.some.avg10.pct", _S, "some task waited for I/O {} of the time"),
            _of("disk", _DISK, "system.diskio.queue.count", _S, "{} operations in the queue or in progress"),
            _of("disk", _DISK, "system.diskio.read.await.ms", _S, "a read takes {}"),
            _of("disk", _DISK, "system.diskio.write.await.ms", _S, "a write takes {}"),
            _of("disk", _DISK, "system.diskio.util.pct", _U, "busy {} of the time"),
        ),
        usage=("cgroup.io.read.bytes_per_s", "cgroup.io.write.bytes_per_s"),
        total=("system.diskio.total.read.bytes_per_s", "system.diskio.total.write.bytes_per_s"),
        pressure="cgroup.pressure.io.some.avg10.pct",
    ),
    Resource(
        "network",
        (
            _of("network", _INTERFACE, "system.network.util.pct", _S, "{} of the link's speed is used"),
            _host("system.tcp.retransmits.pct", _S, "{} of the TCP segments are retransmitted"),
            _host("system.tcp.listen.overflows.count_per_s", _E, "listen queues were full, {}"),
            _of("network", _INTERFACE, "system.network.in.errors_per_s", _E, "received packets had errors, {}"),
            _of("network", _INTERFACE, "system.network.out.errors_per_s", _E, "sent packets had errors, {}"),
        ),
        usage=("cgroup.network.in.bytes_per_s", "cgroup.network.out.bytes_per_s"),
        total=("system.network.total.in.bytes_per_s", "system.network.total.out.bytes_per_s"),
    ),
    Resource(
        "tasks",
        (_host("system.threads.used.pct", _F, "{} of the process and thread ids are used"),),
        usage=("cgroup.pids.current",),
        total=("system.threads.count",),
        users="tasks",
        limit="cgroup.pids.used.pct",
    ),
    Resource("connection tracking", (_host("system.conntrack.used.pct", _F, "{} of the table is used"),)),
    Resource("open files", (_host("system.files.used.pct", _F, "{} of the file handles are used"),)),
    Resource(
        "CPU",
        (
            _host("system.pressure.cpu.some.avg10.pct", _S, "some task waited for a CPU {} of the time"),
            _host("system.load.norm.1", _S, "the load is {} per CPU"),
            _host("system.cpu.steal.norm.pct", _S, "the hypervisor took {} of the CPU time"),
            _host(
                "system.cpu.throttle.package.count_per_s", _E, "the CPU was throttled because of its temperature, {}"
            ),
            _host("system.cpu.total.norm.pct", _U, "{} of the CPU time is used"),
        ),
        usage=("cgroup.cpu.cores",),
        total=("system.cpu.total.pct",),
        limit="cgroup.cpu.limit.pct",
        pressure="cgroup.pressure.cpu.some.avg10.pct",
    ),
)


def _cgroup(field: str, kind: Kind, words: str) -> Signal:
    return Signal(field, kind, words, "cgroup")


OF_CGROUP: Final[tuple[Resource, ...]] = (
    Resource(
        "memory",
        (
            _cgroup("cgroup.memory.events.oom_kill.count_per_s", _E, "the kernel OOM-killed processes, {}"),
            _cgroup("cgroup.memory.limit.pct", _S, "the working set is {} of the limit"),
            _cgroup("cgroup.pressure.memory.some.avg10.pct", _S, "some task waited for memory {} of the time"),
            _cgroup("cgroup.memory.refaults.file.count_per_s", _S, "pages of files read back soon after reclaim, {}"),
        ),
    ),
    Resource("disk", (_cgroup("cgroup.pressure.io.some.avg10.pct", _S, "some task waited for I/O {} of the time"),)),
    Resource("tasks", (_cgroup("cgroup.pids.used.pct", _F, "{} of the allowed tasks exist"),)),
    Resource(
        "CPU",
        (
            _cgroup("cgroup.cpu.throttled.pct", _S, "throttled in {} of the quota periods"),
            _cgroup("cgroup.pressure.cpu.some.avg10.pct", _S, "some task waited for a CPU {} of the time"),
            _cgroup("cgroup.cpu.limit.pct", _U, "{} of the CPU quota is used"),
        ),
    ),
)
