"""Page faults, swapping and reclaim: ``proc/vmstat``, ``pgfault 1824391`` a line.

Reclaim was counted per zone (``pgscan_kswapd_normal``) before Linux 4.8, and so is allocstall since 4.10: the zones are
added up. pgpgin and pgpgout are in KiB, all else in pages or events. oom_kill from 4.13; refaults split into anon and
file from 5.9. https://docs.kernel.org/admin-guide/sysctl/vm.html
"""

import os
from collections.abc import Iterable

from shipper.collect.contract import Collector, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import counter
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import LARGEST, ParseError, key_values, whole
from shipper.kernel.source import Reader

_FILE = "proc/vmstat"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ZONES = ("dma", "dma32", "normal", "high", "movable", "device")


def _zoned(key: str) -> tuple[str, ...]:
    return (key, *(f"{key}_{zone}" for zone in _ZONES))


# field: keys that are added up, factor, help
_WANTED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "system.vm.faults.count": (("pgfault",), 1, "Page faults, major ones included"),
    "system.vm.faults.major.count": (("pgmajfault",), 1, "Page faults that had to read from disk"),
    "system.vm.paged.in.bytes": (("pgpgin",), 1024, "Read from block devices"),
    "system.vm.paged.out.bytes": (("pgpgout",), 1024, "Written to block devices"),
    "system.vm.swapped.in.bytes": (("pswpin",), _PAGE, "Read from swap"),
    "system.vm.swapped.out.bytes": (("pswpout",), _PAGE, "Written to swap"),
    "system.vm.scanned.kswapd.bytes": (_zoned("pgscan_kswapd"), _PAGE, "Looked at by kswapd to be freed"),
    "system.vm.scanned.direct.bytes": (_zoned("pgscan_direct"), _PAGE, "Looked at by allocating tasks to be freed"),
    "system.vm.reclaimed.kswapd.bytes": (_zoned("pgsteal_kswapd"), _PAGE, "Freed by kswapd"),
    "system.vm.reclaimed.direct.bytes": (_zoned("pgsteal_direct"), _PAGE, "Freed by allocating tasks"),
    "system.vm.allocation_stalls.count": (_zoned("allocstall"), 1, "Allocations that had to free memory first"),
    "system.vm.oom_kills.count": (("oom_kill",), 1, "Processes killed for want of memory"),
    "system.vm.refaults.anon.count": (("workingset_refault_anon",), 1, "Anonymous pages needed again soon after reclaim"),
    "system.vm.refaults.file.count": (
        ("workingset_refault_file", "workingset_refault"), 1, "File pages needed again soon after reclaim",
    ),
    "system.vm.thp.allocated.count": (("thp_fault_alloc", "thp_collapse_alloc"), 1, "Transparent huge pages given"),
    "system.vm.thp.failed.count": (("thp_fault_fallback", "thp_collapse_alloc_failed"), 1, "Huge pages not to be had"),
    "system.vm.thp.split.count": (("thp_split_page",), 1, "Transparent huge pages split"),
    "system.vm.compaction.stalls.count": (("compact_stall",), 1, "Allocations that had to compact memory first"),
    "system.vm.compaction.successes.count": (("compact_success",), 1, "Of these, with the page as result"),
    "system.vm.compaction.failures.count": (("compact_fail",), 1, "Of these, without"),
}  # fmt: skip
_KEYS = {key.encode(): key for keys, _, _ in _WANTED.values() for key in keys}

FIELDS = tuple(
    counter(name, name.rpartition(".")[2], help_, f"{_FILE} {' + '.join(keys)}")
    for name, (keys, _, help_) in _WANTED.items()
)


def parse(text: bytes) -> dict[str, Value]:
    try:
        return _sums(key_values(whole(text), _KEYS))
    except ParseError as error:
        # A sum over damaged lines would fall, and jump when they are sound again
        single = {key: value for key, value in (error.partial or {}).items() if _single(key)}
        raise ParseError(str(error), _sums(single) if single else None) from None


def _single(key: str) -> bool:
    return any(keys == (key,) for keys, _, _ in _WANTED.values())


def _sums(counts: dict[str, int]) -> dict[str, Value]:
    if not counts:
        raise ParseError("nothing known in it")
    sums = {
        name: sum(counts[key] for key in keys if key in counts) * factor
        for name, (keys, factor, _) in _WANTED.items()
        if any(key in counts for key in keys)
    }
    return {name: value for name, value in sums.items() if value <= LARGEST}


def collect(reader: Reader) -> Iterable[Reading]:
    return host_reading(reader, reader.parse(_FILE, parse))


COLLECTOR = Collector("vmstat", plain(collect), {HOST: Output(FIELDS)})
