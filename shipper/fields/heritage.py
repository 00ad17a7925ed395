"""The metrics of the twelve Diamond collectors of the 2014 set-up, and the fields that replace them.

Diamond's paths begin with ``servers.<host>.``; a name in <angle brackets> is a dimension of our document. ``note`` says how
the two differ. The source is python-diamond/Diamond, src/collectors.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Successor:
    """``metric`` of Diamond's ``collector`` is ``field`` of ``dataset``."""

    collector: str
    metric: str
    dataset: str
    field: str
    note: str = ""


def _same(collector: str, dataset: str, pairs: dict[str, str], note: str = "") -> list[Successor]:
    return [Successor(collector, metric, dataset, field, note) for metric, field in pairs.items()]


_STATES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
_SHARE: Final = "Diamond: percent of one core; here: fraction of one core"
_IN: Final = "system.network.in"
_OUT: Final = "system.network.out"
_DISK: Final = "system.diskio"
_TCP: Final = "system.tcp"

HERITAGE: Final[tuple[Successor, ...]] = (
    *_same("cpu", "host", {f"cpu.total.{state}": f"system.cpu.{state}.pct" for state in _STATES}, _SHARE),
    *_same("cpu", "core", {f"cpu.cpu<N>.{state}": f"system.core.{state}.pct" for state in _STATES}, _SHARE),
    *_same("cpu", "host", {"cpu.cpu_count": "system.cpu.cores", "cpu.percent": "system.cpu.total.norm.pct"}),
    *_same("memory", "host", {
        "memory.MemTotal": "system.memory.total",
        "memory.MemFree": "system.memory.free",
        "memory.MemAvailable": "system.memory.actual.free",
        "memory.MemUsedPercentage": "system.memory.actual.used.pct",
        "memory.Buffers": "system.memory.buffers.bytes",
        "memory.Cached": "system.memory.cached.bytes",
        "memory.Active": "system.memory.active.bytes",
        "memory.Inactive": "system.memory.inactive.bytes",
        "memory.Dirty": "system.memory.dirty.bytes",
        "memory.Shmem": "system.memory.shmem.bytes",
        "memory.SwapTotal": "system.memory.swap.total",
        "memory.SwapFree": "system.memory.swap.free",
        "memory.SwapCached": "system.memory.swap.cached.bytes",
        "memory.VmallocTotal": "system.memory.vmalloc.total.bytes",
        "memory.VmallocUsed": "system.memory.vmalloc.used.bytes",
        "memory.VmallocChunk": "system.memory.vmalloc.chunk.bytes",
        "memory.Committed_AS": "system.memory.committed.bytes",
    }),
    *_same("loadavg", "host", {
        "loadavg.01": "system.load.1",
        "loadavg.05": "system.load.5",
        "loadavg.15": "system.load.15",
        "loadavg.01_normalized": "system.load.norm.1",
        "loadavg.05_normalized": "system.load.norm.5",
        "loadavg.15_normalized": "system.load.norm.15",
        "loadavg.processes_running": "system.threads.runnable.count",
        "loadavg.processes_total": "system.threads.count",
    }),
    *_same("diskspace", "filesystem", {
        "diskspace.<mount>.byte_used": "system.filesystem.used.bytes",
        "diskspace.<mount>.byte_free": "system.filesystem.free",
        "diskspace.<mount>.byte_avail": "system.filesystem.available",
        "diskspace.<mount>.inodes_free": "system.filesystem.free_files",
    }),
    Successor("diskspace", "diskspace.<mount>.byte_percentfree", "filesystem", "system.filesystem.used.pct", "1 − our value"),
    Successor("diskspace", "diskspace.<mount>.inodes_percentfree", "filesystem", "system.filesystem.used_files.pct", "1 − our value"),
    Successor("diskspace", "diskspace.<mount>.inodes_used", "filesystem", "system.filesystem.free_files", "files − our value"),
    Successor("diskspace", "diskspace.<mount>.inodes_avail", "filesystem", "system.filesystem.free_files", "the same on Linux"),
    *_same("diskusage", "disk", {
        "iostat.<disk>.reads": f"{_DISK}.read.count",
        "iostat.<disk>.reads_merged": f"{_DISK}.read.merges.count",
        "iostat.<disk>.reads_byte": f"{_DISK}.read.bytes",
        "iostat.<disk>.reads_milliseconds": f"{_DISK}.read.time",
        "iostat.<disk>.writes": f"{_DISK}.write.count",
        "iostat.<disk>.writes_merged": f"{_DISK}.write.merges.count",
        "iostat.<disk>.writes_byte": f"{_DISK}.write.bytes",
        "iostat.<disk>.writes_milliseconds": f"{_DISK}.write.time",
        "iostat.<disk>.io_milliseconds": f"{_DISK}.io.time",
        "iostat.<disk>.io_milliseconds_weighted": f"{_DISK}.io.weighted_time.ms",
    }, "Diamond: difference since the last run; here: counter"),
    *_same("diskusage", "disk", {
        "iostat.<disk>.io_in_progress": f"{_DISK}.io.ops",
        "iostat.<disk>.reads_per_second": f"{_DISK}.read.count_per_s",
        "iostat.<disk>.writes_per_second": f"{_DISK}.write.count_per_s",
        "iostat.<disk>.read_byte_per_second": f"{_DISK}.read.bytes_per_s",
        "iostat.<disk>.write_byte_per_second": f"{_DISK}.write.bytes_per_s",
        "iostat.<disk>.read_requests_merged_per_second": f"{_DISK}.read.merges.count_per_s",
        "iostat.<disk>.write_requests_merged_per_second": f"{_DISK}.write.merges.count_per_s",
        "iostat.<disk>.average_request_size_byte": f"{_DISK}.request.bytes",
        "iostat.<disk>.average_queue_length": f"{_DISK}.queue.count",
        "iostat.<disk>.concurrent_io": f"{_DISK}.queue.count",
        "iostat.<disk>.read_await": f"{_DISK}.read.await.ms",
        "iostat.<disk>.write_await": f"{_DISK}.write.await.ms",
    }),
    Successor("diskusage", "iostat.<disk>.util_percentage", "disk", f"{_DISK}.util.pct", "here: fraction"),
    Successor("diskusage", "iostat.<disk>.iops", "disk", f"{_DISK}.read.count_per_s", "plus the value of write"),
    Successor("diskusage", "iostat.<disk>.io", "disk", f"{_DISK}.read.count", "plus the value of write"),
    Successor("diskusage", "iostat.<disk>.await", "disk", f"{_DISK}.read.await.ms", "here: reads and writes separately"),
    Successor("diskusage", "iostat.<disk>.service_time", "disk", f"{_DISK}.util.pct", "util / iops; meaningless if requests queue"),
    *_same("vmstat", "host", {
        "vmstat.pgfault": "system.vm.faults.count_per_s",
        "vmstat.pgmajfault": "system.vm.faults.major.count_per_s",
    }),
    *_same("vmstat", "host", {
        "vmstat.pswpin": "system.vm.swapped.in.bytes_per_s", "vmstat.pswpout": "system.vm.swapped.out.bytes_per_s",
    }, "Diamond: pages/s"),
    *_same("vmstat", "host", {
        "vmstat.pgpgin": "system.vm.paged.in.bytes_per_s", "vmstat.pgpgout": "system.vm.paged.out.bytes_per_s",
    }, "Diamond: KiB/s"),
    *_same("network", "network", {
        "network.<if>.rx_byte": f"{_IN}.bytes_per_s",
        "network.<if>.rx_packets": f"{_IN}.packets_per_s",
        "network.<if>.rx_errors": f"{_IN}.errors_per_s",
        "network.<if>.rx_drop": f"{_IN}.dropped_per_s",
        "network.<if>.rx_fifo": f"{_IN}.fifo.count_per_s",
        "network.<if>.rx_frame": f"{_IN}.frame.count_per_s",
        "network.<if>.rx_compressed": f"{_IN}.compressed.count_per_s",
        "network.<if>.rx_multicast": f"{_IN}.multicast.count_per_s",
        "network.<if>.tx_byte": f"{_OUT}.bytes_per_s",
        "network.<if>.tx_packets": f"{_OUT}.packets_per_s",
        "network.<if>.tx_errors": f"{_OUT}.errors_per_s",
        "network.<if>.tx_drop": f"{_OUT}.dropped_per_s",
        "network.<if>.tx_fifo": f"{_OUT}.fifo.count_per_s",
        "network.<if>.tx_colls": f"{_OUT}.collisions.count_per_s",
        "network.<if>.tx_carrier": f"{_OUT}.carrier.count_per_s",
        "network.<if>.tx_compressed": f"{_OUT}.compressed.count_per_s",
    }),
    *_same("network", "network", {
        "network.<if>.rx_bit": f"{_IN}.bytes_per_s", "network.<if>.tx_bit": f"{_OUT}.bytes_per_s",
    }, "our value × 8"),
    *_same("sockets", "host", {
        "sockets.used": "system.socket.used.count",
        "sockets.tcp_inuse": f"{_TCP}.inuse.count",
        "sockets.tcp_orphan": f"{_TCP}.orphans.count",
        "sockets.tcp_tw": f"{_TCP}.time_wait.count",
        "sockets.tcp_alloc": f"{_TCP}.allocated.count",
        "sockets.udp_inuse": "system.udp.inuse.count",
    }),
    *_same("sockets", "host", {
        "sockets.tcp_mem": f"{_TCP}.memory.bytes", "sockets.udp_mem": "system.udp.memory.bytes",
    }, "Diamond: pages"),
    *_same("tcp", "host", {
        "tcp.ListenOverflows": f"{_TCP}.listen.overflows.count_per_s",
        "tcp.ListenDrops": f"{_TCP}.listen.drops.count_per_s",
        "tcp.TCPLoss": f"{_TCP}.losses.count_per_s",
        "tcp.TCPTimeouts": f"{_TCP}.timeouts.count_per_s",
        "tcp.TCPFastRetrans": f"{_TCP}.fast_retransmits.count_per_s",
        "tcp.TCPLostRetransmit": f"{_TCP}.lost_retransmits.count_per_s",
        "tcp.TCPSlowStartRetrans": f"{_TCP}.slow_start_retransmits.count_per_s",
        "tcp.CurrEstab": f"{_TCP}.established.count",
        "tcp.TCPAbortOnMemory": f"{_TCP}.memory_aborts.count_per_s",
        "tcp.TCPBacklogDrop": f"{_TCP}.backlog_drops.count_per_s",
        "tcp.AttemptFails": f"{_TCP}.attempt_fails.count_per_s",
        "tcp.EstabResets": f"{_TCP}.established_resets.count_per_s",
        "tcp.InErrs": f"{_TCP}.in.errors.count_per_s",
        "tcp.ActiveOpens": f"{_TCP}.opens.active.count_per_s",
        "tcp.PassiveOpens": f"{_TCP}.opens.passive.count_per_s",
    }),
    Successor("tcp", "tcp.TCPForwardRetrans", "host", f"{_TCP}.fast_retransmits.count_per_s", "Linux counts it there since 4.15"),
    *_same("proc", "host", {
        "proc.ctxt": "system.context_switches.count_per_s",
        "proc.processes": "system.forks.count_per_s",
        "proc.procs_running": "system.threads.runnable.count",
        "proc.procs_blocked": "system.threads.blocked.count",
    }),
    Successor("proc", "proc.btime", "host", "system.uptime.duration.ms", "@timestamp − our value"),
    *_same("memory_cgroup", "cgroup", {
        "memory_cgroup.<path>.cache": "cgroup.memory.file.bytes",
        "memory_cgroup.<path>.rss": "cgroup.memory.anon.bytes",
        "memory_cgroup.<path>.swap": "cgroup.memory.swap.usage.bytes",
        "memory_cgroup.<path>.total_cache": "cgroup.memory.file.bytes",
        "memory_cgroup.<path>.total_rss": "cgroup.memory.anon.bytes",
        "memory_cgroup.<path>.total_swap": "cgroup.memory.swap.usage.bytes",
    }, "here: includes the cgroups below"),
    *_same("cpuacct_cgroup", "cgroup", {
        "cpuacct.<path>.user": "cgroup.cpu.user.ns", "cpuacct.<path>.system": "cgroup.cpu.system.ns",
    }, "Diamond: clock ticks"),
)  # fmt: skip
