"""The whole cluster: which hosts are up, how busy it is, which hosts are in the worst state."""

from shipper.view.dashboards.boards.common import OOM_MARK, WORKLOADS
from shipper.view.dashboards.model import (
    CLUSTER,
    DAY,
    ENTITY,
    HOST,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Row,
    Split,
    above,
    age,
    avg,
    count,
    heat,
    lines,
    missing,
    most,
    stat,
    table,
    total,
    unique,
)

_BY_HOST = Split(HOST, 10)

_NOW = Row(
    "Now",
    (
        stat(
            "Hosts",
            "Hosts that sent documents in the last two minutes of the time range.",
            "host",
            unique(HOST, "up"),
            recent=True,
            trend=True,
            width=3,
        ),
        stat(
            "Missing hosts",
            "Hosts that sent documents in the last 24 hours, but not in the last two minutes, whatever the time range.",
            "host",
            missing(HOST),
            within=DAY,
            width=3,
        ),
        stat(
            "Containers",
            "Number of containers in the last two minutes of the time range.",
            "cgroup",
            unique("container.id", "containers"),
            recent=True,
            width=3,
        ),
        stat(
            "CPU",
            "CPU usage as a share of all CPUs, mean over hosts in the last two minutes.",
            "host",
            avg("system.cpu.total.norm.pct"),
            recent=True,
            trend=True,
            width=4,
        ),
        stat(
            "Memory",
            "Used memory (total − available) as a share of the total, mean over hosts in the last two minutes.",
            "host",
            avg("system.memory.actual.used.pct"),
            recent=True,
            trend=True,
            width=4,
        ),
        stat(
            "Fullest filesystem",
            "Highest usage of any filesystem on any host in the last two minutes.",
            "filesystem",
            most("system.filesystem.used.pct"),
            recent=True,
            trend=True,
            width=4,
        ),
        stat(
            "Documents waiting",
            "Documents in the spool that Elasticsearch has not accepted yet, highest value of any host in the last two minutes.",
            "agent",
            most("agent.ledger.spooled.count"),
            recent=True,
            trend=True,
            width=3,
        ),
    ),
)

_SILENT = Row(
    "Silent hosts",
    (
        table(
            "Silent hosts",
            "Hosts that sent documents in the last 24 hours, but not in the last two minutes, whatever the time range.",
            "agent",
            Split(HOST, 300, most(TIME, "last seen"), rising=True),
            most(TIME, "last seen"),
            age("silent since"),
            silent=True,
            within=DAY,
            width=24,
            height=5,
        ),
    ),
)

_FLEET = Row(
    "Fleet",
    (
        lines(
            "Fleet CPU",
            "CPU usage as a share of all CPUs: mean over all hosts, and the busiest host.",
            "host",
            avg("system.cpu.total.norm.pct", "mean"),
            most("system.cpu.total.norm.pct", "busiest host"),
            top=1,
        ),
        lines(
            "Fleet memory",
            "Used memory (total − available) as a share of the total: mean over all hosts, and the fullest host.",
            "host",
            avg("system.memory.actual.used.pct", "mean"),
            most("system.memory.actual.used.pct", "fullest host"),
            top=1,
        ),
        lines(
            "Fleet pressure",
            "Share of the last 10 s in which some task waited for CPU, memory or I/O, mean over all hosts.",
            "host",
            avg("system.pressure.cpu.some.avg10.pct", "cpu"),
            avg("system.pressure.memory.some.avg10.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "io"),
        ),
        lines(
            "Fleet disk",
            "Bytes per second, sum over the physical disks of all hosts; writes are drawn below zero.",
            "host",
            total("system.diskio.total.read.bytes_per_s", "read"),
            total("system.diskio.total.write.bytes_per_s", "written", mirrored=True),
            width=12,
        ),
        lines(
            "Fleet network",
            "Bytes per second, sum over the physical interfaces of all hosts; sent bytes are drawn below zero.",
            "host",
            total("system.network.total.in.bytes_per_s", "received"),
            total("system.network.total.out.bytes_per_s", "sent", mirrored=True),
            width=12,
        ),
    ),
)

_WORST = Row(
    "Hosts",
    (
        table(
            "Hosts, busiest first",
            "One row per host; means over the time range, unless the heading says otherwise.",
            "host",
            Split(HOST, 300),
            avg("system.cpu.total.norm.pct", "CPU"),
            avg("system.load.norm.1", "load per CPU"),
            avg("system.memory.actual.used.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "I/O pressure"),
            avg("system.network.total.in.bytes_per_s", "received"),
            avg("system.network.total.out.bytes_per_s", "sent"),
            most(TIME, "last seen"),
            width=16,
            height=10,
        ),
        table(
            "Fullest filesystems",
            "Hosts, sorted by the highest usage of any of their filesystems.",
            "filesystem",
            Split(HOST, 25),
            most("system.filesystem.used.pct", "used, max"),
            most("system.filesystem.used_files.pct", "inodes, max"),
            width=8,
            height=10,
        ),
        heat(
            "CPU, busiest hosts",
            "CPU usage as a share of all CPUs, for the 25 hosts with the highest value.",
            "host",
            Split(HOST, 25),
            avg("system.cpu.total.norm.pct"),
            top=1,
            height=10,
        ),
        heat(
            "Memory, fullest hosts",
            "Used memory (total − available) as a share of the total, for the 25 hosts with the highest value.",
            "host",
            Split(HOST, 25),
            avg("system.memory.actual.used.pct"),
            top=1,
            height=10,
        ),
        lines(
            "CPU usage, busiest hosts",
            "CPU usage as a share of all CPUs, mean, for the ten hosts with the highest value.",
            "host",
            avg("system.cpu.total.norm.pct"),
            split=_BY_HOST,
            top=1,
        ),
        lines(
            "Memory pressure, highest hosts",
            "Share of the last 10 s in which some task waited for memory, for the ten hosts with the highest value.",
            "host",
            avg("system.pressure.memory.some.avg10.pct"),
            split=_BY_HOST,
        ),
        lines(
            "Network traffic, busiest hosts",
            "Bytes per second received on physical interfaces, for the ten hosts with the highest value.",
            "host",
            avg("system.network.total.in.bytes_per_s"),
            split=_BY_HOST,
        ),
    ),
)

_EVENTS = Row(
    "Events",
    (
        table(
            "Newest containers",
            "Containers and services of the last two minutes by start time, and how often the host recreated one of this name.",
            "cgroup",
            Split(ENTITY, 25),
            most("cgroup.start", "started"),
            most("cgroup.restarts.count", "restarts"),
            where=WORKLOADS,
            recent=True,
        ),
        table(
            "OOM kills",
            "Containers and services in which the kernel OOM-killed a process, and the number of periods with a kill.",
            "cgroup",
            Split(ENTITY, 25),
            most(TIME, "last"),
            count("periods with kills"),
            where=(*WORKLOADS, above("cgroup.memory.events.oom_kill.count_per_s", 0)),
        ),
    ),
)

_DELIVERY = Row(
    "Delivery",
    (
        lines(
            "Documents collected and stored",
            "Documents per second, sum over all hosts.",
            "agent",
            total("agent.ledger.collected.count_per_s", "collected"),
            total("agent.ledger.stored.count_per_s", "stored"),
            width=12,
        ),
        lines(
            "Documents not stored",
            "Documents that wait in the spool, highest value of any host.",
            "agent",
            most("agent.ledger.spooled.count", "waiting"),
            width=12,
        ),
    ),
)

BOARD = Board(
    "shipper-overview",
    "Cluster overview",
    "Which hosts are up, how busy is the fleet, which hosts are in the worst state, what happened?",
    (NAMESPACE, CLUSTER, HOSTS),
    (_NOW, _SILENT, _FLEET, _WORST, _EVENTS, _DELIVERY),
    (OOM_MARK,),
)
