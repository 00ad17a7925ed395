"""One container or service: everything about its cgroup, the host's pressure beside it, and its processes."""

from shipper.view.dashboards.boards.common import ITS_HOST, ONE_CONTAINER
from shipper.view.dashboards.model import NAMESPACE, Board, Row, Split, avg, lines, most, stat, table

_NOW = Row(
    "At a glance",
    (
        stat("CPU usage", "In CPUs, mean of the last two minutes.", "cgroup", avg("cgroup.cpu.cores"), recent=True),
        stat(
            "CPU quota",
            "CPUs that the cgroup may use; absent without a quota.",
            "cgroup",
            most("cgroup.cpu.limit.cores"),
            recent=True,
        ),
        stat(
            "Working set",
            "Memory usage without inactive file pages, mean of the last two minutes.",
            "cgroup",
            avg("cgroup.memory.working_set.bytes"),
            recent=True,
        ),
        stat(
            "Memory limit",
            "The smallest limit of the cgroup and its parents; absent without a limit.",
            "cgroup",
            most("cgroup.memory.limit.effective.bytes"),
            recent=True,
        ),
        stat(
            "Memory limit used",
            "Working set as a share of the cgroup's own limit, highest value of the last two minutes.",
            "cgroup",
            most("cgroup.memory.limit.pct"),
            recent=True,
        ),
        stat(
            "Restarts",
            "How often this host has recreated a container of this name since the shipper started.",
            "cgroup",
            most("cgroup.restarts.count"),
            recent=True,
        ),
    ),
)

_CPU = Row(
    "CPU",
    (
        lines(
            "CPU and quota",
            "CPU usage by mode and the quota, in CPUs.",
            "cgroup",
            avg("cgroup.cpu.cores", "used"),
            avg("cgroup.cpu.user.cores", "in user mode"),
            avg("cgroup.cpu.system.cores", "in the kernel"),
            most("cgroup.cpu.limit.cores", "quota"),
        ),
        lines(
            "Throttling",
            "Throttled time per second, in CPUs.",
            "cgroup",
            avg("cgroup.cpu.throttled.cores", "throttled"),
        ),
        lines(
            "CPU quota used",
            "CPU usage as a share of the quota.",
            "cgroup",
            avg("cgroup.cpu.limit.pct", "of quota"),
        ),
    ),
)

_MEMORY = Row(
    "Memory",
    (
        lines(
            "Memory and limit",
            "Working set, usage including all file pages, and the limit.",
            "cgroup",
            avg("cgroup.memory.working_set.bytes", "working set"),
            avg("cgroup.memory.usage.bytes", "usage"),
            most("cgroup.memory.limit.effective.bytes", "limit"),
        ),
        lines(
            "Memory by use",
            "What the memory is used for.",
            "cgroup",
            avg("cgroup.memory.anon.bytes", "processes"),
            avg("cgroup.memory.file.bytes", "files"),
            avg("cgroup.memory.kernel.bytes", "kernel"),
            avg("cgroup.memory.sock.bytes", "sockets"),
            avg("cgroup.memory.shmem.bytes", "shared"),
        ),
        lines(
            "Memory events",
            "Events per second: limit reached, reclaim above the soft limit (high), OOM kills, and major page faults.",
            "cgroup",
            avg("cgroup.memory.events.max.count_per_s", "limit reached"),
            avg("cgroup.memory.events.high.count_per_s", "above soft limit"),
            avg("cgroup.memory.events.oom_kill.count_per_s", "OOM kills"),
            avg("cgroup.memory.major_faults.count_per_s", "major faults"),
        ),
    ),
)

_IO = Row(
    "Disk and network",
    (
        lines(
            "Container disk throughput",
            "Bytes per second; writes are drawn below zero.",
            "cgroup",
            avg("cgroup.io.read.bytes_per_s", "read"),
            avg("cgroup.io.write.bytes_per_s", "written", mirrored=True),
        ),
        lines(
            "Container disk operations",
            "Operations per second; writes are drawn below zero.",
            "cgroup",
            avg("cgroup.io.read.count_per_s", "reads"),
            avg("cgroup.io.write.count_per_s", "writes", mirrored=True),
        ),
        lines(
            "Container network traffic",
            "Bytes per second, if the container has its own network; sent bytes are drawn below zero.",
            "cgroup",
            avg("cgroup.network.in.bytes_per_s", "received"),
            avg("cgroup.network.out.bytes_per_s", "sent", mirrored=True),
        ),
    ),
)

_PRESSURE = Row(
    "Pressure: container and host",
    (
        lines(
            "Container pressure",
            "Share of the last 10 s in which some task of the cgroup waited for CPU, memory or I/O.",
            "cgroup",
            avg("cgroup.pressure.cpu.some.avg10.pct", "cpu"),
            avg("cgroup.pressure.memory.some.avg10.pct", "memory"),
            avg("cgroup.pressure.io.some.avg10.pct", "io"),
        ),
        lines(
            "Host pressure",
            "Share of the last 10 s in which some task of the host waited for CPU, memory or I/O.",
            "host",
            avg("system.pressure.cpu.some.avg10.pct", "cpu"),
            avg("system.pressure.memory.some.avg10.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "io"),
        ),
        lines(
            "Host CPU and memory",
            "CPU usage as a share of all CPUs, and used memory (total − available) as a share of the total.",
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
            "Tasks and limit",
            "Number of processes and threads.",
            "cgroup",
            avg("cgroup.pids.current", "tasks"),
            most("cgroup.pids.limit", "limit"),
        ),
        table(
            "Processes of the container",
            "The container's processes among the host's busiest by CPU or memory, read once a minute. 100 % is one CPU.",
            "process",
            Split("process.name", 25),
            avg("system.process.cpu.total.pct", "CPU"),
            avg("system.process.memory.rss.bytes", "memory"),
            width=16,
        ),
    ),
)

BOARD = Board(
    "shipper-container",
    "One container",
    "Everything about one container or service, with its host's pressure beside it.",
    (NAMESPACE, ONE_CONTAINER, ITS_HOST),
    (_NOW, _CPU, _MEMORY, _IO, _PRESSURE, _PROCESSES),
)
