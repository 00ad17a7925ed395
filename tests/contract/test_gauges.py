"""Every gauge is on a board, or here with the reason why it is on none."""

import fnmatch

from shipper.fields.field import Kind
from shipper.schema.datasets import DATASETS
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.uses import fields

# Pattern → why no panel shows it
OFF: dict[str, str] = {
    # Shown in another form
    "metricset.period": "for Kibana's own pages; Grafana's boards read it for the least interval",
    "agent.period.ms": "a setting",
    "metricset.*": "on the board Own metrics, which only Grafana has",
    "*.network.ingress.bytes": "growth since the document before, for Kibana's own pages; the boards show rates",
    "*.network.egress.bytes": "growth since the document before, for Kibana's own pages; the boards show rates",
    "*.pressure.*.avg60.pct": "the boards show avg10, and the time range the rest",
    "*.pressure.*.avg300.pct": "the boards show avg10, and the time range the rest",
    "*.pressure.*.us_per_s": "the same as avg10 without its decay; for computations",
    "system.cpu.[!f]*.pct": "in CPUs; the boards show the shares of all CPUs (norm), in which idle is what is left",
    "system.memory.actual.free": "the total less what is used",
    "system.memory.swap.free": "the total less what is used",
    "system.memory.used.*": "counts the page cache as used",
    "system.memory.active.bytes": "the sum of two that are shown",
    "system.memory.inactive.bytes": "the sum of two that are shown",
    "system.memory.slab.total.bytes": "the sum of two that are shown",
    "system.memory.kernel_reclaimable.bytes": "nearly the reclaimable slab, which is shown",
    "system.memory.hugepages.[!i]*": "counts of pages; the boards show bytes",
    "system.softirqs.count_per_s": "the sum of those by type",
    "system.diskio.*.time_per_s": "the boards show utilisation and the duration of an operation, which are made of it",
    "system.diskio.io.weighted_time.ms_per_s": "the boards show the queue, which is made of it",
    "system.diskio.io.ops": "a moment's queue; the boards show its mean",
    "system.network.total.*.packets_per_s": "on the host's board by interface",
    "system.filesystem.free": "less than what is free for users counts; the boards show available",
    "system.filesystem.used.bytes": "the boards show the share, the size and what is available",
    "system.filesystem.*files": "the boards show the share of inodes",
    "system.process.cpu.total.norm.pct": "the boards show CPUs",
    "system.process.memory.rss.pct": "the boards show bytes",
    "system.raid.disks.configured.count": "the boards show what is missing of it",
    "cgroup.cpu.pct": "the same as CPUs (cores), which are shown",
    "cgroup.cpu.periods.count_per_s": "the boards show the share of throttled periods",
    "cgroup.cpu.throttled.co*": "the boards show the share of throttled periods",
    "cgroup.memory.limit.bytes": "the boards show the smallest limit of the cgroup and its parents",
    "cgroup.memory.working_set.pct": "for Kibana's own pages; the boards show the share of the cgroup's own limit",
    "cgroup.processes.count": "the boards show tasks",
    "container.restarts.count": "docker's own count; the boards show that of all runtimes",
    # For the search for a cause that the boards have narrowed down, in Explore and Discover
    "system.softirq.*": "rare types",
    "system.memory.*": "parts of memory that are small or special on nearly all hosts",
    "system.vm.faults.count_per_s": "minor faults are no trouble; the boards show major ones",
    "system.vm.thp.*": "details of transparent huge pages",
    "system.vm.compaction.*": "the boards show who had to wait for it",
    "system.tcp.*": "details; the boards show states, connections, overload and the share retransmitted",
    "system.udp.inuse.count": "the boards show all sockets",
    "system.ip.*": "traffic is shown by interface; the boards show errors",
    "system.icmp.*": "the boards show errors and unreachable destinations",
    "system.i*6.*": "the same as for IPv4; few hosts have errors of IPv6",
    "system.udp6.*": "the same as for IPv4; few hosts have errors of IPv6",
    "system.nfs.client.*": "operations by type",
    "system.entropy.available_bits": "constant since Linux 5.18",
    "system.clock.frequency.ppm": "a correction that is no trouble by itself; the boards show offset and error",
    "system.systemd.units.*": "the boards show failed units",
    "system.process.summary.*": "states that are no trouble",
    "system.core.*": "the boards show usage, waiting for I/O and soft interrupts of each CPU",
    "system.diskio.*.merges.count_per_s": "a property of the load",
    "system.diskio.discard.*": "details of SSDs",
    "system.diskio.flush.*": "details of SSDs",
    "system.diskio.request.bytes": "a property of the load",
    "system.network.mtu.bytes": "a setting",
    "system.network.*.compressed.count_per_s": "of modems",
    "system.network.out.fifo.count_per_s": "counted among the drops",
    "system.process.memory.pss.bytes": "only on request",
    "event.oom.*.bytes": "in the event itself, which names the process",
    "cgroup.memory.*": "details of one cgroup",
    "cgroup.pids.peak": "details of one cgroup",
    "cgroup.pids.events.max.count_per_s": "details of one cgroup",
    "cgroup.pids.used.pct": "the boards show tasks beside their limit",
    "cgroup.io.discard.*": "details of SSDs",
    "cgroup.io.busiest.bytes_per_s": "of the disk that the document names",
    "cgroup.pressure.*.full.avg10.pct": "the boards show some; full is its worst part",
    "*.pressure.cpu.full.avg10.pct": "0 for a host by definition",
    "*.pressure.irq.*.avg10.pct": "only of kernels that account for interrupts",
    "cgroup.hugetlb.*": "of few programs",
    "cgroup.rdma.*": "of few programs",
    "cgroup.misc.*": "of few programs",
    "agent.log.dropped.count_per_s": "the log says it",
    "agent.clock.step.ms": "the boards show the clock against Elasticsearch",
    "agent.tick.count_per_s": "follows from the period; the boards show missed ticks",
    "agent.absent.count": "what a kernel or an unprivileged shipper has not; it changes with an upgrade only",
}


def _gauges() -> set[tuple[str, str]]:
    return {(name, field.name) for name, of in DATASETS.items() for field in of.fields if field.kind is Kind.GAUGE}


def _shown() -> set[tuple[str, str]]:
    panels = [panel for board in BOARDS for panel in board.panels if panel.dataset]
    return {(panel.dataset, name) for panel in panels for name in fields(panel)}


def _reasons(name: str) -> list[str]:
    return [pattern for pattern in OFF if fnmatch.fnmatchcase(name, pattern)]


def test_every_gauge_is_on_a_board_or_has_a_reason_not_to_be() -> None:
    assert [name for _, name in sorted(_gauges() - _shown()) if not _reasons(name)] == []


def test_every_reason_is_needed() -> None:
    off = {pattern for _, name in _gauges() - _shown() for pattern in _reasons(name)}
    assert OFF.keys() == off
