"""One container or service: everything about its cgroup, the host's pressure beside it, and its processes."""

from shipper.view.dashboards.boards.common import (
    IMAGE_MARK,
    ITS_HOST,
    KILL_MARK,
    ONE_CONTAINER,
    SHIPPER_MARK,
    START_MARK,
)
from shipper.view.dashboards.model import (
    NAMESPACE,
    TIME,
    Board,
    Metric,
    Panel,
    Row,
    Split,
    avg,
    count,
    least,
    lines,
    most,
    stat,
    table,
)


def _number(title: str, help_: str, metric: Metric) -> Panel:
    """A number of the last two minutes."""
    return stat(title, help_, "cgroup", metric, recent=True, width=3)


_NOW = Row(
    "At a glance",
    (
        _number("CPU", "In CPUs, mean of the last two minutes.", avg("cgroup.cpu.cores")),
        _number(
            "Of CPU quota",
            "CPU usage as a share of the quota, mean of the last two minutes; absent without a quota.",
            avg("cgroup.cpu.limit.pct"),
        ),
        _number(
            "Throttled",
            "Share of the quota's periods in which the container was throttled, mean of the last two minutes.",
            avg("cgroup.cpu.throttled.pct"),
        ),
        _number(
            "Memory",
            "Working set: memory usage without inactive file pages, mean of the last two minutes.",
            avg("cgroup.memory.working_set.bytes"),
        ),
        _number(
            "Of memory limit",
            "Working set as a share of the cgroup's own limit, highest value of the last two minutes.",
            most("cgroup.memory.limit.pct"),
        ),
        _number(
            "Uptime",
            "Time since the cgroup was created, in the last two minutes.",
            most("cgroup.uptime.ms"),
        ),
        _number(
            "Restarts",
            "How often this host has recreated a container of this name since the shipper started.",
            most("cgroup.restarts.count"),
        ),
        _number(
            "Exit code",
            "Exit code of the container's last run, until docker removes the container; read once a minute.",
            most("container.exit_code"),
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
            "CPU quota used",
            "CPU usage as a share of the quota.",
            "cgroup",
            avg("cgroup.cpu.limit.pct", "of quota"),
        ),
        lines(
            "Throttled periods",
            "Share of the quota's periods with CPU usage in which the cgroup was throttled.",
            "cgroup",
            avg("cgroup.cpu.throttled.pct", "of periods"),
        ),
    ),
)

_MEMORY = Row(
    "Memory",
    (
        lines(
            "Memory and limit",
            "Working set, usage including all file pages, its highest value so far, and the smallest limit that applies.",
            "cgroup",
            avg("cgroup.memory.working_set.bytes", "working set"),
            avg("cgroup.memory.usage.bytes", "usage"),
            most("cgroup.memory.peak.bytes", "peak"),
            most("cgroup.memory.limit.effective.bytes", "limit"),
        ),
        lines(
            "Memory by use",
            "What the memory is used for, and the usage as a line; files include shared memory.",
            "cgroup",
            avg("cgroup.memory.anon.bytes", "processes"),
            avg("cgroup.memory.file.bytes", "files"),
            avg("cgroup.memory.kernel.bytes", "kernel"),
            avg("cgroup.memory.sock.bytes", "sockets"),
            avg("cgroup.memory.usage.bytes", "usage", over=True),
            stacked=True,
        ),
        lines(
            "Swap and limit",
            "Swap usage, and the maximum that the cgroup may use.",
            "cgroup",
            avg("cgroup.memory.swap.usage.bytes", "swap"),
            most("cgroup.memory.swap.limit.bytes", "limit"),
        ),
        lines(
            "Memory events",
            "Events per second: limit reached, reclaim above the soft limit (high), and OOM kills.",
            "cgroup",
            avg("cgroup.memory.events.max.count_per_s", "limit reached"),
            avg("cgroup.memory.events.high.count_per_s", "above soft limit"),
            avg("cgroup.memory.events.oom_kill.count_per_s", "OOM kills"),
            width=12,
        ),
        lines(
            "Faults and refaults",
            "Per second: page faults that read from disk, and pages read back soon after they were reclaimed.",
            "cgroup",
            avg("cgroup.memory.major_faults.count_per_s", "major faults"),
            avg("cgroup.memory.refaults.file.count_per_s", "refaults, files"),
            avg("cgroup.memory.refaults.anon.count_per_s", "refaults, processes"),
            width=12,
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
        lines(
            "Container packets",
            "Packets per second, if the container has its own network; sent packets are drawn below zero.",
            "cgroup",
            avg("cgroup.network.in.packets_per_s", "received"),
            avg("cgroup.network.out.packets_per_s", "sent", mirrored=True),
            width=12,
        ),
        lines(
            "Container packet errors and drops",
            "Packets per second, if the container has its own network.",
            "cgroup",
            avg("cgroup.network.in.errors_per_s", "received with errors"),
            avg("cgroup.network.in.dropped_per_s", "dropped on receipt"),
            avg("cgroup.network.out.errors_per_s", "not sent: errors"),
            avg("cgroup.network.out.dropped_per_s", "not sent: dropped"),
            width=12,
        ),
    ),
)

_LIFE = Row(
    "Life",
    (
        lines(
            "Restarts and kills",
            "Since the shipper started: times the cgroup was recreated, and processes that were OOM-killed.",
            "cgroup",
            most("cgroup.restarts.count", "restarts"),
            most("cgroup.oom_kills.count", "OOM kills"),
            coloured=False,  # the first restart is no trend
            width=12,
        ),
        table(
            "Images",
            "Images that the container ran, with the first and the last document of each in the range.",
            "cgroup",
            Split("container.image.name", 10, most(TIME)),
            least(TIME, "first"),
            most(TIME, "last"),
        ),
        table(
            "Health",
            "Results of the health check in the range, with the number of periods; read once a minute.",
            "cgroup",
            Split("container.health", 5, count("periods")),
            count("periods"),
            most(TIME, "last"),
            height=6,
        ),
        table(
            "States",
            "Whether the container ran, was paused or restarted in the range, with the number of periods; read once a minute.",
            "cgroup",
            Split("container.state", 5, count("periods")),
            count("periods"),
            most(TIME, "last"),
            height=6,
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
            avg("cgroup.pressure.cpu.some.avg10.pct", "CPU"),
            avg("cgroup.pressure.memory.some.avg10.pct", "memory"),
            avg("cgroup.pressure.io.some.avg10.pct", "I/O"),
        ),
        lines(
            "Host pressure",
            "Share of the last 10 s in which some task of the host waited for CPU, memory or I/O.",
            "host",
            avg("system.pressure.cpu.some.avg10.pct", "CPU"),
            avg("system.pressure.memory.some.avg10.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "I/O"),
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
    (_NOW, _CPU, _MEMORY, _IO, _LIFE, _PRESSURE, _PROCESSES),
    (START_MARK, IMAGE_MARK, KILL_MARK, SHIPPER_MARK),
)
