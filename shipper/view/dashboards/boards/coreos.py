"""The dashboard of the 2014 set-up: the nodes of a cluster side by side, in the original order."""

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
    """One line per node."""
    return lines(title, help_, dataset, avg(name), split=_NODES, **{"width": 12, "height": 7, **more})


_PAGE = Row(
    "CoreOS",
    (
        _nodes("CPU", "CPU usage as a share of all CPUs.", "host", "system.cpu.total.norm.pct", top=1),
        _nodes("Load average", "Load average over 1 minute.", "host", "system.load.1"),
        _nodes("Memory", "Used memory: total − available.", "host", "system.memory.actual.used.bytes"),
        _nodes("Free memory", "Memory that is not used at all, not even as cache.", "host", "system.memory.free"),
        lines(
            "Network",
            "Bytes per second, physical interfaces; sent bytes are drawn below zero.",
            "host",
            avg("system.network.total.in.bytes_per_s", "received"),
            avg("system.network.total.out.bytes_per_s", "sent", mirrored=True),
            split=_NODES,
            width=12,
            height=7,
        ),
        lines(
            "Disk I/O",
            "Bytes per second, physical disks; writes are drawn below zero.",
            "host",
            avg("system.diskio.total.read.bytes_per_s", "read"),
            avg("system.diskio.total.write.bytes_per_s", "written", mirrored=True),
            split=_NODES,
            width=12,
            height=7,
        ),
        lines(
            "Disk space",
            "Share of space in use on each node's fullest filesystem.",
            "filesystem",
            most("system.filesystem.used.pct"),
            split=_NODES,
            top=1,
            width=12,
            height=7,
        ),
        _nodes("Sockets", "Number of sockets in use.", "host", "system.socket.used.count"),
        _nodes("TCP connections accepted", "Connections per second.", "host", "system.tcp.opens.passive.count_per_s"),
        _nodes("TCP retransmits", "Retransmitted segments per second.", "host", "system.tcp.retransmits.count_per_s"),
        lines(
            "Container CPU",
            "CPU usage in CPUs, for the ten containers with the highest value.",
            "cgroup",
            avg("cgroup.cpu.cores"),
            split=Split(ENTITY, 10),
            where=CONTAINERS,
            width=12,
            height=7,
        ),
        lines(
            "Container memory",
            "Working set, for the ten containers with the largest.",
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
    "The dashboard of the 2014 set-up, the nodes side by side: CPU, load, memory, network, disk I/O, disk space, sockets, containers.",
    (NAMESPACE, CLUSTER, HOSTS),
    (_PAGE,),
)
