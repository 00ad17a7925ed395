"""The lean profile, ``collect.detail = "lean"``: which fields its documents leave out.

It has every field that a dashboard, an alert rule, a command or one of Kibana's own pages asks for. It leaves out
counters, whose rates stay, and the details below. Mappings are the same for both profiles.
"""

import fnmatch
import re
from collections.abc import Iterable
from typing import Final

from shipper.fields.field import Field, Kind

FULL: Final = "full"
LEAN: Final = "lean"

# Counters that are asked for by themselves
COUNTERS: Final = (
    "agent.ledger.*",  # what became of each document, since the ledger was created
    "agent.tick.count",  # dashboards mark the start of a shipper, whose first document has 1
    "metricset.*",
    "cgroup.cpu.usage.ns",
    "cgroup.memory.events.oom_kill.count",
    # Kibana's Hosts and Docker pages compute rates themselves
    "cgroup.io.[rw]*",
    "system.diskio.[rw]*[de].[bct]*",
)

# Other fields that are left out; a counter's rate is such a field, too
DETAILS: Final = (
    # Derived from others, or the same in another unit
    "system.cpu.idle.*",
    "system.cpu.guest*",
    "system.core.[!iost]*.pct",
    "system.core.i[dr]*.pct",
    "system.core.s[ty]*.pct",
    "system.softirqs.count_per_s",
    "system.memory.used.pct",
    "system.memory.swap.free",
    "system.memory.active.bytes",
    "system.memory.inactive.bytes",
    "system.memory.slab.total.bytes",
    "system.memory.kernel_reclaimable.bytes",
    "*.pressure.*.avg300.pct",
    "*.pressure.*.us_per_s",
    "cgroup.pressure.*.avg60.pct",
    "system.pressure.*.full.avg60.pct",
    "system.pressure.[ci]*.some.avg60.pct",
    "system.pressure.cpu.full.avg10.pct",  # 0 for a host by definition
    "system.network.total.*.packets_per_s",
    "system.diskio.*.time_per_s",
    "system.diskio.io.weighted_time.ms_per_s",
    "system.diskio.io.ops",
    "system.filesystem.files",
    "system.filesystem.free_files",
    "system.raid.disks.configured.count",
    "system.systemd.units.[!f]*",
    "system.process.cpu.total.norm.pct",
    "system.process.memory.rss.pct",
    "cgroup.cpu.periods.count_per_s",
    "cgroup.cpu.throttled.count_per_s",
    "agent.tick.count_per_s",
    # Rare, or details of one subsystem
    "*.pressure.irq.*",
    "cgroup.pressure.cpu.full.*",
    "system.softirq.hi.*",
    "system.softirq.irq_poll.*",
    "system.memory.shmem*",
    "system.memory.mapped.bytes",
    "system.memory.locked.bytes",
    "system.memory.corrupted.bytes",
    "system.memory.zswap*",
    "system.memory.writeback_tmp.bytes",
    "system.memory.nfs_unstable.bytes",
    "system.memory.bounce.bytes",
    "system.memory.secondary_page_tables.bytes",
    "system.memory.vmalloc.[tc]*",
    "system.memory.file_huge*",
    "system.memory.cma.*",
    "system.memory.direct_map.*",
    "system.memory.hugepages.[!ai]*",
    "system.vm.faults.count_per_s",
    "system.vm.thp.*",
    "system.vm.compaction.successes.*",
    "system.vm.compaction.failures.*",
    "system.tcp.allocated.count",
    "system.tcp.in.*",
    "system.tcp.out.*",
    "system.tcp.*losses.*",
    "system.tcp.*_retransmits.count_per_s",
    "system.udp.inuse.count",
    "system.ip.in.receives.*",
    "system.ip.in.delivers.*",
    "system.ip.out.requests.*",
    "system.ip.forwarded.*",
    "system.ip.fragmentation.*",
    "system.icmp.*.messages.*",
    "system.ip6.*",
    "system.icmp6.*",
    "system.udp6.*",
    "system.nfs.client.auth_refreshes.*",
    "system.nfs.client.v*",
    "system.entropy.available_bits",
    "system.clock.frequency.ppm",
    "system.process.summary.[!drtz]*",
    "system.process.summary.dead",
    "system.diskio.*.merges.*",
    "system.diskio.discard.*",
    "system.diskio.flush.*",
    "system.diskio.request.bytes",
    "system.network.mtu.bytes",
    "system.network.*.compressed.*",
    "system.network.out.fifo.*",
    "cgroup.cpu.weight",
    "cgroup.memory.high.bytes",
    "cgroup.memory.low.bytes",
    "cgroup.memory.min.bytes",
    "cgroup.memory.slab.bytes",
    "cgroup.memory.mapped.bytes",
    "cgroup.memory.dirty.bytes",
    "cgroup.memory.zswap*",
    "cgroup.memory.scanned.*",
    "cgroup.memory.reclaimed.*",
    "cgroup.memory.faults.*",
    "cgroup.memory.events.oom.*",
    "cgroup.memory.events.low.*",
    "cgroup.memory.events.oom_group_kill.*",
    "cgroup.pids.peak",
    "cgroup.io.discard.*",
    "cgroup.processes.count",
    "cgroup.hugetlb.*",
    "cgroup.rdma.*",
    "cgroup.misc.*",
)


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)))


_COUNTERS: Final = _any(COUNTERS)
_DETAILS: Final = _any(DETAILS)


def leaves_out(field: Field) -> bool:
    """Whether lean documents leave ``field`` out."""
    if field.kind is Kind.COUNTER:
        return not _COUNTERS.match(field.name)
    return _DETAILS.match(field.name) is not None


def left_out(fields: Iterable[Field], detail: str) -> frozenset[str]:
    """The names of ``fields`` that documents of the profile ``detail`` leave out."""
    return frozenset(field.name for field in fields if leaves_out(field)) if detail == LEAN else frozenset()
