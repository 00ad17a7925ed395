"""Page faults, swapping and reclaim: ``proc/vmstat``, ``pgfault 1824391`` a line.

Before Linux 4.8 reclaim was counted per zone (``pgscan_kswapd_normal``), and since 4.10 allocstall is: the zones are
added up. pgpgin and pgpgout are in KiB, the others in pages or events. oom_kill exists since 4.13; refaults are split into
anon and file since 5.9. https://docs.kernel.org/admin-guide/sysctl/vm.html
"""

import os
from collections.abc import Callable, Iterable

from shipper.collect.contract import Collector, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import counter
from shipper.fields.rates import Reading, Value
from shipper.kernel.learned import Learned
from shipper.kernel.parse import LARGEST, ParseError, key_values, whole
from shipper.kernel.source import Reader

_FILE = "proc/vmstat"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ZONES = ("dma", "dma32", "normal", "high", "movable", "device")


def _zoned(key: str) -> tuple[str, ...]:
    return (key, *(f"{key}_{zone}" for zone in _ZONES))


# field: keys that are added up, factor, help
_WANTED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "system.vm.faults.count": (("pgfault",), 1, "Page faults, including major ones"),
    "system.vm.faults.major.count": (("pgmajfault",), 1, "Major page faults: those that read from disk"),
    "system.vm.paged.in.bytes": (("pgpgin",), 1024, "Read from block devices"),
    "system.vm.paged.out.bytes": (("pgpgout",), 1024, "Written to block devices"),
    "system.vm.swapped.in.bytes": (("pswpin",), _PAGE, "Read from swap"),
    "system.vm.swapped.out.bytes": (("pswpout",), _PAGE, "Written to swap"),
    "system.vm.scanned.kswapd.bytes": (_zoned("pgscan_kswapd"), _PAGE, "Memory scanned by kswapd"),
    "system.vm.scanned.direct.bytes": (_zoned("pgscan_direct"), _PAGE, "Memory scanned by allocating tasks (direct reclaim)"),
    "system.vm.reclaimed.kswapd.bytes": (_zoned("pgsteal_kswapd"), _PAGE, "Memory reclaimed by kswapd"),
    "system.vm.reclaimed.direct.bytes": (_zoned("pgsteal_direct"), _PAGE, "Memory reclaimed by allocating tasks (direct reclaim)"),
    "system.vm.allocation_stalls.count": (_zoned("allocstall"), 1, "Allocations that stalled in direct reclaim"),
    "system.vm.oom_kills.count": (("oom_kill",), 1, "OOM-killed processes"),
    "system.vm.refaults.anon.count": (("workingset_refault_anon",), 1, "Anonymous pages read back soon after reclaim"),
    "system.vm.refaults.file.count": (
        ("workingset_refault_file", "workingset_refault"), 1, "File pages read back soon after reclaim",
    ),
    "system.vm.thp.allocated.count": (("thp_fault_alloc", "thp_collapse_alloc"), 1, "Transparent huge pages allocated"),
    "system.vm.thp.failed.count": (("thp_fault_fallback", "thp_collapse_alloc_failed"), 1, "Failed allocations of transparent huge pages"),
    "system.vm.thp.split.count": (("thp_split_page",), 1, "Transparent huge pages split"),
    "system.vm.compaction.stalls.count": (("compact_stall",), 1, "Allocations that stalled in memory compaction"),
    "system.vm.compaction.successes.count": (("compact_success",), 1, "Stalls in memory compaction that produced the page"),
    "system.vm.compaction.failures.count": (("compact_fail",), 1, "Stalls in memory compaction that did not produce the page"),
}  # fmt: skip
_KEYS = {key.encode(): key for keys, _, _ in _WANTED.values() for key in keys}

FIELDS = tuple(
    counter(name, name.rpartition(".")[2], help_, f"{_FILE} {' + '.join(keys)}")
    for name, (keys, _, help_) in _WANTED.items()
)


def _counts(text: bytes) -> dict[str, int]:
    return key_values(whole(text), _KEYS)


def parse(text: bytes, counts: Callable[[bytes], dict[str, int]] = _counts) -> dict[str, Value]:
    """Sums by field. Raises ParseError."""
    try:
        return _sums(counts(text))
    except ParseError as error:
        # A sum without the damaged lines would fall, and jump when they are sound again
        single = {key: value for key, value in (error.partial or {}).items() if _single(key)}
        raise ParseError(str(error), _sums(single) if single else None) from None


def _single(key: str) -> bool:
    return any(keys == (key,) for keys, _, _ in _WANTED.values())


def _sums(counts: dict[str, int]) -> dict[str, Value]:
    if not counts:
        raise ParseError("no known counter")
    sums: dict[str, Value] = {}
    for name, (keys, factor, _) in _WANTED.items():
        found = [counts[key] for key in keys if key in counts]
        if found and (value := sum(found) * factor) <= LARGEST:
            sums[name] = value
    return sums


def _learned() -> Learned:
    return Learned(_counts)


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    learned = reader.root.shared(_learned)
    return host_reading(reader, reader.parse(_FILE, lambda text: parse(text, learned)))


COLLECTOR = Collector("vmstat", plain(collect), {HOST: Output(FIELDS)})
