"""All containers and services: who uses most, who is held back, who is near a limit."""

from dashboards.boards.common import BUSY, FULL, IMAGE, OOM_MARK, POD, PRESSURE, RUNTIME, UNIT, WORKLOADS
from dashboards.model import (
    CLUSTER,
    ENTITY,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Metric,
    Panel,
    Row,
    Split,
    above,
    avg,
    count,
    lines,
    most,
    stat,
    table,
    unique,
)


def _top(title: str, help_: str, name: str, *, most_first: bool = False, **more: object) -> Panel:
    """The ten that come first by the mean of ``name`` – by its highest value, if ``most_first`` – over time."""
    by: Metric | None = most(name) if most_first else None
    return lines(title, help_, "cgroup", avg(name), split=Split(ENTITY, 10, by), where=WORKLOADS, **more)


_NOW = Row(
    "Now",
    (
        stat(
            "Running",
            "Containers that sent documents in the last two minutes of the range, and in all of it.",
            "cgroup",
            unique("container.id", "now", recent=True),
            unique("container.id", "seen"),
            width=6,
        ),
        stat(
            "Services",
            "Services, containers and machines in all.",
            "cgroup",
            unique(ENTITY, "workloads"),
            where=WORKLOADS,
            width=6,
        ),
        stat(
            "Nearest to its memory limit",
            "Working set as a share of the limit, the highest.",
            "cgroup",
            most("cgroup.memory.limit.pct"),
            where=WORKLOADS,
            steps=FULL,
            width=6,
        ),
        stat(
            "Most throttled",
            "CPUs' worth of time for which one was held back by its quota, the highest.",
            "cgroup",
            most("cgroup.cpu.throttled.cores"),
            where=WORKLOADS,
            width=6,
        ),
    ),
)

_USE = Row(
    "Who uses most",
    (
        _top("CPU", "CPUs' worth of time used, means.", "cgroup.cpu.cores"),
        _top(
            "Memory",
            "Working set: memory without file pages that were not used of late.",
            "cgroup.memory.working_set.bytes",
        ),
        _top("Tasks", "Processes and threads.", "cgroup.pids.current"),
        _top("Disk reads", "Bytes per second.", "cgroup.io.read.bytes_per_s"),
        _top("Disk writes", "Bytes per second.", "cgroup.io.write.bytes_per_s"),
        _top("Received", "Bytes per second, of those with a network of their own.", "cgroup.network.in.bytes_per_s"),
    ),
)

_HELD = Row(
    "Who is held back",
    (
        _top("Throttled", "CPUs' worth of time for which its quota held it back.", "cgroup.cpu.throttled.cores"),
        _top(
            "CPU pressure",
            "Share of the last 10 s in which some of its tasks waited for a CPU.",
            "cgroup.pressure.cpu.some.avg10.pct",
            steps=PRESSURE,
        ),
        _top(
            "Memory pressure",
            "Share of the last 10 s in which some of its tasks waited for memory.",
            "cgroup.pressure.memory.some.avg10.pct",
            steps=PRESSURE,
        ),
        _top(
            "IO pressure",
            "Share of the last 10 s in which some of its tasks waited for a disk.",
            "cgroup.pressure.io.some.avg10.pct",
            steps=PRESSURE,
        ),
        _top(
            "Memory of its limit", "Working set as a share of the limit.", "cgroup.memory.limit.pct", top=1, steps=FULL
        ),
        _top("CPU of its quota", "CPU time used as a share of the quota.", "cgroup.cpu.limit.pct", top=1, steps=BUSY),
    ),
)

_ALL = Row(
    "All of them",
    (
        table(
            "Containers and services",
            "One row each, busiest first; means over the time range.",
            "cgroup",
            Split(ENTITY, 500),
            avg("cgroup.cpu.cores", "CPU"),
            avg("cgroup.cpu.limit.pct", "of quota"),
            avg("cgroup.cpu.throttled.cores", "throttled"),
            avg("cgroup.memory.working_set.bytes", "memory"),
            avg("cgroup.memory.limit.pct", "of limit"),
            most("cgroup.pids.current", "tasks, most"),
            where=WORKLOADS,
            steps=FULL,
            width=16,
            height=12,
        ),
        table(
            "Killed for want of memory",
            "And in how many periods.",
            "cgroup",
            Split(ENTITY, 25),
            most(TIME, "last"),
            count("periods with kills"),
            where=(*WORKLOADS, above("cgroup.memory.events.oom_kill.count_per_s", 0)),
            width=8,
            height=12,
        ),
    ),
)

BOARD = Board(
    "shipper-containers",
    "Containers",
    "Containers and services of the fleet: who uses most, who is held back, who is near a limit.",
    (NAMESPACE, CLUSTER, HOSTS, RUNTIME, POD, IMAGE, UNIT),
    (_NOW, _USE, _HELD, _ALL),
    (OOM_MARK,),
)
