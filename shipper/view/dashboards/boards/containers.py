"""All containers and services: which use most, which are throttled or wait, which are near a limit."""

from shipper.view.dashboards.boards.common import IMAGE, IMAGE_MARK, KILL_MARK, POD, RUNTIME, UNIT, WORKLOADS
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
    exists,
    lines,
    most,
    stat,
    table,
    unique,
)


def _top(title: str, help_: str, name: str, **more: object) -> Panel:
    """Means, for the ten containers and services that had the highest value."""
    more = {"width": 12, **more}
    return lines(title, help_, "cgroup", avg(name), split=Split(ENTITY, 10), where=WORKLOADS, **more)


def _now(title: str, help_: str, *metrics: Metric, **more: object) -> Panel:
    split = Split(ENTITY, 100)
    return table(title, help_, "cgroup", split, *metrics, **{"where": WORKLOADS, "recent": True, "height": 10, **more})


def _worst(title: str, help_: str, name: str) -> Panel:
    """The highest number of the last two minutes, and its container or service."""
    split = Split(ENTITY, 1)
    return stat(title, help_, "cgroup", most(name), split=split, where=WORKLOADS, recent=True)


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
        _worst(
            "Highest CPU usage", "In CPUs, highest value of any container or service, and its name.", "cgroup.cpu.cores"
        ),
        _worst(
            "Nearest to memory limit",
            "Working set as a share of the limit, highest value, and its container or service.",
            "cgroup.memory.limit.pct",
        ),
        _worst(
            "Most throttled",
            "Share of the quota's periods in which a container or service was throttled: highest value, and its container or service.",
            "cgroup.cpu.throttled.pct",
        ),
        _worst(
            "Top memory pressure",
            "Share of time in which some task waited for memory, highest value, and its container or service.",
            "cgroup.pressure.memory.some.avg10.pct",
        ),
    ),
)

_TABLES = Row(
    "Worst of the last two minutes",
    (
        _now(
            "Nearest to their memory limit",
            "Means, for the hundred containers and services with the highest share of their limit.",
            avg("cgroup.memory.limit.pct", "of limit"),
            avg("cgroup.memory.working_set.bytes", "memory"),
            avg("cgroup.pressure.memory.some.avg10.pct", "pressure"),
            avg("cgroup.memory.major_faults.count_per_s", "major faults"),
            where=(*WORKLOADS, exists("cgroup.memory.limit.pct")),
        ),
        _now(
            "Most throttled by their quota",
            "Means, for the hundred containers and services that were throttled in the largest share of their periods.",
            avg("cgroup.cpu.throttled.pct", "throttled"),
            avg("cgroup.cpu.limit.pct", "of quota"),
            avg("cgroup.cpu.cores", "CPU"),
            avg("cgroup.pressure.cpu.some.avg10.pct", "pressure"),
            where=(*WORKLOADS, exists("cgroup.cpu.throttled.pct")),
        ),
        _now(
            "By CPU",
            "Means, for the hundred containers and services with the highest CPU usage in CPUs.",
            avg("cgroup.cpu.cores", "CPU"),
            avg("cgroup.cpu.limit.pct", "of quota"),
            avg("cgroup.pressure.cpu.some.avg10.pct", "pressure"),
            most("cgroup.pids.current", "tasks"),
        ),
        _now(
            "By memory",
            "Means, for the hundred containers and services with the largest working set.",
            avg("cgroup.memory.working_set.bytes", "memory"),
            avg("cgroup.memory.limit.pct", "of limit"),
            avg("cgroup.memory.swap.usage.bytes", "swap"),
            avg("cgroup.pressure.memory.some.avg10.pct", "pressure"),
        ),
    ),
)

_RANGE = Row(
    "Over the time range",
    (
        _top("CPU", "CPU usage in CPUs, means, for the ten with the highest value.", "cgroup.cpu.cores", width=24),
        _top(
            "Memory",
            "Working set: memory usage without inactive file pages, for the ten with the largest.",
            "cgroup.memory.working_set.bytes",
            width=24,
        ),
        table(
            "Restarted",
            "Containers and services that their host has recreated under the same name since the shipper started.",
            "cgroup",
            Split(ENTITY, 50),
            most("cgroup.restarts.count", "restarts"),
            most("cgroup.start", "last start"),
            where=(*WORKLOADS, above("cgroup.restarts.count", 0)),
        ),
        table(
            "OOM-killed",
            "Containers and services in which the kernel OOM-killed a process, and the number of periods with a kill.",
            "cgroup",
            Split(ENTITY, 25),
            most(TIME, "last"),
            count("periods with kills"),
            where=(*WORKLOADS, above("cgroup.memory.events.oom_kill.count_per_s", 0)),
        ),
    ),
)

_DISK_AND_NETWORK = Row(
    "Disk and network",
    (
        _now(
            "By disk",
            "Bytes per second, means, for the hundred containers and services that write most.",
            avg("cgroup.io.write.bytes_per_s", "written"),
            avg("cgroup.io.read.bytes_per_s", "read"),
            avg("cgroup.pressure.io.some.avg10.pct", "I/O pressure"),
        ),
        _now(
            "By network",
            "Means, for the hundred containers and services that receive most; only those with their own network.",
            avg("cgroup.network.in.bytes_per_s", "received"),
            avg("cgroup.network.out.bytes_per_s", "sent"),
            avg("cgroup.network.in.dropped_per_s", "dropped"),
            where=(*WORKLOADS, exists("cgroup.network.in.bytes_per_s")),
        ),
        _top("Disk reads", "Bytes per second.", "cgroup.io.read.bytes_per_s"),
        _top("Disk writes", "Bytes per second.", "cgroup.io.write.bytes_per_s"),
        _top(
            "Network received",
            "Bytes per second; only containers and services with their own network.",
            "cgroup.network.in.bytes_per_s",
            width=24,
        ),
    ),
    collapsed=True,  # Grafana queries its panels only when somebody opens it
)

_LIMITS = Row(
    "Quotas, limits and pressure over the time range",
    (
        _top(
            "Throttled periods",
            "Share of the quota's periods in which the cgroup was throttled.",
            "cgroup.cpu.throttled.pct",
            top=1,
        ),
        _top("CPU quota used", "CPU usage as a share of the quota.", "cgroup.cpu.limit.pct", top=1),
        _top("Memory limit used", "Working set as a share of the limit.", "cgroup.memory.limit.pct", top=1),
        _top(
            "Memory pressure",
            "Share of the last 10 s in which some task of the cgroup waited for memory.",
            "cgroup.pressure.memory.some.avg10.pct",
        ),
        _top(
            "CPU pressure",
            "Share of the last 10 s in which some task of the cgroup waited for a CPU.",
            "cgroup.pressure.cpu.some.avg10.pct",
        ),
        _top(
            "I/O pressure",
            "Share of the last 10 s in which some task of the cgroup waited for I/O.",
            "cgroup.pressure.io.some.avg10.pct",
        ),
    ),
    collapsed=True,
)

BOARD = Board(
    "shipper-containers",
    "Containers",
    "Containers and services of the fleet: which use most, which are throttled or wait, which are near a limit.",
    (NAMESPACE, CLUSTER, HOSTS, RUNTIME, POD, IMAGE, UNIT),
    (_HEAD, _TABLES, _RANGE, _DISK_AND_NETWORK, _LIMITS),
    (KILL_MARK, IMAGE_MARK),
)
