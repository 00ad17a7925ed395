"""The heritage page: the nodes of a cluster side by side on one page, in the order of 2014."""

from shipper.view.dashboards.boards.common import CONTAINERS
from shipper.view.dashboards.model import (
    CLUSTER,
    ENTITY,
    HOST,
    HOSTS,
    NAMESPACE,
    Board,
    Panel,
    Row,
    Split,
    avg,
    lines,
    most,
)

_NODES = Split(HOST, 12)


def _nodes(title: str, help_: str, dataset: str, name: str, **more: object) -> Panel:
    """One line for each node."""
    return lines(title, help_, dataset, avg(name), split=_NODES, **{"width": 12, "height": 7, **more})


_PAGE = Row(
    "CoreOS",
    (
        _nodes("CPU", "Share of CPU time in use.", "host", "system.cpu.total.norm.pct", top=1),
        _nodes("Load average", "Over 1 minute.", "host", "system.load.1"),
        _nodes("Memory", "Memory that cannot be had without swapping.", "host", "system.memory.actual.used.bytes"),
        _nodes("Free memory", "Memory that nothing uses, not even as cache.", "host", "system.memory.free"),
        lines(
            "Network",
            "Bytes per second, physical interfaces; sent below zero.",
            "host",
            avg("system.network.total.in.bytes_per_s", "received"),
            avg("system.network.total.out.bytes_per_s", "sent", mirrored=True),
            split=_NODES,
            width=12,
            height=7,
        ),
        lines(
            "Disk IO",
            "Bytes per second, physical disks; written below zero.",
            "host",
            avg("system.diskio.total.read.bytes_per_s", "read"),
            avg("system.diskio.total.write.bytes_per_s", "written", mirrored=True),
            split=_NODES,
            width=12,
            height=7,
        ),
        lines(
            "Disk space",
            "Share in use, of each node's fullest filesystem.",
            "filesystem",
            most("system.filesystem.used.pct"),
            split=_NODES,
            top=1,
            width=12,
            height=7,
        ),
        _nodes("Sockets", "In use.", "host", "system.socket.used.count"),
        _nodes("TCP connections opened", "Accepted, per second.", "host", "system.tcp.opens.passive.count_per_s"),
        _nodes("TCP segments sent again", "Per second.", "host", "system.tcp.retransmits.count_per_s"),
        lines(
            "Container CPU",
            "CPUs' worth of time, of the ten containers with the highest value.",
            "cgroup",
            avg("cgroup.cpu.cores"),
            split=Split(ENTITY, 10),
            where=CONTAINERS,
            width=12,
            height=7,
        ),
        lines(
            "Container memory",
            "Working set of the ten largest containers.",
            "cgroup",
            avg("cgroup.memory.working_set.bytes"),
            split=Split(ENTITY, 10),
            where=CONTAINERS,
            width=12,
            height=7,
        ),
    ),
)

BOARD = Board(
    "shipper-coreos",
    "CoreOS",
    "The page of 2014: cpu, load, memory, network, disk io, disk space, sockets, containers, the nodes side by side.",
    (NAMESPACE, CLUSTER, HOSTS),
    (_PAGE,),
)
