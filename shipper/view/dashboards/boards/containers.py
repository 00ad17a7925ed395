"""All containers and services: which use most, which are throttled or wait, which are near a limit."""

from shipper.view.dashboards.boards.common import IMAGE, OOM_MARK, POD, RUNTIME, UNIT, WORKLOADS
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
    """Means, for the ten containers and services that had the highest value."""
    return lines(title, help_, "cgroup", avg(name), split=Split(ENTITY, 10), where=WORKLOADS, **more)


def _now(title: str, help_: str, *metrics: Metric, **more: object) -> Panel:
    return table(title, help_, "cgroup", Split(ENTITY, 100), *metrics, where=WORKLOADS, recent=True, height=11, **more)


_HEAD = Row(
    "Now",
    (
        stat(
            "Containers",
            "Number of containers in the last two minutes of the time range.",
            "cgroup",
            unique("container.id", "containers"),
            recent=True,
        ),
        stat(
            "Workloads",
            "Number of containers, services and machines in the last two minutes.",
            "cgroup",
            unique(ENTITY, "workloads"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "Highest CPU usage",
            "In CPUs, highest value of any container or service in the last two minutes.",
            "cgroup",
            most("cgroup.cpu.cores"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "Nearest to memory limit",
            "Working set as a share of the limit, highest value of the last two minutes.",
            "cgroup",
            most("cgroup.memory.limit.pct"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "Most throttled",
            "Throttled time per second in CPUs, highest value of the last two minutes.",
            "cgroup",
            most("cgroup.cpu.throttled.cores"),
            where=WORKLOADS,
            recent=True,
        ),
        stat(
            "Highest memory pressure",
            "Share of time in which some task waited for memory, highest value of the last two minutes.",
            "cgroup",
            most("cgroup.pressure.memory.some.avg10.pct"),
            where=WORKLOADS,
            recent=True,
        ),
    ),
)

_TABLES = Row(
    "Highest usage and pressure, last two minutes",
    (
        _now(
            "By CPU",
            "Means, for the hundred containers and services with the highest CPU usage in CPUs.",
            avg("cgroup.cpu.cores", "CPU"),
            avg("cgroup.cpu.limit.pct", "of quota"),
            avg("cgroup.cpu.throttled.cores", "throttled"),
            avg("cgroup.pressure.cpu.some.avg10.pct", "CPU pressure"),
            most("cgroup.pids.current", "tasks"),
        ),
        _now(
            "By memory",
            "Means, for the hundred containers and services with the largest working set.",
            avg("cgroup.memory.working_set.bytes", "memory"),
            avg("cgroup.memory.limit.pct", "of limit"),
            avg("cgroup.pressure.memory.some.avg10.pct", "memory pressure"),
            avg("cgroup.memory.major_faults.count_per_s", "major faults"),
        ),
        _now(
            "By disk",
            "Bytes per second, means, for the hundred containers and services that write most.",
            avg("cgroup.io.write.bytes_per_s", "written"),
            avg("cgroup.io.read.bytes_per_s", "read"),
            avg("cgroup.pressure.io.some.avg10.pct", "I/O pressure"),
        ),
        _now(
            "By network",
            "Bytes per second, means, for the hundred containers and services that receive most; only those with their own network.",
            avg("cgroup.network.in.bytes_per_s", "received"),
            avg("cgroup.network.out.bytes_per_s", "sent"),
        ),
    ),
)

_RANGE = Row(
    "Over the time range",
    (
        _top("CPU", "CPU usage in CPUs, means, for the ten with the highest value.", "cgroup.cpu.cores", width=12),
        _top(
            "Memory",
            "Working set: memory usage without inactive file pages, for the ten with the largest.",
            "cgroup.memory.working_set.bytes",
            width=12,
        ),
        table(
            "OOM-killed",
            "Containers and services in which the kernel OOM-killed a process, and the number of periods with a kill.",
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
    "Details over the time range",
    (
        _top("Throttling", "Throttled time per second, in CPUs.", "cgroup.cpu.throttled.cores"),
        _top("CPU quota used", "CPU usage as a share of the quota.", "cgroup.cpu.limit.pct", top=1),
        _top(
            "CPU pressure",
            "Share of the last 10 s in which some task of the cgroup waited for a CPU.",
            "cgroup.pressure.cpu.some.avg10.pct",
        ),
        _top("Memory limit used", "Working set as a share of the limit.", "cgroup.memory.limit.pct", top=1),
        _top(
            "Memory pressure",
            "Share of the last 10 s in which some task of the cgroup waited for memory.",
            "cgroup.pressure.memory.some.avg10.pct",
        ),
        _top(
            "I/O pressure",
            "Share of the last 10 s in which some task of the cgroup waited for I/O.",
            "cgroup.pressure.io.some.avg10.pct",
        ),
        _top("Disk reads", "Bytes per second.", "cgroup.io.read.bytes_per_s"),
        _top("Disk writes", "Bytes per second.", "cgroup.io.write.bytes_per_s"),
        _top(
            "Network received",
            "Bytes per second; only containers and services with their own network.",
            "cgroup.network.in.bytes_per_s",
        ),
    ),
    collapsed=True,  # Grafana queries its panels only when somebody opens it
)

BOARD = Board(
    "shipper-containers",
    "Containers",
    "Containers and services of the fleet: which use most, which are throttled or wait, which are near a limit.",
    (NAMESPACE, CLUSTER, HOSTS, RUNTIME, POD, IMAGE, UNIT),
    (_HEAD, _TABLES, _RANGE, _MORE),
    (OOM_MARK,),
)
