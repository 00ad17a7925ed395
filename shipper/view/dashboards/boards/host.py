"""One host in the order of the USE method: utilisation, saturation, errors, for each of its resources."""

from shipper.view.dashboards.boards.common import BOOT_MARK, OOM_MARK, WORKLOADS
from shipper.view.dashboards.boards.host_details import KILLS, ROWS
from shipper.view.dashboards.model import (
    ENTITY,
    NAMESPACE,
    ONE_HOST,
    Board,
    Row,
    Split,
    avg,
    least,
    lines,
    most,
    stat,
    table,
    unique,
)

_DISKS = Split("system.diskio.name", 8)
_INTERFACES = Split("system.network.name", 8)

_NOW = Row(
    "At a glance",
    (
        stat(
            "CPU usage",
            "Share of all CPUs, mean of the last two minutes.",
            "host",
            avg("system.cpu.total.norm.pct"),
            recent=True,
            trend=True,
            width=3,
        ),
        stat(
            "Memory used",
            "Used memory (total − available) as a share of the total, mean of the last two minutes.",
            "host",
            avg("system.memory.actual.used.pct"),
            recent=True,
            trend=True,
            width=3,
        ),
        stat(
            "Fullest filesystem",
            "Highest usage of any filesystem in the last two minutes, and its mount point.",
            "filesystem",
            most("system.filesystem.used.pct"),
            split=Split("system.filesystem.mount_point", 1),
            recent=True,
            width=3,
        ),
        stat("CPUs", "Number of logical CPUs online, highest value.", "host", most("system.cpu.cores"), width=3),
        stat("Memory", "Total memory that the kernel manages.", "host", most("system.memory.total"), width=3),
        stat(
            "Uptime",
            "Time since boot at the end of the range; marks show boots.",
            "host",
            most("system.uptime.duration.ms"),
            recent=True,
            width=3,
        ),
        stat(
            "Containers",
            "Number of containers in the last two minutes of the range.",
            "cgroup",
            unique("container.id", "containers"),
            recent=True,
            width=3,
        ),
        stat(
            "Failed units",
            "systemd units in the state failed, in the last two minutes; read once a minute.",
            "host",
            most("system.systemd.units.failed.count"),
            recent=True,
            width=3,
        ),
    ),
)

_CPU = Row(
    "CPU: utilisation | saturation | errors",
    (
        lines(
            "CPU time",
            "Time of all CPUs by state, as shares.",
            "host",
            avg("system.cpu.user.norm.pct", "user"),
            avg("system.cpu.system.norm.pct", "system"),
            avg("system.cpu.nice.norm.pct", "nice"),
            avg("system.cpu.iowait.norm.pct", "iowait"),
            avg("system.cpu.irq.norm.pct", "irq"),
            avg("system.cpu.softirq.norm.pct", "softirq"),
            avg("system.cpu.steal.norm.pct", "steal"),
            stacked=True,
            top=1,
        ),
        lines(
            "Load per CPU",
            "Tasks that run, or wait for a CPU or a disk, per logical CPU.",
            "host",
            avg("system.load.norm.1", "1 min"),
            avg("system.load.norm.5", "5 min"),
            avg("system.load.norm.15", "15 min"),
            width=4,
        ),
        lines(
            "CPU pressure",
            "Share of the last 10 s in which some task waited for a CPU.",
            "host",
            avg("system.pressure.cpu.some.avg10.pct", "some"),
            width=4,
        ),
        lines(
            "Context switches and interrupts",
            "Context switches, interrupts and new processes per second.",
            "host",
            avg("system.context_switches.count_per_s", "context switches"),
            avg("system.interrupts.count_per_s", "interrupts"),
            avg("system.forks.count_per_s", "forks"),
            width=8,
        ),
    ),
)

_MEMORY = Row(
    "Memory: utilisation | saturation | errors",
    (
        lines(
            "Memory in use",
            "Memory by use, and the total as a line. What is above the stack is memory of the kernel that has no line here.",
            "host",
            avg("system.memory.anon.bytes", "processes"),
            avg("system.memory.slab.unreclaimable.bytes", "kernel"),
            avg("system.memory.slab.reclaimable.bytes", "kernel caches"),
            avg("system.memory.cached.bytes", "page cache, including shared memory"),
            avg("system.memory.buffers.bytes", "block device cache"),
            avg("system.memory.free", "free"),
            avg("system.memory.total", "total", over=True),
            stacked=True,
        ),
        lines(
            "Memory pressure",
            "Share of the last 10 s in which some tasks (some) or all tasks (full) waited for memory.",
            "host",
            avg("system.pressure.memory.some.avg10.pct", "some"),
            avg("system.pressure.memory.full.avg10.pct", "full"),
            width=4,
        ),
        lines(
            "Swapping",
            "Bytes per second; swapped-out bytes are drawn below zero.",
            "host",
            avg("system.vm.swapped.in.bytes_per_s", "in"),
            avg("system.vm.swapped.out.bytes_per_s", "out", mirrored=True),
            width=4,
        ),
        lines(
            "Major faults and OOM kills",
            "Per second: page faults that needed a disk read, and processes that were OOM-killed.",
            "host",
            avg("system.vm.faults.major.count_per_s", "major faults"),
            avg("system.vm.oom_kills.count_per_s", "OOM kills"),
            width=8,
        ),
    ),
)

_DISK = Row(
    "Disk: utilisation | saturation | errors",
    (
        lines(
            "Disk utilisation",
            "Share of time in which the disk had I/O in progress.",
            "disk",
            avg("system.diskio.util.pct"),
            split=_DISKS,
            width=12,
            top=1,
        ),
        lines(
            "Disk throughput",
            "Bytes per second; writes are drawn below zero.",
            "disk",
            avg("system.diskio.read.bytes_per_s", "read"),
            avg("system.diskio.write.bytes_per_s", "written", mirrored=True),
            split=_DISKS,
            width=12,
        ),
        lines(
            "Disk operations",
            "Operations per second; writes are drawn below zero.",
            "disk",
            avg("system.diskio.read.count_per_s", "reads"),
            avg("system.diskio.write.count_per_s", "writes", mirrored=True),
            split=_DISKS,
            width=12,
        ),
        lines(
            "Disk latency",
            "Mean duration of an operation, including time in the queue.",
            "disk",
            avg("system.diskio.read.await.ms", "read"),
            avg("system.diskio.write.await.ms", "write"),
            split=_DISKS,
            width=12,
        ),
        lines(
            "Disk queue",
            "Mean number of operations in the queue or in progress.",
            "disk",
            avg("system.diskio.queue.count"),
            split=_DISKS,
            width=12,
        ),
        lines(
            "I/O pressure",
            "Share of the last 10 s in which some tasks (some) or all tasks (full) waited for I/O.",
            "host",
            avg("system.pressure.io.some.avg10.pct", "some"),
            avg("system.pressure.io.full.avg10.pct", "full"),
        ),
    ),
)

_FILESYSTEMS = Row(
    "Filesystems",
    (
        table(
            "Filesystems",
            "Each device once, by its first mount point, the fullest first.",
            "filesystem",
            Split("system.filesystem.mount_point", 50, most("system.filesystem.used.pct")),
            most("system.filesystem.total", "size"),
            least("system.filesystem.available", "available, min"),
            most("system.filesystem.used.pct", "used, max"),
            most("system.filesystem.used_files.pct", "inodes, max"),
        ),
        lines(
            "Filesystem usage",
            "Share of the space in use, for the ten fullest filesystems.",
            "filesystem",
            avg("system.filesystem.used.pct"),
            split=Split("system.filesystem.mount_point", 10),
            top=1,
            width=12,
        ),
    ),
)

_NETWORK = Row(
    "Network: utilisation | saturation | errors",
    (
        lines(
            "Network traffic",
            "Bytes per second; sent bytes are drawn below zero.",
            "network",
            avg("system.network.in.bytes_per_s", "received"),
            avg("system.network.out.bytes_per_s", "sent", mirrored=True),
            split=_INTERFACES,
            width=12,
        ),
        lines(
            "Packets",
            "Packets per second; sent packets are drawn below zero.",
            "network",
            avg("system.network.in.packets_per_s", "received"),
            avg("system.network.out.packets_per_s", "sent", mirrored=True),
            split=_INTERFACES,
            width=12,
        ),
        lines(
            "Errors and drops",
            "Packets per second, sum over all physical interfaces.",
            "host",
            avg("system.network.total.in.errors_per_s", "receive errors"),
            avg("system.network.total.out.errors_per_s", "send errors"),
            avg("system.network.total.in.dropped_per_s", "receive drops"),
            avg("system.network.total.out.dropped_per_s", "send drops"),
        ),
        lines(
            "TCP connections",
            "Connections per second.",
            "host",
            avg("system.tcp.opens.active.count_per_s", "opened"),
            avg("system.tcp.opens.passive.count_per_s", "accepted"),
            avg("system.tcp.established_resets.count_per_s", "reset"),
        ),
        lines(
            "TCP errors",
            "Events per second.",
            "host",
            avg("system.tcp.retransmits.count_per_s", "retransmitted segments"),
            avg("system.tcp.listen.overflows.count_per_s", "listen queue full"),
            avg("system.tcp.timeouts.count_per_s", "timeouts"),
        ),
        lines(
            "Sockets and connection tracking",
            "Number of sockets in use and of tracked connections.",
            "host",
            avg("system.socket.used.count", "sockets"),
            avg("system.conntrack.count", "tracked connections"),
        ),
    ),
)

_PROCESSES = Row(
    "Processes",
    (
        lines(
            "Threads",
            "Number of threads on the host, of runnable ones, and of those that wait for a disk.",
            "host",
            avg("system.threads.count", "all"),
            avg("system.threads.runnable.count", "runnable"),
            avg("system.threads.blocked.count", "waiting for a disk"),
        ),
        lines(
            "Processes by state",
            "Number of processes, read once a minute.",
            "host",
            avg("system.process.summary.running", "running"),
            avg("system.process.summary.disk_sleep", "waiting for a disk"),
            avg("system.process.summary.zombie", "zombie"),
            avg("system.process.summary.total", "all"),
        ),
        KILLS,
        table(
            "Processes by CPU",
            "The processes that use most CPU or memory, read once a minute; means. 100 % is one CPU.",
            "process",
            Split("process.name", 20),
            avg("system.process.cpu.total.pct", "CPU"),
            avg("system.process.memory.rss.bytes", "memory"),
            avg("system.process.io.read.bytes_per_s", "read"),
            avg("system.process.io.write.bytes_per_s", "written"),
            most("system.process.num_threads", "threads"),
            most("system.process.fd.open", "files"),
        ),
        table(
            "Containers and services by CPU",
            "CPU usage in CPUs and working set, means.",
            "cgroup",
            Split(ENTITY, 20),
            avg("cgroup.cpu.cores", "CPU"),
            avg("cgroup.cpu.limit.pct", "of quota"),
            avg("cgroup.memory.working_set.bytes", "memory"),
            avg("cgroup.memory.limit.pct", "of limit"),
            most("cgroup.pids.current", "tasks"),
            where=WORKLOADS,
        ),
    ),
)

BOARD = Board(
    "shipper-host",
    "Host",
    "One host: utilisation, saturation and errors of each resource.",
    (NAMESPACE, ONE_HOST),
    (_NOW, _CPU, _MEMORY, _DISK, _FILESYSTEMS, _NETWORK, _PROCESSES, *ROWS),
    (BOOT_MARK, OOM_MARK),
)
