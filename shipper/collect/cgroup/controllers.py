"""Which file of a cgroup gives which field: the same fields from v2 and v1.

v2: https://docs.kernel.org/admin-guide/cgroup-v2.html, v1: https://docs.kernel.org/admin-guide/cgroup-v1/. The files of a
controller exist only if the parent cgroup enables it, and keys differ between kernels: each file and key is optional.
"""

import os
import re
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from shipper.collect.host import pressure
from shipper.fields.field import Field, Kind, Type, attribute, counter, cpu_time, gauge, real
from shipper.fields.rates import Value
from shipper.kernel.hierarchy import UNIFIED, Layout, Mode
from shipper.kernel.parse import LARGEST, Keyed, ParseError, integer, lines, shown, then

# Values of fields, and a few from which fields are made: see INACTIVE_FILE and below
Parse = Callable[[bytes], Mapping[str, Any]]

FIELDS: Final[tuple[Field, ...]] = (
    cpu_time("cgroup.cpu.usage.ns", "CPU time used", "cpu.stat usage_usec; v1 cpuacct.usage", "cgroup.cpu.cores"),
    cpu_time("cgroup.cpu.user.ns", "CPU time in user mode; in v1 sampled at each timer tick", "cpu.stat user_usec; v1 cpuacct.usage_user", "cgroup.cpu.user.cores"),
    cpu_time("cgroup.cpu.system.ns", "CPU time in kernel mode; in v1 sampled at each timer tick", "cpu.stat system_usec; v1 cpuacct.usage_sys", "cgroup.cpu.system.cores"),
    counter("cgroup.cpu.periods.count", "count", "Quota periods in which it used CPU time", "cpu.stat nr_periods"),
    counter("cgroup.cpu.throttled.count", "count", "Quota periods in which it was throttled", "cpu.stat nr_throttled"),
    cpu_time("cgroup.cpu.throttled.ns", "Time for which it was throttled, summed over its CPUs", "cpu.stat throttled_usec; v1 throttled_time", "cgroup.cpu.throttled.cores"),
    real("cgroup.cpu.limit.cores", "cores", "CPUs that its own quota allows; absent if it has no quota; read once a minute", "cpu.max; v1 cpu.cfs_quota_us / cpu.cfs_period_us"),
    Field("cgroup.cpu.weight", Type.LONG, Kind.ATTRIBUTE, "", "CPU weight relative to its siblings; 100 is the default", "cpu.weight; v1 cpu.shares × 100 / 1024"),
    gauge("cgroup.memory.usage.bytes", "bytes", "Memory usage, including page cache", "memory.current; v1 memory.usage_in_bytes"),
    gauge("cgroup.memory.peak.bytes", "bytes", "Highest memory usage so far", "memory.peak (Linux 5.19); v1 memory.max_usage_in_bytes"),
    gauge("cgroup.memory.limit.bytes", "bytes", "Its own hard memory limit; absent if it has none; read once a minute", "memory.max; v1 memory.limit_in_bytes"),
    gauge("cgroup.memory.high.bytes", "bytes", "Usage above which it is slowed down and reclaimed; absent if it has none; read once a minute", "memory.high"),
    gauge("cgroup.memory.limit.effective.bytes", "bytes", "The smallest memory limit of it and its ancestors; absent if there is none; read once a minute, in v1 at every tick", "memory.max of it and its ancestors; v1 memory.stat hierarchical_memory_limit"),
    gauge("cgroup.memory.low.bytes", "bytes", "Usage below which it is reclaimed only if nothing else can be", "memory.low"),
    gauge("cgroup.memory.min.bytes", "bytes", "Usage below which it is never reclaimed", "memory.min"),
    gauge("cgroup.memory.anon.bytes", "bytes", "Anonymous memory", "memory.stat anon; v1 total_rss"),
    gauge("cgroup.memory.file.bytes", "bytes", "Page cache, including shared memory", "memory.stat file; v1 total_cache"),
    gauge("cgroup.memory.kernel.bytes", "bytes", "Kernel memory", "memory.stat kernel (Linux 5.18); v1 memory.kmem.usage_in_bytes"),
    gauge("cgroup.memory.slab.bytes", "bytes", "Kernel slabs", "memory.stat slab"),
    gauge("cgroup.memory.sock.bytes", "bytes", "Socket buffers", "memory.stat sock; v1 memory.kmem.tcp.usage_in_bytes"),
    gauge("cgroup.memory.shmem.bytes", "bytes", "Shared memory and tmpfs", "memory.stat shmem; v1 total_shmem"),
    gauge("cgroup.memory.mapped.bytes", "bytes", "Mapped files", "memory.stat file_mapped; v1 total_mapped_file"),
    gauge("cgroup.memory.dirty.bytes", "bytes", "Dirty page cache: not yet written to disk", "memory.stat file_dirty; v1 total_dirty"),
    gauge("cgroup.memory.swap.usage.bytes", "bytes", "Swap usage", "memory.swap.current; v1 memory.stat total_swap"),
    gauge("cgroup.memory.swap.limit.bytes", "bytes", "Maximum swap usage; absent if it has no limit of its own", "memory.swap.max"),
    gauge("cgroup.memory.zswap.bytes", "bytes", "Size of its compressed pages in zswap", "memory.stat zswap (Linux 5.19)"),
    gauge("cgroup.memory.zswapped.bytes", "bytes", "Size of its pages in zswap before compression", "memory.stat zswapped (Linux 5.19)"),
    counter("cgroup.memory.refaults.anon.count", "count", "Anonymous pages read back soon after reclaim", "memory.stat workingset_refault_anon; v1 total_workingset_refault_anon"),
    counter("cgroup.memory.refaults.file.count", "count", "File pages read back soon after reclaim", "memory.stat workingset_refault_file, before Linux 5.9 workingset_refault; v1 total_workingset_refault_file"),
    counter("cgroup.memory.scanned.count", "count", "Pages scanned for reclaim", "memory.stat pgscan"),
    counter("cgroup.memory.reclaimed.count", "count", "Pages reclaimed", "memory.stat pgsteal"),
    counter("cgroup.memory.faults.count", "count", "Page faults", "memory.stat pgfault; v1 total_pgfault"),
    counter("cgroup.memory.major_faults.count", "count", "Major page faults: those that read from disk", "memory.stat pgmajfault; v1 total_pgmajfault"),
    counter("cgroup.memory.events.max.count", "count", "Times the memory limit was reached", "memory.events max; v1 memory.failcnt"),
    counter("cgroup.memory.events.high.count", "count", "Times it was slowed down by memory.high", "memory.events high"),
    counter("cgroup.memory.events.oom.count", "count", "Times an allocation at the limit failed", "memory.events oom"),
    counter("cgroup.memory.events.oom_kill.count", "count", "OOM-killed processes", "memory.events oom_kill; v1 memory.oom_control"),
    counter("cgroup.memory.events.low.count", "count", "Times it was reclaimed although its usage was below memory.low", "memory.events low"),
    counter("cgroup.memory.events.oom_group_kill.count", "count", "Times the whole cgroup was OOM-killed", "memory.events oom_group_kill (Linux 5.17)"),
    gauge("cgroup.pids.current", "count", "Tasks (threads)", "pids.current"),
    gauge("cgroup.pids.limit", "count", "Maximum number of tasks; absent if it has no limit; read once a minute", "pids.max"),
    gauge("cgroup.pids.peak", "count", "Highest number of tasks so far; read every 5 minutes", "pids.peak (Linux 6.1)"),
    counter("cgroup.pids.events.max.count", "count", "Forks that failed because of the limit", "pids.events max"),
    counter("cgroup.io.read.bytes", "bytes", "Bytes read from block devices, without stacked ones", "io.stat rbytes; v1 blkio.throttle.io_service_bytes_recursive"),
    counter("cgroup.io.write.bytes", "bytes", "Bytes written to block devices, without stacked ones", "io.stat wbytes; v1 the same file"),
    counter("cgroup.io.read.count", "count", "Reads from block devices", "io.stat rios; v1 blkio.throttle.io_serviced_recursive"),
    counter("cgroup.io.write.count", "count", "Writes to block devices", "io.stat wios; v1 the same file"),
    counter("cgroup.io.discard.bytes", "bytes", "Bytes discarded on block devices", "io.stat dbytes; v1 blkio.throttle.io_service_bytes_recursive Discard"),
    counter("cgroup.io.discard.count", "count", "Discards on block devices", "io.stat dios; v1 blkio.throttle.io_serviced_recursive Discard"),
    attribute("cgroup.io.busiest.name", "Device with most I/O of this cgroup since the previous tick", "io.stat; v1 blkio.throttle.io_service_bytes_recursive; proc/diskstats"),
    real("cgroup.io.busiest.bytes_per_s", "bytes/s", "Bytes read and written on that device", "the same files"),
    *pressure.fields("cgroup.pressure", "{}.pressure"),
)  # fmt: skip

# What files give beside fields; code that makes a field of such a value removes it
INACTIVE_FILE: Final = "inactive file"
INHERITED_LIMIT: Final = "inherited memory limit"
QUOTA: Final = "quota us"
QUOTA_PERIOD: Final = "period us"
_IO: Final = {"bytes": "io bytes", "count": "io count"}  # direction → device MAJ:MIN → number

_NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_MOST_KEPT: Final = 256
_UNLIMITED: Final = b"18446744073709551615"  # before Linux 3.19
V1_UNLIMITED: Final = 0x7FFF_FFFF_FFFF_0000  # LONG_MAX rounded down to pages of 64 KiB; smaller pages give more


@dataclass(frozen=True)
class CgroupFile:
    """One file of one controller. It is unnecessary if an earlier file gives the value ``unless``.

    ``field``: the file has one number, the value of this field, and needs no ``parse``. ``gives``: another value that it
    always gives. ``needs``: the controller that adds the file in cgroup2; files without it are in every cgroup. ``own``:
    the file counts only the cgroup's own tasks, not those of the cgroups below it. ``held``: it changes only together with
    a file that is read at every tick, or by an operator's hand; docs/decisions/0013-held-files.md has the reasons.
    ``moving``: a held file that changes almost whenever a task of the cgroup runs; the others seldom change. ``implied``:
    one that changes only together with another of those others. ``sign``: the part of a file read at every tick that does
    not change by itself.
    """

    controller: str
    name: str
    parse: Parse
    unless: str = ""
    field: str = ""
    gives: str = ""
    needs: str = ""
    own: bool = False
    held: bool = False
    moving: bool = False
    implied: bool = False
    sign: Callable[[bytes], Hashable] | None = None


def single(
    controller: str, name: str, field: str, needs: str = "", *, held: bool = False, moving: bool = False
) -> CgroupFile:
    """A file that has only the number of ``field``."""
    return CgroupFile(controller, name, number(field), field=field, needs=needs, held=held, moving=moving)


def number(field: str) -> Parse:
    """A parser of one number."""
    return lambda text: {field: integer(text)}


def limit(field: str) -> Parse:
    """A parser of a limit; no field if there is no limit."""

    def parse(text: bytes) -> Mapping[str, Value]:
        if text.strip() in (b"max", _UNLIMITED) or (value := integer(text)) >= V1_UNLIMITED:
            return {}
        return {field: value}

    return _kept(parse)


def weight_of_shares(text: bytes) -> Mapping[str, Value]:
    """v1 ``cpu.shares`` on the scale of v2, as in cpu_weight_read_u64 of kernel/sched/core.c."""
    return {"cgroup.cpu.weight": (integer(text) * 100 + 512) // 1024}


def _keys(wanted: Mapping[bytes, str], scale: int = 1) -> Parse:
    return Keyed({key: (field, scale) for key, field in wanted.items()})


def _memory_stat_v1(wanted: Mapping[bytes, str]) -> Parse:
    parse = _keys(wanted)

    def parse_again(text: bytes) -> Mapping[str, Value]:
        try:
            return parse(text)
        except ParseError:
            return parse(text.replace(b"hierarchical_memory_limit " + _UNLIMITED + b"\n", b""))

    return parse_again


def _kept(parse: Parse) -> Parse:
    """``parse`` with a cache, for texts that are often the same: of a cgroup over time, or of many idle ones."""
    return lru_cache(maxsize=_MOST_KEPT)(parse)


def _pressure(resource: str) -> Parse:
    return _kept(pressure.parser(f"cgroup.pressure.{resource}"))


_TIMES: Final = {
    b"usage_usec": "cgroup.cpu.usage.ns",
    b"user_usec": "cgroup.cpu.user.ns",
    b"system_usec": "cgroup.cpu.system.ns",
    b"throttled_usec": "cgroup.cpu.throttled.ns",
}
_PERIODS: Final = {b"nr_periods": "cgroup.cpu.periods.count", b"nr_throttled": "cgroup.cpu.throttled.count"}


def _cpu_stat() -> Parse:
    scaled = {**dict.fromkeys(_TIMES, 1000), **dict.fromkeys(_PERIODS, 1)}
    return Keyed({key: (field, scaled[key]) for key, field in {**_TIMES, **_PERIODS}.items()})


_IO_KEYS: Final = {
    b"rbytes": ("bytes", "read"), b"wbytes": ("bytes", "write"), b"dbytes": ("bytes", "discard"),
    b"rios": ("count", "read"), b"wios": ("count", "write"), b"dios": ("count", "discard"),
}  # fmt: skip
_BLKIO_KEYS: Final = {b"Read": "read", b"Write": "write", b"Discard": "discard"}

# direction → device → number
_Moved = dict[str, dict[str, int]]


# As all kernels since 5.0 write the line of a device with I/O
_IO_AS_ALWAYS: Final = re.compile(
    rb"(?m)^([0-9]+:[0-9]+) rbytes=([0-9]{1,18}) wbytes=([0-9]{1,18}) rios=([0-9]{1,18}) wios=([0-9]{1,18})"
    rb" dbytes=([0-9]{1,18}) dios=([0-9]{1,18})\n"
)


def _io_stat(text: bytes) -> Mapping[str, Any]:
    """A line ``253:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`` per device; without I/O it may have no keys."""
    rows = _IO_AS_ALWAYS.findall(text)
    if not rows or len(rows) != text.count(b"\n") or not text.endswith(b"\n"):
        return _io_stat_carefully(text)
    numbers, *columns = zip(*rows, strict=True)
    devices = [number.decode() for number in numbers]
    read, write, reads, writes, discarded, discards = (
        dict(zip(devices, map(int, column), strict=True)) for column in columns
    )
    return {
        _IO["bytes"]: {"read": read, "write": write, "discard": discarded},
        _IO["count"]: {"read": reads, "write": writes, "discard": discards},
    }


def _io_stat_carefully(text: bytes) -> Mapping[str, Any]:
    moved: dict[str, _Moved] = {"bytes": {}, "count": {}}
    bad = ""
    for line in text.split(b"\n"):
        number, *pairs = line.split() or [b""]
        for pair in pairs:
            key, _, amount = pair.partition(b"=")
            if key in _IO_KEYS:
                unit, direction = _IO_KEYS[key]
                try:
                    moved[unit].setdefault(direction, {})[_device(number)] = integer(amount)
                except ParseError as error:
                    bad = bad or str(error)
    by_unit = {_IO[unit]: amounts for unit, amounts in moved.items() if amounts}
    if bad:
        raise ParseError(bad, by_unit)
    return by_unit


def _blkio(unit: str) -> Parse:
    """A line ``8:0 Read 4096`` per device and operation, at the end ``Total 4096``."""

    def parse_line(line: bytes) -> tuple[str, str, int] | None:
        words = line.split()
        if len(words) == 3 and words[1] in _BLKIO_KEYS:  # noqa: PLR2004
            return _BLKIO_KEYS[words[1]], _device(words[0]), integer(words[2])
        if len(words) not in (2, 3):
            raise ParseError("neither device, operation, number nor a total")
        return None

    def by_direction(rows: list[tuple[str, str, int]]) -> Mapping[str, Any]:
        moved: _Moved = {}
        for direction, device, amount in rows:
            moved.setdefault(direction, {})[device] = amount
        return {_IO[unit]: moved}

    idle: Mapping[str, Any] = {_IO[unit]: {}}
    parse_rows = then(lambda text: lines(text, parse_line), by_direction)
    return lambda text: idle if text == b"Total 0\n" else parse_rows(text)


def _device(number: bytes) -> str:
    major, _, minor = number.partition(b":")
    if not (major.isdigit() and minor.isdigit()):
        raise ParseError(f"not a device number: {shown(number)}")
    return number.decode()


def finish(values: MutableMapping[str, Any], stacked: Mapping[str, bool]) -> dict[str, int]:
    """Make fields of quota and per-device I/O in ``values``. Returns the bytes per device so far, without ``stacked`` ones."""
    quota, period = values.pop(QUOTA, None), values.pop(QUOTA_PERIOD, None)
    if quota and period:
        values["cgroup.cpu.limit.cores"] = quota / period
    devices: dict[str, int] = {}
    for unit, key in _IO.items():
        for direction, amounts in (values.pop(key, None) or {}).items():
            total = 0
            for device, amount in amounts.items():
                if not stacked[device]:
                    total += amount
                    if unit == "bytes":
                        devices[device] = devices.get(device, 0) + amount
            if total <= LARGEST:
                values[f"cgroup.io.{direction}.{unit}"] = total
    return devices


def drop_io(values: MutableMapping[str, Any]) -> None:
    """Remove I/O that the kernel does not count."""
    for key in _IO.values():
        values.pop(key, None)


_TOTALS: Final = re.compile(rb"total=(\d+)").findall


def _stalled(text: bytes) -> Hashable:
    """The stall times: averages change by themselves for half an hour."""
    return tuple(_TOTALS(text))


# A task waits for a CPU before it runs, so this is a sign; it can wait for memory or I/O only after it ran
_PRESSURE: Final = [
    CgroupFile(UNIFIED, "cpu.pressure", _pressure("cpu"), sign=_stalled),
    *(
        CgroupFile(UNIFIED, f"{name}.pressure", _pressure(name), held=True)
        for name in pressure.RESOURCES
        if name != "cpu"
    ),
]

_V2: Final = [
    CgroupFile(UNIFIED, "cpu.stat", _cpu_stat()),
    single(UNIFIED, "memory.current", "cgroup.memory.usage.bytes", needs="memory"),
    single(UNIFIED, "memory.peak", "cgroup.memory.peak.bytes", needs="memory", held=True),
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
        b"zswap": "cgroup.memory.zswap.bytes",
        b"zswapped": "cgroup.memory.zswapped.bytes",
        b"workingset_refault": "cgroup.memory.refaults.file.count",
        b"workingset_refault_anon": "cgroup.memory.refaults.anon.count",
        b"workingset_refault_file": "cgroup.memory.refaults.file.count",
        b"pgscan": "cgroup.memory.scanned.count",
        b"pgsteal": "cgroup.memory.reclaimed.count",
    }), needs="memory"),
    single(UNIFIED, "memory.swap.current", "cgroup.memory.swap.usage.bytes", needs="memory"),
    CgroupFile(UNIFIED, "memory.events", _kept(_keys({
        b"low": "cgroup.memory.events.low.count",
        b"high": "cgroup.memory.events.high.count",
        b"max": "cgroup.memory.events.max.count",
        b"oom": "cgroup.memory.events.oom.count",
        b"oom_kill": "cgroup.memory.events.oom_kill.count",
        b"oom_group_kill": "cgroup.memory.events.oom_group_kill.count",
    })), needs="memory"),
    single(UNIFIED, "pids.current", "cgroup.pids.current", needs="pids"),
    CgroupFile(UNIFIED, "pids.events", _kept(_keys({b"max": "cgroup.pids.events.max.count"})), needs="pids"),
    CgroupFile(UNIFIED, "io.stat", _io_stat, needs="io"),
    *_PRESSURE,
]  # fmt: skip

_V1: Final = [
    single("cpuacct", "cpuacct.usage", "cgroup.cpu.usage.ns"),
    single("cpuacct", "cpuacct.usage_user", "cgroup.cpu.user.ns", held=True, moving=True),
    single("cpuacct", "cpuacct.usage_sys", "cgroup.cpu.system.ns", held=True, moving=True),
    # before Linux 4.9 the only file, in clock ticks
    CgroupFile("cpuacct", "cpuacct.stat", _keys(
        {b"user": "cgroup.cpu.user.ns", b"system": "cgroup.cpu.system.ns"}, _NS_PER_TICK
    ), unless="cgroup.cpu.user.ns", held=True, moving=True),
    CgroupFile("cpu", "cpu.stat", _keys({**_PERIODS, b"throttled_time": "cgroup.cpu.throttled.ns"}), held=True),
    single("memory", "memory.usage_in_bytes", "cgroup.memory.usage.bytes"),
    single("memory", "memory.max_usage_in_bytes", "cgroup.memory.peak.bytes", held=True),
    # total_ includes the cgroups below, as everything in v2 does
    CgroupFile("memory", "memory.stat", _memory_stat_v1({
        b"total_rss": "cgroup.memory.anon.bytes",
        b"total_cache": "cgroup.memory.file.bytes",
        b"total_shmem": "cgroup.memory.shmem.bytes",
        b"total_mapped_file": "cgroup.memory.mapped.bytes",
        b"total_dirty": "cgroup.memory.dirty.bytes",
        b"total_inactive_file": INACTIVE_FILE,
        b"total_swap": "cgroup.memory.swap.usage.bytes",
        b"total_pgfault": "cgroup.memory.faults.count",
        b"total_pgmajfault": "cgroup.memory.major_faults.count",
        b"total_workingset_refault": "cgroup.memory.refaults.file.count",
        b"total_workingset_refault_anon": "cgroup.memory.refaults.anon.count",
        b"total_workingset_refault_file": "cgroup.memory.refaults.file.count",
        b"hierarchical_memory_limit": INHERITED_LIMIT,
    })),
    single("memory", "memory.kmem.usage_in_bytes", "cgroup.memory.kernel.bytes"),
    CgroupFile("memory", "memory.kmem.tcp.usage_in_bytes", _kept(number("cgroup.memory.sock.bytes"))),
    CgroupFile("memory", "memory.failcnt", _kept(number("cgroup.memory.events.max.count")), held=True),
    CgroupFile("memory", "memory.oom_control", _kept(_keys({b"oom_kill": "cgroup.memory.events.oom_kill.count"})), held=True),
    single("pids", "pids.current", "cgroup.pids.current"),
    CgroupFile("pids", "pids.events", _kept(_keys({b"max": "cgroup.pids.events.max.count"})), held=True),
    CgroupFile("blkio", "blkio.throttle.io_service_bytes_recursive", _blkio("bytes"), gives=_IO["bytes"], held=True, implied=True),
    CgroupFile("blkio", "blkio.throttle.io_serviced_recursive", _blkio("count"), gives=_IO["count"], held=True),
    # before Linux 4.16 the only files, which leave out the cgroups below
    CgroupFile("blkio", "blkio.throttle.io_service_bytes", _blkio("bytes"), unless=_IO["bytes"], own=True, held=True, implied=True),
    CgroupFile("blkio", "blkio.throttle.io_serviced", _blkio("count"), unless=_IO["count"], own=True, held=True),
]  # fmt: skip

# Every cgroup of cgroup2 has cpu.stat, with CPU times even without a controller; it is not read if v1 gives the times
_TIMES_OF_UNIFIED: Final = CgroupFile(UNIFIED, "cpu.stat", _cpu_stat(), unless="cgroup.cpu.usage.ns")

TABLES: Final = {"v2": _V2, "v1": _V1}


def table(layout: Layout) -> list[CgroupFile]:
    """The files to read in the cgroups of a host, given where each of its controllers is."""
    v2 = _V2 if layout.mode is Mode.V2 or "cpu" in layout.unified else [_TIMES_OF_UNIFIED, *_V2[1:]]
    return [spec for spec in (*_V1, *v2) if layout.has(spec.controller, spec.needs)]
