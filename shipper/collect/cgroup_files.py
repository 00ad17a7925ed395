"""Which file of a cgroup gives which field, for v2 and v1; the same fields from both.

v2: https://docs.kernel.org/admin-guide/cgroup-v2.html, v1: https://docs.kernel.org/admin-guide/cgroup-v1/. A controller's
files exist only where the parent cgroup turned it on, keys come and go between kernels: each file and key is optional.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from shipper.collect import pressure
from shipper.collect.hierarchy import UNIFIED, Mode
from shipper.fields import Field, counter, cpu_time, gauge, real
from shipper.parse import ParseError, integer, key_values, lines, shown, signed
from shipper.parse import pressure as parse_pressure
from shipper.rates import Value

Parse = Callable[[bytes], Mapping[str, Value]]

FIELDS: Final[tuple[Field, ...]] = (
    cpu_time("cgroup.cpu.usage.ns", "CPU time used", "cpu.stat usage_usec; v1 cpuacct.usage", "cgroup.cpu.cores"),
    cpu_time("cgroup.cpu.user.ns", "CPU time in user mode", "cpu.stat user_usec; v1 cpuacct.usage_user", "cgroup.cpu.user.cores"),
    cpu_time("cgroup.cpu.system.ns", "CPU time in the kernel", "cpu.stat system_usec; v1 cpuacct.usage_sys", "cgroup.cpu.system.cores"),
    counter("cgroup.cpu.periods.count", "count", "Quota periods in which it ran", "cpu.stat nr_periods"),
    counter("cgroup.cpu.throttled.count", "count", "Quota periods in which it was throttled", "cpu.stat nr_throttled"),
    cpu_time("cgroup.cpu.throttled.ns", "Time for which it was throttled, over its CPUs", "cpu.stat throttled_usec; v1 throttled_time", "cgroup.cpu.throttled.cores"),
    real("cgroup.cpu.limit.cores", "cores", "CPUs its own quota allows; absent: no quota", "cpu.max; v1 cpu.cfs_quota_us / cpu.cfs_period_us"),
    gauge("cgroup.memory.usage.bytes", "bytes", "Memory charged, page cache included", "memory.current; v1 memory.usage_in_bytes"),
    gauge("cgroup.memory.peak.bytes", "bytes", "Highest usage so far", "memory.peak (Linux 5.19); v1 memory.max_usage_in_bytes"),
    gauge("cgroup.memory.limit.bytes", "bytes", "Its own hard limit; absent: none", "memory.max; v1 memory.limit_in_bytes"),
    gauge("cgroup.memory.high.bytes", "bytes", "Usage above which it is slowed and reclaimed; absent: none", "memory.high"),
    gauge("cgroup.memory.anon.bytes", "bytes", "Anonymous memory", "memory.stat anon; v1 total_rss"),
    gauge("cgroup.memory.file.bytes", "bytes", "Page cache, shmem included", "memory.stat file; v1 total_cache"),
    gauge("cgroup.memory.kernel.bytes", "bytes", "Kernel memory", "memory.stat kernel (Linux 5.18); v1 memory.kmem.usage_in_bytes"),
    gauge("cgroup.memory.slab.bytes", "bytes", "Kernel slabs", "memory.stat slab"),
    gauge("cgroup.memory.sock.bytes", "bytes", "Socket buffers", "memory.stat sock; v1 memory.kmem.tcp.usage_in_bytes"),
    gauge("cgroup.memory.shmem.bytes", "bytes", "Shared memory and tmpfs", "memory.stat shmem; v1 total_shmem"),
    gauge("cgroup.memory.mapped.bytes", "bytes", "Mapped files", "memory.stat file_mapped; v1 total_mapped_file"),
    gauge("cgroup.memory.dirty.bytes", "bytes", "Page cache waiting to be written", "memory.stat file_dirty; v1 total_dirty"),
    gauge("cgroup.memory.swap.usage.bytes", "bytes", "Swap used", "memory.swap.current; v1 memory.stat total_swap"),
    counter("cgroup.memory.faults.count", "count", "Page faults", "memory.stat pgfault; v1 total_pgfault"),
    counter("cgroup.memory.major_faults.count", "count", "Page faults that read from disk", "memory.stat pgmajfault; v1 total_pgmajfault"),
    counter("cgroup.memory.events.max.count", "count", "Times the limit was hit", "memory.events max; v1 memory.failcnt"),
    counter("cgroup.memory.events.high.count", "count", "Times it was slowed by memory.high", "memory.events high"),
    counter("cgroup.memory.events.oom.count", "count", "Times an allocation failed at the limit", "memory.events oom"),
    counter("cgroup.memory.events.oom_kill.count", "count", "Processes killed for lack of memory", "memory.events oom_kill; v1 memory.oom_control"),
    gauge("cgroup.pids.current", "count", "Tasks (threads)", "pids.current"),
    gauge("cgroup.pids.limit", "count", "Most tasks allowed; absent: no limit", "pids.max"),
    counter("cgroup.io.read.bytes", "bytes", "Read from block devices, stacked ones left out", "io.stat rbytes; v1 blkio.throttle.io_service_bytes_recursive"),
    counter("cgroup.io.write.bytes", "bytes", "Written to block devices, stacked ones left out", "io.stat wbytes; v1 the same file"),
    counter("cgroup.io.read.count", "count", "Reads from block devices", "io.stat rios; v1 blkio.throttle.io_serviced_recursive"),
    counter("cgroup.io.write.count", "count", "Writes to block devices", "io.stat wios; v1 the same file"),
    *pressure.fields("cgroup.pressure", "{}.pressure"),
)  # fmt: skip

INACTIVE_FILE: Final = "inactive file"  # these four are made into fields and not published themselves
_QUOTA: Final = "quota us"
_PERIOD: Final = "period us"
_IO: Final = "io "  # + direction.unit + a space + MAJ:MIN

_NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_V1_UNLIMITED: Final = 0x7FFF_FFFF_FFFF_0000  # the largest page count: rounded down differently by page size


@dataclass(frozen=True)
class CgroupFile:
    """One file of one controller. It is not read where a file before it already gave the value ``unless``."""

    controller: str
    name: str
    parse: Parse
    unless: str = ""


def _number(field: str) -> Parse:
    return lambda text: {field: integer(text)}


def _limit(field: str) -> Parse:
    def parse(text: bytes) -> Mapping[str, Value]:
        if text.strip() == b"max" or (value := integer(text)) >= _V1_UNLIMITED:
            return {}
        return {field: value}

    return parse


def _keys(wanted: dict[bytes, str], scale: int = 1) -> Parse:
    return lambda text: key_values(text, wanted, scale)


def _pressure(resource: str) -> Parse:
    return lambda text: pressure.values(f"cgroup.pressure.{resource}", parse_pressure(text))


_TIMES: Final = {
    b"usage_usec": "cgroup.cpu.usage.ns",
    b"user_usec": "cgroup.cpu.user.ns",
    b"system_usec": "cgroup.cpu.system.ns",
    b"throttled_usec": "cgroup.cpu.throttled.ns",
}
_PERIODS: Final = {b"nr_periods": "cgroup.cpu.periods.count", b"nr_throttled": "cgroup.cpu.throttled.count"}


def _cpu_stat(text: bytes) -> Mapping[str, Value]:
    return {**key_values(text, _TIMES, 1000), **key_values(text, _PERIODS)}


def _cpu_max(text: bytes) -> Mapping[str, Value]:
    """``max 100000`` or ``50000 100000``: quota and period in µs."""
    quota, _, period = text.strip().partition(b" ")
    return {} if quota == b"max" else {_QUOTA: integer(quota), _PERIOD: integer(period)}


def _cfs_quota(text: bytes) -> Mapping[str, Value]:
    quota = signed(text)
    return {_QUOTA: quota} if quota > 0 else {}


_IO_KEYS: Final = {b"rbytes": "read.bytes", b"wbytes": "write.bytes", b"rios": "read.count", b"wios": "write.count"}


def _io_stat(text: bytes) -> Mapping[str, Value]:
    """``253:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`` a device; one without io may have no keys."""
    values: dict[str, Value] = {}
    for line in text.split(b"\n"):
        device, *pairs = line.split() or [b""]
        for pair in pairs:
            key, _, number = pair.partition(b"=")
            if key in _IO_KEYS:
                values[f"{_IO}{_IO_KEYS[key]} {_device(device)}"] = integer(number)
    return values


def _blkio(unit: str) -> Parse:
    """``8:0 Read 4096`` a device and operation, at the end ``Total 4096``."""

    def parse_line(line: bytes) -> tuple[str, int] | None:
        words = line.split()
        if len(words) == 3 and words[1] in (b"Read", b"Write"):  # noqa: PLR2004
            return f"{_IO}{words[1].decode().lower()}.{unit} {_device(words[0])}", integer(words[2])
        if len(words) not in (2, 3):
            raise ParseError("neither device, operation, number nor a total")
        return None

    return lambda text: dict(lines(text, parse_line))


def _device(number: bytes) -> str:
    major, _, minor = number.partition(b":")
    if not (major.isdigit() and minor.isdigit()):
        raise ParseError(f"not a device number: {shown(number)}")
    return number.decode()


def finish(values: dict[str, Value], stacked: frozenset[bytes]) -> None:
    """Make quota and per-device io in ``values`` into fields. Devices whose major is in ``stacked`` lie on others."""
    quota, period = values.pop(_QUOTA, None), values.pop(_PERIOD, None)
    if isinstance(quota, int) and isinstance(period, int) and period:
        values["cgroup.cpu.limit.cores"] = quota / period
    for key in [key for key in values if key.startswith(_IO)]:
        what, _, device = key.removeprefix(_IO).partition(" ")
        amount = values.pop(key)
        if isinstance(amount, int) and device.partition(":")[0].encode() not in stacked:
            total = values.get(f"cgroup.io.{what}", 0)
            values[f"cgroup.io.{what}"] = amount + (total if isinstance(total, int) else 0)


_PRESSURE: Final = [CgroupFile(UNIFIED, f"{name}.pressure", _pressure(name)) for name in pressure.RESOURCES]

_V2: Final = [
    CgroupFile(UNIFIED, "cpu.stat", _cpu_stat),
    CgroupFile(UNIFIED, "cpu.max", _cpu_max),
    CgroupFile(UNIFIED, "memory.current", _number("cgroup.memory.usage.bytes")),
    CgroupFile(UNIFIED, "memory.peak", _number("cgroup.memory.peak.bytes")),
    CgroupFile(UNIFIED, "memory.max", _limit("cgroup.memory.limit.bytes")),
    CgroupFile(UNIFIED, "memory.high", _limit("cgroup.memory.high.bytes")),
    CgroupFile(UNIFIED, "memory.stat", _keys({
        b"anon": "cgroup.memory.anon.bytes",
        b"file": "cgroup.memory.file.bytes",
        b"kernel": "cgroup.memory.kernel.bytes",
        b"slab": "cgroup.memory.slab.bytes",
        b"sock": "cgroup.memory.sock.bytes",
        b"shmem": "cgroup.memory.shmem.bytes",
        b"file_mapped": "cgroup.memory.mapped.bytes",
        b"file_dirty": "cgroup.memory.dirty.bytes",
        b"inactive_file": INACTIVE_FILE,
        b"pgfault": "cgroup.memory.faults.count",
        b"pgmajfault": "cgroup.memory.major_faults.count",
    })),
    CgroupFile(UNIFIED, "memory.swap.current", _number("cgroup.memory.swap.usage.bytes")),
    CgroupFile(UNIFIED, "memory.events", _keys({
        b"high": "cgroup.memory.events.high.count",
        b"max": "cgroup.memory.events.max.count",
        b"oom": "cgroup.memory.events.oom.count",
        b"oom_kill": "cgroup.memory.events.oom_kill.count",
    })),
    CgroupFile(UNIFIED, "pids.current", _number("cgroup.pids.current")),
    CgroupFile(UNIFIED, "pids.max", _limit("cgroup.pids.limit")),
    CgroupFile(UNIFIED, "io.stat", _io_stat),
    *_PRESSURE,
]  # fmt: skip

_V1: Final = [
    CgroupFile("cpuacct", "cpuacct.usage", _number("cgroup.cpu.usage.ns")),
    CgroupFile("cpuacct", "cpuacct.usage_user", _number("cgroup.cpu.user.ns")),
    CgroupFile("cpuacct", "cpuacct.usage_sys", _number("cgroup.cpu.system.ns")),
    # before Linux 4.9 only in clock ticks
    CgroupFile("cpuacct", "cpuacct.stat", _keys(
        {b"user": "cgroup.cpu.user.ns", b"system": "cgroup.cpu.system.ns"}, _NS_PER_TICK
    ), unless="cgroup.cpu.user.ns"),
    CgroupFile("cpu", "cpu.stat", _keys({**_PERIODS, b"throttled_time": "cgroup.cpu.throttled.ns"})),
    CgroupFile("cpu", "cpu.cfs_quota_us", _cfs_quota),
    CgroupFile("cpu", "cpu.cfs_period_us", _number(_PERIOD)),
    CgroupFile("memory", "memory.usage_in_bytes", _number("cgroup.memory.usage.bytes")),
    CgroupFile("memory", "memory.max_usage_in_bytes", _number("cgroup.memory.peak.bytes")),
    CgroupFile("memory", "memory.limit_in_bytes", _limit("cgroup.memory.limit.bytes")),
    # total_ counts the cgroups below too, as all of v2 does
    CgroupFile("memory", "memory.stat", _keys({
        b"total_rss": "cgroup.memory.anon.bytes",
        b"total_cache": "cgroup.memory.file.bytes",
        b"total_shmem": "cgroup.memory.shmem.bytes",
        b"total_mapped_file": "cgroup.memory.mapped.bytes",
        b"total_dirty": "cgroup.memory.dirty.bytes",
        b"total_inactive_file": INACTIVE_FILE,
        b"total_swap": "cgroup.memory.swap.usage.bytes",
        b"total_pgfault": "cgroup.memory.faults.count",
        b"total_pgmajfault": "cgroup.memory.major_faults.count",
    })),
    CgroupFile("memory", "memory.kmem.usage_in_bytes", _number("cgroup.memory.kernel.bytes")),
    CgroupFile("memory", "memory.kmem.tcp.usage_in_bytes", _number("cgroup.memory.sock.bytes")),
    CgroupFile("memory", "memory.failcnt", _number("cgroup.memory.events.max.count")),
    CgroupFile("memory", "memory.oom_control", _keys({b"oom_kill": "cgroup.memory.events.oom_kill.count"})),
    CgroupFile("pids", "pids.current", _number("cgroup.pids.current")),
    CgroupFile("pids", "pids.max", _limit("cgroup.pids.limit")),
    CgroupFile("blkio", "blkio.throttle.io_service_bytes_recursive", _blkio("bytes")),
    CgroupFile("blkio", "blkio.throttle.io_serviced_recursive", _blkio("count")),
]  # fmt: skip

# In hybrid mode a cgroup may be in the unified hierarchy alone, whose cpu.stat has times without any controller
_HYBRID: Final = [*_V1, CgroupFile(UNIFIED, "cpu.stat", _cpu_stat, unless="cgroup.cpu.usage.ns"), *_PRESSURE]

TABLES: Final = {Mode.V2: _V2, Mode.V1: _V1, Mode.HYBRID: _HYBRID, Mode.NONE: []}
