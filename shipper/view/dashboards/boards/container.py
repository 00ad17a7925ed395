"""One container or service: everything of its cgroup, its host's pressure beside it, its processes."""

from shipper.view.dashboards.boards.common import BUSY, FULL, ITS_HOST, ONE_CONTAINER, PRESSURE
from shipper.view.dashboards.model import NAMESPACE, Board, Row, Split, avg, lines, most, stat, table

_NOW = Row(
    "At a glance",
    (
        stat("CPU used", "CPUs' worth of time, mean.", "cgroup", avg("cgroup.cpu.cores")),
        stat(
            "CPU quota",
            "CPUs' worth that it may use; absent without a quota.",
            "cgroup",
            most("cgroup.cpu.limit.cores"),
        ),
        stat(
            "Working set",
            "Memory without file pages that were not used of late, mean.",
            "cgroup",
            avg("cgroup.memory.working_set.bytes"),
        ),
        stat(
            "Memory limit",
            "The smallest that holds for it; absent without one.",
            "cgroup",
            most("cgroup.memory.limit.effective.bytes"),
        ),
        stat(
            "Of the limit",
            "Working set as a share of its own limit, the highest.",
            "cgroup",
            most("cgroup.memory.limit.pct"),
            steps=FULL,
        ),
        stat(
            "Restarts",
            "How often one of its name was recreated on this host, since the shipper started.",
            "cgroup",
            most("cgroup.restarts.count"),
        ),
    ),
)

_CPU = Row(
    "CPU",
    (
        lines(
            "CPU and quota",
            "CPUs' worth of time, by mode, and the quota.",
            "cgroup",
            avg("cgroup.cpu.cores", "used"),
            avg("cgroup.cpu.user.cores", "in user mode"),
            avg("cgroup.cpu.system.cores", "in the kernel"),
            most("cgroup.cpu.limit.cores", "quota"),
        ),
        lines(
            "Throttling",
            "CPUs' worth of time for which the quota held it back.",
            "cgroup",
            avg("cgroup.cpu.throttled.cores", "throttled"),
        ),
        lines(
            "Share of the quota",
            "CPU time used as a share of the quota.",
            "cgroup",
            avg("cgroup.cpu.limit.pct", "of quota"),
            steps=BUSY,
        ),
    ),
)

_MEMORY = Row(
    "Memory",
    (
        lines(
            "Memory and limit",
            "Working set, usage with all file pages, and the limit.",
            "cgroup",
            avg("cgroup.memory.working_set.bytes", "working set"),
            avg("cgroup.memory.usage.bytes", "usage"),
            most("cgroup.memory.limit.effective.bytes", "limit"),
        ),
        lines(
            "What the memory is",
            "By use.",
            "cgroup",
            avg("cgroup.memory.anon.bytes", "processes"),
            avg("cgroup.memory.file.bytes", "files"),
            avg("cgroup.memory.kernel.bytes", "kernel"),
            avg("cgroup.memory.sock.bytes", "sockets"),
            avg("cgroup.memory.shmem.bytes", "shared"),
        ),
        lines(
            "Memory events",
            "Per second: limit reached, reclaim above the soft limit, killed.",
            "cgroup",
            avg("cgroup.memory.events.max.count_per_s", "limit reached"),
            avg("cgroup.memory.events.high.count_per_s", "above high"),
            avg("cgroup.memory.events.oom_kill.count_per_s", "killed"),
            avg("cgroup.memory.major_faults.count_per_s", "major faults"),
        ),
    ),
)

_IO = Row(
    "Disk and network",
    (
        lines(
            "Disk bytes",
            "Per second; written below zero.",
            "cgroup",
            avg("cgroup.io.read.bytes_per_s", "read"),
            avg("cgroup.io.write.bytes_per_s", "written", mirrored=True),
        ),
        lines(
            "Disk operations of it",
            "Per second; writes below zero.",
            "cgroup",
            avg("cgroup.io.read.count_per_s", "reads"),
            avg("cgroup.io.write.count_per_s", "writes", mirrored=True),
        ),
        lines(
            "Network bytes",
            "Per second, if it has a network of its own; sent below zero.",
            "cgroup",
            avg("cgroup.network.in.bytes_per_s", "received"),
            avg("cgroup.network.out.bytes_per_s", "sent", mirrored=True),
        ),
    ),
)

_PRESSURE = Row(
    "Pressure, its own and its host's",
    (
        lines(
            "Own pressure",
            "Share of the last 10 s in which some of its tasks waited.",
            "cgroup",
            avg("cgroup.pressure.cpu.some.avg10.pct", "cpu"),
            avg("cgroup.pressure.memory.some.avg10.pct", "memory"),
            avg("cgroup.pressure.io.some.avg10.pct", "io"),
            steps=PRESSURE,
        ),
        lines(
            "Its host's pressure",
            "Share of the last 10 s in which some task of the host waited.",
            "host",
            avg("system.pressure.cpu.some.avg10.pct", "cpu"),
            avg("system.pressure.memory.some.avg10.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "io"),
            steps=PRESSURE,
        ),
        lines(
            "Its host",
            "Share of CPU time in use, and of memory.",
            "host",
            avg("system.cpu.total.norm.pct", "CPU"),
            avg("system.memory.actual.used.pct", "memory"),
            top=1,
        ),
    ),
)

_PROCESSES = Row(
    "Processes",
    (
        lines(
            "Tasks and their limit",
            "Processes and threads.",
            "cgroup",
            avg("cgroup.pids.current", "tasks"),
            most("cgroup.pids.limit", "limit"),
        ),
        table(
            "Its processes",
            "Its own among those of the host that use most CPU or memory; read once a minute.",
            "process",
            Split("process.name", 25),
            avg("system.process.cpu.total.pct", "CPU of one core"),
            avg("system.process.memory.rss.bytes", "memory"),
            width=16,
        ),
    ),
)

BOARD = Board(
    "shipper-container",
    "One container",
    "Everything of one container or service, and its host's pressure beside it.",
    (NAMESPACE, ONE_CONTAINER, ITS_HOST),
    (_NOW, _CPU, _MEMORY, _IO, _PRESSURE, _PROCESSES),
)
