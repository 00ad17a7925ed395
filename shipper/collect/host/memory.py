"""Memory of the host: ``proc/meminfo``.

    MemTotal:       24684084 kB
    MemAvailable:   23631896 kB
    HugePages_Total:       0

MemAvailable is there from Linux 3.14, KReclaimable 4.20; without it no ``actual`` field is made, since free + cached is
wrong by all of shmem. https://docs.kernel.org/filesystems/proc.html#meminfo
"""

from collections.abc import Iterable, Mapping

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import ParseError, meminfo, pick, table
from shipper.kernel.source import Reader

_FILE = "proc/meminfo"
# Elastic's names where the meaning is Elastic's
_SIZES = {
    b"MemTotal": ("system.memory.total", "Memory the kernel manages"),
    b"MemFree": ("system.memory.free", "Memory that nothing uses, not even as cache"),
    b"MemAvailable": ("system.memory.actual.free", "Memory that can be had without swapping, as the kernel estimates"),
    b"SwapTotal": ("system.memory.swap.total", "Swap space"),
    b"SwapFree": ("system.memory.swap.free", "Swap space that is free"),
    b"SwapCached": ("system.memory.swap.cached.bytes", "Memory that is also in swap"),
    b"Cached": ("system.memory.cached.bytes", "Page cache, shmem included"),
    b"Buffers": ("system.memory.buffers.bytes", "Page cache of block devices"),
    b"Shmem": ("system.memory.shmem.bytes", "Shared memory and tmpfs"),
    b"Slab": ("system.memory.slab.total.bytes", "The kernel's own objects"),
    b"SReclaimable": (
        "system.memory.slab.reclaimable.bytes",
        "The kernel's objects that can be freed: dentries, inodes",
    ),
    b"SUnreclaim": ("system.memory.slab.unreclaimable.bytes", "The kernel's objects that cannot be freed"),
    b"Dirty": ("system.memory.dirty.bytes", "Page cache that waits to be written"),
    b"Writeback": ("system.memory.writeback.bytes", "Page cache being written"),
    b"AnonPages": ("system.memory.anon.bytes", "Memory of processes that is no file's"),
    b"Mapped": ("system.memory.mapped.bytes", "Files mapped into processes"),
    b"PageTables": ("system.memory.page_tables.bytes", "Page tables"),
    b"KernelStack": ("system.memory.kernel_stack.bytes", "Kernel stacks of all threads"),
    b"Mlocked": ("system.memory.locked.bytes", "Memory locked against reclaim by mlock"),
    b"Committed_AS": ("system.memory.committed.bytes", "Memory promised to processes"),
    b"CommitLimit": ("system.memory.commit_limit.bytes", "Most that is promised, where vm.overcommit_memory is 2"),
    b"AnonHugePages": ("system.memory.anon_huge.bytes", "Memory of processes in transparent huge pages"),
    b"HardwareCorrupted": ("system.memory.corrupted.bytes", "Memory taken out of use because of hardware errors"),
    b"Active": ("system.memory.active.bytes", "Memory used of late"),
    b"Inactive": ("system.memory.inactive.bytes", "Memory not used of late, the first to be reclaimed"),
    b"Active(anon)": ("system.memory.active_anon.bytes", "Memory of processes used of late, tmpfs included"),
    b"Inactive(anon)": ("system.memory.inactive_anon.bytes", "Memory of processes not used of late, tmpfs included"),
    b"Active(file)": ("system.memory.active_file.bytes", "Page cache used of late"),
    b"Inactive(file)": ("system.memory.inactive_file.bytes", "Page cache not used of late"),
    b"Unevictable": ("system.memory.unevictable.bytes", "Memory that cannot be reclaimed"),
    b"Zswap": ("system.memory.zswap.bytes", "Memory of the compressed swap cache (Linux 5.19)"),
    b"Zswapped": ("system.memory.zswapped.bytes", "What that holds, before compression (Linux 5.19)"),
    b"WritebackTmp": ("system.memory.writeback_tmp.bytes", "Memory of FUSE for writing back"),
    b"NFS_Unstable": ("system.memory.nfs_unstable.bytes", "Sent to an NFS server, not yet on its disk"),
    b"Bounce": ("system.memory.bounce.bytes", "Bounce buffers of block devices"),
    b"KReclaimable": ("system.memory.kernel_reclaimable.bytes", "The kernel's memory that can be freed (Linux 4.20)"),
    b"SecPageTables": ("system.memory.secondary_page_tables.bytes", "Page tables of virtual machines (Linux 6.1)"),
    b"Percpu": ("system.memory.percpu.bytes", "The kernel's memory for each CPU"),
    b"VmallocTotal": ("system.memory.vmalloc.total.bytes", "Address space for vmalloc"),
    b"VmallocUsed": ("system.memory.vmalloc.used.bytes", "Of this in use"),
    b"VmallocChunk": ("system.memory.vmalloc.chunk.bytes", "Largest free part of it; 0 since Linux 4.4"),
    b"ShmemHugePages": ("system.memory.shmem_huge.bytes", "Shared memory and tmpfs in huge pages"),
    b"ShmemPmdMapped": ("system.memory.shmem_huge_mapped.bytes", "Of this mapped as such"),
    b"FileHugePages": ("system.memory.file_huge.bytes", "Page cache in huge pages"),
    b"FilePmdMapped": ("system.memory.file_huge_mapped.bytes", "Of this mapped as such"),
    b"CmaTotal": ("system.memory.cma.total.bytes", "Memory set aside for devices (contiguous memory allocator)"),
    b"CmaFree": ("system.memory.cma.free.bytes", "Of this free"),
    b"Hugetlb": ("system.memory.hugepages.all.bytes", "Memory of huge pages of all sizes"),
    b"DirectMap4k": ("system.memory.direct_map.4k.bytes", "Memory the kernel maps in pages of 4 KiB"),
    b"DirectMap2M": ("system.memory.direct_map.2m.bytes", "Memory the kernel maps in pages of 2 MiB"),
    b"DirectMap1G": ("system.memory.direct_map.1g.bytes", "Memory the kernel maps in pages of 1 GiB"),
    b"Hugepagesize": ("system.memory.hugepages.default_size", "Size of a huge page of the default pool"),
}
_PAGES = {
    b"HugePages_Total": ("system.memory.hugepages.total", "Huge pages in the default pool"),
    b"HugePages_Free": ("system.memory.hugepages.free", "Huge pages that are free"),
    b"HugePages_Rsvd": ("system.memory.hugepages.reserved", "Huge pages promised, not yet given"),
    b"HugePages_Surp": ("system.memory.hugepages.surplus", "Huge pages beyond vm.nr_hugepages"),
}
_USED = {
    "system.memory.used": ("system.memory.total", "system.memory.free", "Memory in use, cache included"),
    "system.memory.actual.used": (
        "system.memory.total",
        "system.memory.actual.free",
        "Memory in use, cache not included",
    ),
    "system.memory.swap.used": ("system.memory.swap.total", "system.memory.swap.free", "Swap space in use"),
}
_WANTED_SIZES = {key: name for key, (name, _) in _SIZES.items()}
_WANTED_PAGES = {key: name for key, (name, _) in _PAGES.items()}

FIELDS = (
    *(gauge(name, "bytes", help_, f"{_FILE} {key.decode()}") for key, (name, help_) in _SIZES.items()),
    *(gauge(name, "count", help_, f"{_FILE} {key.decode()}") for key, (name, help_) in _PAGES.items()),
    *(gauge(f"{name}.bytes", "bytes", help_, f"{total} - {free}") for name, (total, free, help_) in _USED.items()),
    *(real(f"{name}.pct", "pct", help_, f"{name}.bytes / {total}") for name, (total, _, help_) in _USED.items()),
    gauge(
        "system.memory.hugepages.in_use.bytes", "bytes", "Memory in huge pages in use", "(total - free) × default size"
    ),
)


def parse(text: bytes) -> dict[str, int]:
    error: ParseError | None = None
    try:
        sizes = meminfo(text, _WANTED_SIZES)
    except ParseError as damage:
        sizes, error = damage.partial, damage
    try:
        pages = pick(table(text), _WANTED_PAGES)
    except ParseError as damage:
        pages, error = damage.partial, damage
    if error:
        raise ParseError(str(error), {**sizes, **pages} if sizes else None)
    return {**sizes, **pages}


def used(values: Mapping[str, int]) -> dict[str, Value]:
    """What is in use, where total and free are known and agree."""
    result: dict[str, Value] = {}
    for name, (total, free, _) in _USED.items():
        if total in values and 0 <= values.get(free, -1) <= values[total]:
            result[f"{name}.bytes"] = in_use = values[total] - values[free]
            if values[total]:
                result[f"{name}.pct"] = in_use / values[total]
    pages = values.get("system.memory.hugepages.total", -1) - values.get("system.memory.hugepages.free", 0)
    size = values.get("system.memory.hugepages.default_size")
    if pages >= 0 and size:
        result["system.memory.hugepages.in_use.bytes"] = pages * size
    return result


def collect(reader: Reader) -> Iterable[Reading]:
    found = reader.parse(_FILE, parse)
    return host_reading(reader, {**found, **used(found)}) if found else []


NEEDS = (Need("memory (system.memory)", (_FILE,), "proc is not mounted below the host root"),)

COLLECTOR = Collector("memory", plain(collect), {HOST: Output(FIELDS)}, NEEDS)
