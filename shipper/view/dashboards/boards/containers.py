"""All containers and services: who uses most, who is held back, who is near a limit."""

from shipper.view.dashboards.boards.common import BUSY, FULL, IMAGE, OOM_MARK, POD, PRESSURE, RUNTIME, UNIT, WORKLOADS
from shipper.view.dashboards.model import (
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


def _top(title: str, help_: str, name: str, **more: object) -> Panel:
    """Means of the ten that had the highest value."""
    return lines(title, help_, "cgroup", avg(name), split=Split(ENTITY, 10), where=WORKLOADS, **more)


def _now(title: str, help_: str, *metrics: Metric, **more: object) -> Panel:
    return table(title, help_, "cgroup", Split(ENTITY, 100), *metrics, where=WORKLOADS, recent=True, height=11, **more)


_HEAD = Row(
    "Now",
    (
        stat(
            "Containers",
            "Different ones, in the last two minutes of the time range.",
            "cgroup",
            unique("container.id", "containers"),
            recent=True,
        ),
        stat(
            "Workloads",
            "Containers, services and machines, in the last two minutes.",
            "cgroup",
            unique(ENTITY, "workloads"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "CPU in use",
            "CPUs' worth of time, of the one that uses most, in the last two minutes.",
            "cgroup",
            most("cgroup.cpu.cores"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "Nearest to its memory limit",
            "Working set as a share of the limit, the highest of the last two minutes.",
            "cgroup",
            most("cgroup.memory.limit.pct"),
            where=WORKLOADS,
            steps=FULL,
            recent=True,
        ),
        stat(
            "Most throttled",
            "CPUs' worth of time for which one was held back by its quota, the highest of the last two minutes.",
            "cgroup",
            most("cgroup.cpu.throttled.cores"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "Longest waits for memory",
            "Share of time in which some task of one waited for memory, the highest of the last two minutes.",
            "cgroup",
            most("cgroup.pressure.memory.some.avg10.pct"),
            where=WORKLOADS,
            steps=PRESSURE,
            recent=True,
        ),
    ),
)

_TABLES = Row(
    "Who uses most, who is held back: the last two minutes",
    (
        _now(
            "By CPU",
            "Means; the hundred with the highest value.",
            avg("cgroup.cpu.cores", "CPU"),
            avg("cgroup.cpu.limit.pct", "of quota"),
            avg("cgroup.cpu.throttled.cores", "throttled"),
            avg("cgroup.pressure.cpu.some.avg10.pct", "cpu pressure"),
            most("cgroup.pids.current", "tasks"),
        ),
        _now(
            "By memory",
            "Means; memory is the working set; the hundred with the highest value.",
            avg("cgroup.memory.working_set.bytes", "memory"),
            avg("cgroup.memory.limit.pct", "of limit"),
            avg("cgroup.pressure.memory.some.avg10.pct", "memory pressure"),
            avg("cgroup.memory.major_faults.count_per_s", "major faults"),
            steps=FULL,
        ),
        _now(
            "By disk",
            "Means, bytes per second; the hundred that wrote most.",
            avg("cgroup.io.write.bytes_per_s", "written"),
            avg("cgroup.io.read.bytes_per_s", "read"),
            avg("cgroup.pressure.io.some.avg10.pct", "io pressure"),
        ),
        _now(
            "By network",
            "Means, bytes per second, of those with a network of their own; the hundred that received most.",
            avg("cgroup.network.in.bytes_per_s", "received"),
            avg("cgroup.network.out.bytes_per_s", "sent"),
        ),
    ),
)

_RANGE = Row(
    "Over the time range",
    (
        _top("CPU", "CPUs' worth of time used: means of the ten with the highest value.", "cgroup.cpu.cores", width=12),
        _top(
            "Memory",
            "Working set: memory without file pages that were not used of late. The ten largest.",
            "cgroup.memory.working_set.bytes",
            width=12,
        ),
        table(
            "OOM-killed",
            "Containers and services in which the kernel killed a process, and in how many periods.",
            "cgroup",
            Split(ENTITY, 25),
            most(TIME, "last"),
            count("periods with kills"),
            where=(*WORKLOADS, above("cgroup.memory.events.oom_kill.count_per_s", 0)),
            width=24,
            height=6,
        ),
    ),
)

_MORE = Row(
    "More over the time range",
    (
        _top("Throttled", "CPUs' worth of time for which its quota held it back.", "cgroup.cpu.throttled.cores"),
        _top("CPU of its quota", "CPU time used as a share of the quota.", "cgroup.cpu.limit.pct", top=1, steps=BUSY),
        _top(
            "CPU pressure",
            "Share of the last 10 s in which some of its tasks waited for a CPU.",
            "cgroup.pressure.cpu.some.avg10.pct",
            steps=PRESSURE,
        ),
        _top(
            "Memory of its limit", "Working set as a share of the limit.", "cgroup.memory.limit.pct", top=1, steps=FULL
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
        _top("Disk reads", "Bytes per second.", "cgroup.io.read.bytes_per_s"),
        _top("Disk writes", "Bytes per second.", "cgroup.io.write.bytes_per_s"),
        _top("Received", "Bytes per second, of those with a network of their own.", "cgroup.network.in.bytes_per_s"),
    ),
    collapsed=True,  # Grafana asks only when it is opened
)

BOARD = Board(
    "shipper-containers",
    "Containers",
    "Containers and services of the fleet: who uses most, who is held back, who is near a limit.",
    (NAMESPACE, CLUSTER, HOSTS, RUNTIME, POD, IMAGE, UNIT),
    (_HEAD, _TABLES, _RANGE, _MORE),
    (OOM_MARK,),
)
