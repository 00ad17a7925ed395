"""The page of the 2014 set-up: one line per node in each chart, so that the nodes of a cluster are compared at a glance.

The page shows what the twelve Diamond collectors of that set-up collected (see ``shipper.fields.heritage``), and how
each node's shipper sees Elasticsearch, which stored the dashboards in 2014.
"""

from typing import Final

from shipper.view.dashboards.boards.common import BOOT_MARK, CONTAINERS
from shipper.view.dashboards.model import (
    CLUSTER,
    ENTITY,
    HOST,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Panel,
    Row,
    Split,
    avg,
    count,
    exists,
    lines,
    most,
    one_of,
    table,
    unique,
)

# The same nodes in all charts: with more than twelve, those that use most CPU, or whose documents wait
_NODES: Final = Split(HOST, 12, most("system.cpu.total.norm.pct"))
_SHIPPERS: Final = Split(HOST, 12, most("agent.ledger.spooled.count"))
_SIZE: Final = {"width": 8, "height": 9}  # the legend has room for the names of all nodes


def _nodes(title: str, help_: str, name: str, **more: object) -> Panel:
    """One line per node. A chart has one metric, because the name of a line decides its colour."""
    return lines(title, help_, "host", avg(name), split=_NODES, **{**_SIZE, **more})


def _shippers(title: str, help_: str, name: str) -> Panel:
    return lines(title, help_, "agent", avg(name), split=_SHIPPERS, **{**_SIZE, "width": 12})


def _containers(title: str, help_: str, name: str) -> Panel:
    return lines(title, help_, "cgroup", avg(name), split=Split(ENTITY, 10), where=CONTAINERS, **{**_SIZE, "width": 12})


_CPU = Row(
    "CPU and load",
    (
        _nodes("CPU", "CPU usage as a share of all CPUs.", "system.cpu.total.norm.pct", top=1),
        _nodes("CPU, user", "Share of all CPUs in user mode.", "system.cpu.user.norm.pct"),
        _nodes("CPU, system", "Share of all CPUs in the kernel.", "system.cpu.system.norm.pct"),
        _nodes("CPU, I/O wait", "Share of all CPUs that wait for I/O.", "system.cpu.iowait.norm.pct"),
        _nodes("CPU, steal", "Share of all CPUs that the hypervisor gave to others.", "system.cpu.steal.norm.pct"),
        _nodes("CPU, interrupts", "Share of all CPUs in soft interrupts.", "system.cpu.softirq.norm.pct"),
        _nodes("Load, 1 minute", "Load average over 1 minute.", "system.load.1"),
        _nodes("Load, 5 minutes", "Load average over 5 minutes.", "system.load.5"),
        _nodes("Load, 15 minutes", "Load average over 15 minutes.", "system.load.15"),
    ),
)

_MEMORY = Row(
    "Memory",
    (
        _nodes("Memory", "Used memory: total − available.", "system.memory.actual.used.bytes"),
        _nodes("Free memory", "Memory that is not used at all, not even as cache.", "system.memory.free"),
        _nodes("Cached", "Page cache, including shared memory.", "system.memory.cached.bytes"),
        _nodes("Buffers", "Cache of block devices.", "system.memory.buffers.bytes"),
        _nodes("Swap", "Used swap.", "system.memory.swap.used.bytes"),
        _nodes(
            "Major page faults",
            "Page faults that read from disk, per second.",
            "system.vm.faults.major.count_per_s",
        ),
    ),
)

_NETWORK = Row(
    "Network",
    (
        _nodes("Received", "Bytes per second, physical interfaces.", "system.network.total.in.bytes_per_s"),
        _nodes("Sent", "Bytes per second, physical interfaces.", "system.network.total.out.bytes_per_s"),
        _nodes("Sockets", "Number of sockets in use.", "system.socket.used.count"),
        _nodes("TCP connections accepted", "Connections per second.", "system.tcp.opens.passive.count_per_s"),
        _nodes("TCP retransmits", "Retransmitted segments per second.", "system.tcp.retransmits.count_per_s"),
        _nodes("Context switches", "Context switches per second.", "system.context_switches.count_per_s"),
    ),
)

_DISKS = Row(
    "Disks",
    (
        _nodes("Disk reads", "Bytes per second, physical disks.", "system.diskio.total.read.bytes_per_s"),
        _nodes("Disk writes", "Bytes per second, physical disks.", "system.diskio.total.write.bytes_per_s"),
        _nodes("Disk utilisation", "Of each node's busiest disk.", "system.diskio.total.util.max.pct", top=1),
        _nodes("Read operations", "Operations per second, physical disks.", "system.diskio.total.read.count_per_s"),
        _nodes("Write operations", "Operations per second, physical disks.", "system.diskio.total.write.count_per_s"),
        lines(
            "Disk space",
            "Share of space in use on each node's fullest filesystem.",
            "filesystem",
            most("system.filesystem.used.pct"),
            split=Split(HOST, 12),
            top=1,
            **_SIZE,
        ),
    ),
)

_CONTAINERS = Row(
    "Containers",
    (
        _containers("Container CPU", "In CPUs, the ten containers with the highest usage.", "cgroup.cpu.cores"),
        _containers(
            "Container memory",
            "Working set, the ten containers with the largest.",
            "cgroup.memory.working_set.bytes",
        ),
    ),
)

_STORE = Row(
    "Elasticsearch, as each node's shipper sees it",
    (
        _shippers(
            "Bulk requests",
            "Requests per second; at zero, Elasticsearch accepts no requests.",
            "agent.delivery.requests.count_per_s",
        ),
        _shippers("Failed requests", "Requests per second.", "agent.delivery.failures.count_per_s"),
        _shippers(
            "Latency of bulk requests",
            "Time from a request to its response: the longest of each period, mean.",
            "agent.delivery.latency.ms",
        ),
        _shippers("Documents waiting", "Documents that are not stored yet.", "agent.ledger.spooled.count"),
        table(
            "Elasticsearch not reached",
            "Nodes whose last request failed, and the number of periods; their documents were sent later.",
            "agent",
            Split(HOST, 25, count("periods")),
            count("periods"),
            most(TIME, "last"),
            where=(one_of("agent.delivery.reachable", "false"),),
            height=6,
        ),
        table(
            "Why requests failed",
            "Errors of the last request, with the number of periods and nodes.",
            "agent",
            Split("agent.delivery.trouble", 25, count("periods")),
            count("periods"),
            unique(HOST, "nodes"),
            most(TIME, "last"),
            where=(exists("agent.delivery.trouble"),),
            height=6,
        ),
    ),
)

BOARD = Board(
    "shipper-coreos",
    "CoreOS",
    "The dashboard of the 2014 set-up: the nodes side by side, at most twelve, the metrics of the twelve Diamond collectors, containers, Elasticsearch.",
    (NAMESPACE, CLUSTER, HOSTS),
    (_CPU, _MEMORY, _NETWORK, _DISKS, _CONTAINERS, _STORE),
    (BOOT_MARK,),
)
