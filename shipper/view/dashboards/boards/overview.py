"""The whole cluster: who is there, how busy it is, who is worst off."""

from shipper.view.dashboards.boards.common import BUSY, FULL, OOM_MARK, PRESSURE, WORKLOADS
from shipper.view.dashboards.model import (
    CLUSTER,
    ENTITY,
    HOST,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Row,
    Split,
    above,
    avg,
    count,
    heat,
    lines,
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
            "Hosts that sent documents: in the last two minutes of the time range, and in all of it.",
            "host",
            unique(HOST, "up", recent=True),
            unique(HOST, "seen"),
            width=4,
        ),
        stat(
            "Containers",
            "Different ones, in the last two minutes of the time range.",
            "cgroup",
            unique("container.id", "containers"),
            recent=True,
            width=4,
        ),
        stat(
            "CPU",
            "Mean over hosts and time of the share of CPU time in use.",
            "host",
            avg("system.cpu.total.norm.pct"),
            steps=BUSY,
        ),
        stat(
            "Memory",
            "Mean over hosts and time of the share of memory that cannot be had without swapping.",
            "host",
            avg("system.memory.actual.used.pct"),
            steps=FULL,
        ),
        stat(
            "Fullest disk",
            "The filesystem with least room, of all hosts, at its worst.",
            "filesystem",
            most("system.filesystem.used.pct"),
            steps=FULL,
        ),
        stat(
            "Documents waiting",
            "Most documents that a host had on its disk because Elasticsearch did not take them.",
            "agent",
            most("agent.ledger.spooled.count"),
        ),
    ),
)

_FLEET = Row(
    "Fleet",
    (
        lines(
            "Fleet CPU",
            "Share of CPU time in use: the mean of all hosts and the busiest one.",
            "host",
            avg("system.cpu.total.norm.pct", "mean"),
            most("system.cpu.total.norm.pct", "busiest host"),
            top=1,
        ),
        lines(
            "Fleet memory",
            "Share of memory that cannot be had without swapping: mean of all hosts and the fullest one.",
            "host",
            avg("system.memory.actual.used.pct", "mean"),
            most("system.memory.actual.used.pct", "fullest host"),
            top=1,
        ),
        lines(
            "Fleet pressure",
            "Share of the last 10 s in which some task waited for CPU, memory or a disk: mean of all hosts.",
            "host",
            avg("system.pressure.cpu.some.avg10.pct", "cpu"),
            avg("system.pressure.memory.some.avg10.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "io"),
        ),
        lines(
            "Fleet disk",
            "Bytes per second of all physical disks of all hosts; written below zero.",
            "host",
            total("system.diskio.total.read.bytes_per_s", "read"),
            total("system.diskio.total.write.bytes_per_s", "written", mirrored=True),
            width=12,
        ),
        lines(
            "Fleet network",
            "Bytes per second of all physical interfaces of all hosts; sent below zero.",
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
            "One row a host, over the time range: means, except where the heading says otherwise.",
            "host",
            Split(HOST, 300),
            avg("system.cpu.total.norm.pct", "CPU"),
            avg("system.load.norm.1", "load per CPU"),
            avg("system.memory.actual.used.pct", "memory"),
            avg("system.pressure.io.some.avg10.pct", "io pressure"),
            avg("system.network.total.in.bytes_per_s", "received"),
            avg("system.network.total.out.bytes_per_s", "sent"),
            most(TIME, "last seen"),
            steps=BUSY,
            width=16,
            height=10,
        ),
        table(
            "Fullest filesystems",
            "Hosts by their fullest filesystem at its worst.",
            "filesystem",
            Split(HOST, 25),
            most("system.filesystem.used.pct", "used, most"),
            most("system.filesystem.used_files.pct", "inodes, most"),
            steps=FULL,
            width=8,
            height=10,
        ),
        heat(
            "CPU, busiest hosts",
            "Share of CPU time in use, those with the highest value.",
            "host",
            Split(HOST, 25),
            avg("system.cpu.total.norm.pct"),
            top=1,
            height=10,
        ),
        heat(
            "Memory, fullest hosts",
            "Share of memory that cannot be had without swapping, those with the highest value.",
            "host",
            Split(HOST, 25),
            avg("system.memory.actual.used.pct"),
            top=1,
            height=10,
        ),
        lines(
            "CPU of the busiest hosts",
            "Means of the ten with the highest value.",
            "host",
            avg("system.cpu.total.norm.pct"),
            split=_BY_HOST,
            top=1,
        ),
        lines(
            "Memory pressure of the worst hosts",
            "Share of the last 10 s in which some task waited for memory.",
            "host",
            avg("system.pressure.memory.some.avg10.pct"),
            split=_BY_HOST,
            steps=PRESSURE,
        ),
        lines(
            "Network of the busiest hosts",
            "Bytes per second received by physical interfaces.",
            "host",
            avg("system.network.total.in.bytes_per_s"),
            split=_BY_HOST,
        ),
    ),
)

_EVENTS = Row(
    "What happened",
    (
        table(
            "Newest containers",
            "Those of the last two minutes, by when they were started; how often one of the name was recreated on its host.",
            "cgroup",
            Split(ENTITY, 25),
            most("cgroup.start", "started"),
            most("cgroup.restarts.count", "restarts"),
            where=WORKLOADS,
            recent=True,
        ),
        table(
            "OOM kills",
            "Containers and services in which the kernel killed a process because memory ran out, and in how many periods.",
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
            "Documents per second, all hosts.",
            "agent",
            total("agent.ledger.collected.count_per_s", "collected"),
            total("agent.ledger.stored.count_per_s", "stored"),
            width=12,
        ),
        lines(
            "Documents not stored",
            "Most that one host has waiting on disk.",
            "agent",
            most("agent.ledger.spooled.count", "waiting"),
            width=12,
        ),
    ),
)

BOARD = Board(
    "shipper-overview",
    "Cluster overview",
    "Is everybody there, how busy is the fleet, who is worst off, what happened?",
    (NAMESPACE, CLUSTER, HOSTS),
    (_NOW, _FLEET, _WORST, _EVENTS, _DELIVERY),
    (OOM_MARK,),
)
