"""Memory of the host: ``proc/meminfo``.

    MemTotal:       24684084 kB
    MemAvailable:   23631896 kB
    HugePages_Total:       0

MemAvailable exists since Linux 3.14, KReclaimable since 4.20. Without MemAvailable the ``actual`` fields are absent: free +
cached would be wrong by the size of shmem. https://docs.kernel.org/filesystems/proc.html#meminfo
"""

from collections.abc import Iterable, Mapping

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.learned import Learned
from shipper.kernel.parse import ParseError, meminfo, pick, table
from shipper.kernel.source import Reader

_FILE = "proc/meminfo"
# Elastic's names where the meaning is the same
_SIZES = {
    b"MemTotal": ("system.memory.total", "Total memory that the kernel manages"),
    b"MemFree": ("system.memory.free", "Free memory: not used, not even as cache"),
    b"MemAvailable": (
        "system.memory.actual.free",
        "Available memory: what the kernel estimates that processes can get without swapping",
    ),
    b"SwapTotal": ("system.memory.swap.total", "Total swap space"),
    b"SwapFree": ("system.memory.swap.free", "Free swap space"),
    b"SwapCached": ("system.memory.swap.cached.bytes", "Memory whose contents are also in swap"),
    b"Cached": ("system.memory.cached.bytes", "Page cache, including shared memory"),
    b"Buffers": ("system.memory.buffers.bytes", "Page cache of block devices"),
    b"Shmem": ("system.memory.shmem.bytes", "Shared memory and tmpfs"),
    b"Slab": ("system.memory.slab.total.bytes", "Slab: memory of kernel objects"),
    b"SReclaimable": (
        "system.memory.slab.reclaimable.bytes",
        "Slab that can be reclaimed, such as dentries and inodes",
    ),
    b"SUnreclaim": ("system.memory.slab.unreclaimable.bytes", "Slab that cannot be reclaimed"),
    b"Dirty": ("system.memory.dirty.bytes", "Dirty page cache: not yet written to disk"),
    b"Writeback": ("system.memory.writeback.bytes", "Page cache that is being written to disk"),
    b"AnonPages": ("system.memory.anon.bytes", "Anonymous memory of processes"),
    b"Mapped": ("system.memory.mapped.bytes", "Files mapped into processes"),
    b"PageTables": ("system.memory.page_tables.bytes", "Page tables"),
    b"KernelStack": ("system.memory.kernel_stack.bytes", "Kernel stacks of all threads"),
    b"Mlocked": ("system.memory.locked.bytes", "Memory locked against reclaim by mlock"),
    b"Committed_AS": ("system.memory.committed.bytes", "Memory committed to processes"),
    b"CommitLimit": ("system.memory.commit_limit.bytes", "Commit limit, enforced if vm.overcommit_memory is 2"),
    b"AnonHugePages": ("system.memory.anon_huge.bytes", "Anonymous memory in transparent huge pages"),
    b"HardwareCorrupted": ("system.memory.corrupted.bytes", "Memory taken out of use because of hardware errors"),
    b"Active": ("system.memory.active.bytes", "Recently used memory"),
    b"Inactive": ("system.memory.inactive.bytes", "Memory not used recently, reclaimed first"),
    b"Active(anon)": ("system.memory.active_anon.bytes", "Recently used anonymous memory, including tmpfs"),
    b"Inactive(anon)": ("system.memory.inactive_anon.bytes", "Anonymous memory not used recently, including tmpfs"),
    b"Active(file)": ("system.memory.active_file.bytes", "Recently used page cache"),
    b"Inactive(file)": ("system.memory.inactive_file.bytes", "Page cache not used recently"),
    b"Unevictable": ("system.memory.unevictable.bytes", "Memory that cannot be reclaimed"),
    b"Zswap": ("system.memory.zswap.bytes", "Memory of the compressed swap cache (Linux 5.19)"),
    b"Zswapped": ("system.memory.zswapped.bytes", "Size of the pages in zswap before compression (Linux 5.19)"),
    b"WritebackTmp": ("system.memory.writeback_tmp.bytes", "Temporary memory of FUSE for writeback"),
    b"NFS_Unstable": ("system.memory.nfs_unstable.bytes", "Pages sent to an NFS server that are not yet on its disk"),
    b"Bounce": ("system.memory.bounce.bytes", "Bounce buffers of block devices"),
    b"KReclaimable": ("system.memory.kernel_reclaimable.bytes", "Kernel memory that can be reclaimed (Linux 4.20)"),
    b"SecPageTables": (
        "system.memory.secondary_page_tables.bytes",
        "Secondary page tables, such as those of KVM (Linux 6.1)",
    ),
    b"Percpu": ("system.memory.percpu.bytes", "Per-CPU memory of the kernel"),
    b"VmallocTotal": ("system.memory.vmalloc.total.bytes", "Address space for vmalloc"),
    b"VmallocUsed": ("system.memory.vmalloc.used.bytes", "Used address space of vmalloc"),
    b"VmallocChunk": ("system.memory.vmalloc.chunk.bytes", "Largest free block of vmalloc; 0 since Linux 4.4"),
    b"ShmemHugePages": ("system.memory.shmem_huge.bytes", "Shared memory and tmpfs in huge pages"),
    b"ShmemPmdMapped": ("system.memory.shmem_huge_mapped.bytes", "Shared memory mapped with huge pages"),
    b"FileHugePages": ("system.memory.file_huge.bytes", "Page cache in huge pages"),
    b"FilePmdMapped": ("system.memory.file_huge_mapped.bytes", "Page cache mapped with huge pages"),
    b"CmaTotal": ("system.memory.cma.total.bytes", "Memory reserved for devices (contiguous memory allocator)"),
    b"CmaFree": ("system.memory.cma.free.bytes", "Free memory of the contiguous memory allocator"),
    b"Hugetlb": ("system.memory.hugepages.all.bytes", "Memory in huge page pools of all sizes"),
    b"DirectMap4k": ("system.memory.direct_map.4k.bytes", "Memory that the kernel maps with pages of 4 KiB"),
    b"DirectMap2M": ("system.memory.direct_map.2m.bytes", "Memory that the kernel maps with pages of 2 MiB"),
    b"DirectMap1G": ("system.memory.direct_map.1g.bytes", "Memory that the kernel maps with pages of 1 GiB"),
    b"Hugepagesize": ("system.memory.hugepages.default_size", "Size of a huge page in the default pool"),
}
_PAGES = {
    b"HugePages_Total": ("system.memory.hugepages.total", "Huge pages in the default pool"),
    b"HugePages_Free": ("system.memory.hugepages.free", "Free huge pages"),
    b"HugePages_Rsvd": ("system.memory.hugepages.reserved", "Huge pages reserved but not yet allocated"),
    b"HugePages_Surp": ("system.memory.hugepages.surplus", "Huge pages beyond vm.nr_hugepages"),
}
_USED = {
    "system.memory.used": ("system.memory.total", "system.memory.free", "Used memory, including cache (total − free)"),
    "system.memory.actual.used": (
        "system.memory.total",
        "system.memory.actual.free",
        "Used memory (total − available)",
    ),
    "system.memory.swap.used": ("system.memory.swap.total", "system.memory.swap.free", "Used swap space"),
}
_WANTED_SIZES = {key: name for key, (name, _) in _SIZES.items()}
_WANTED_PAGES = {key: name for key, (name, _) in _PAGES.items()}

FIELDS = (
    *(gauge(name, "bytes", help_, f"{_FILE} {key.decode()}") for key, (name, help_) in _SIZES.items()),
    *(gauge(name, "count", help_, f"{_FILE} {key.decode()}") for key, (name, help_) in _PAGES.items()),
    *(gauge(f"{name}.bytes", "bytes", help_, f"{total} - {free}") for name, (total, free, help_) in _USED.items()),
    *(real(f"{name}.pct", "pct", help_, f"{name}.bytes / {total}") for name, (total, _, help_) in _USED.items()),
    gauge(
        "system.memory.hugepages.in_use.bytes", "bytes", "Memory in used huge pages", "(total - free) × default size"
    ),
)


def parse(text: bytes) -> dict[str, int]:
    """Sizes in bytes and numbers of huge pages. Raises ParseError."""
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
    """Usage, in bytes and 0 to 1, of those whose total and free are known and plausible."""
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


def _learned() -> Learned:
    return Learned(parse, (1, 1024))


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    sizes = reader.parse(_FILE, reader.root.shared(_learned))
    return host_reading(reader, {**sizes, **used(sizes)}) if sizes else []


NEEDS = (Need("memory (system.memory)", (_FILE,), "proc is not mounted below the host root"),)

COLLECTOR = Collector("memory", plain(collect), {HOST: Output(FIELDS)}, NEEDS)
