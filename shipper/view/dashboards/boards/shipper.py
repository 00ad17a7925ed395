"""The shipper itself: what became of every document, and what collecting and delivering costs."""

from collections.abc import Sequence

from shipper.view.dashboards.boards.common import BOOT_MARK, SHIPPER_MARK, SUM
from shipper.view.dashboards.model import (
    CLUSTER,
    DAY,
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
    missing,
    most,
    one_of,
    stat,
    table,
    total,
    unique,
)

_WORST = Split(HOST, 10)
# The same hosts in two charts, which share a search
_WAITING = Split(HOST, 10, avg("agent.ledger.spooled.count"))
_LATE = Split(HOST, 10, avg("agent.tick.delay.us"))


def _highest(title: str, help_: str, name: str) -> Panel:
    """The highest value of any host in the last two minutes, and its host."""
    said = f"{help_} Highest value of the last two minutes, and its host."
    return stat(title, said, "agent", most(name), split=Split(HOST, 1), recent=True, width=3)


_NOW = Row(
    "Now",
    (
        stat(
            "Shippers",
            "Hosts whose shipper sent its own document in the last two minutes of the time range.",
            "agent",
            unique(HOST, "up"),
            recent=True,
            trend=True,
            width=3,
        ),
        stat(
            "Missing",
            "Shippers that sent documents in the last 24 hours, but not in the last two minutes, whatever the time range.",
            "agent",
            missing(HOST),
            within=DAY,
            width=3,
        ),
        stat(
            "Versions",
            "Number of different versions in the last two minutes.",
            "agent",
            unique("agent.version", "versions"),
            recent=True,
            width=3,
        ),
        _highest("Waiting", "Documents in the spool.", "agent.ledger.spooled.count"),
        _highest(
            "Rejected",
            "Documents that Elasticsearch rejected since the ledger was created.",
            "agent.ledger.rejected.count",
        ),
        _highest(
            "Dropped", "Documents that were dropped: spool full, disk damaged, too old.", "agent.ledger.dropped.count"
        ),
        _highest("Unreadable files", "Files that the shipper could not read or parse.", "agent.problems.count"),
        _highest("Twins", "Documents that another shipper of the same name had sent.", "agent.delivery.twins.count"),
    ),
)

_LEDGER = Row(
    "Ledger: collected = stored + late + spooled + rejected + dropped",
    (
        lines(
            "Ledger",
            f"Documents per second, {SUM}; resent documents had been stored before.",
            "agent",
            total("agent.ledger.collected.count_per_s", "collected"),
            total("agent.ledger.stored.count_per_s", "stored"),
            total("agent.ledger.late.count_per_s", "stored late"),
            total("agent.ledger.duplicate.count_per_s", "resent"),
            total("agent.ledger.rejected.count_per_s", "rejected"),
            total("agent.ledger.dropped.count_per_s", "dropped"),
        ),
        lines(
            "Documents waiting",
            "Documents that are not stored yet, for the ten hosts with the highest value.",
            "agent",
            avg("agent.ledger.spooled.count"),
            split=_WAITING,
        ),
        lines(
            "Spool size",
            "Bytes on disk, for the ten hosts with the most waiting documents.",
            "agent",
            avg("agent.spool.bytes"),
            split=_WAITING,
        ),
        lines(
            "Requests",
            f"Bulk requests, and restarts of the delivery thread, per second, {SUM}.",
            "agent",
            total("agent.delivery.requests.count_per_s", "sent"),
            total("agent.delivery.failures.count_per_s", "failed"),
            total("agent.delivery.restarts.count_per_s", "restarts of delivery"),
            width=5,
        ),
        lines(
            "Latency of bulk requests",
            "Time from a request to its response, the longest of each period, for the ten hosts with the highest value.",
            "agent",
            most("agent.delivery.latency.ms"),
            split=_WORST,
            width=7,
        ),
        lines(
            "Bytes to Elasticsearch",
            f"Bytes per second, {SUM}.",
            "agent",
            total("agent.delivery.bytes_per_s", "sent"),
            width=5,
        ),
        lines(
            "Second shipper of the same name",
            "Documents that existed already when this shipper first sent them: another shipper uses the same host name and id.",
            "agent",
            most("agent.delivery.twins.count"),
            split=_WORST,
            width=7,
        ),
    ),
)

_COST = Row(
    "Cost",
    (
        lines(
            "CPU of the shipper",
            "Share of one CPU, for the ten hosts with the highest value.",
            "agent",
            avg("agent.cpu.pct"),
            split=_WORST,
        ),
        lines(
            "Memory of the shipper",
            "Resident memory, for the ten hosts with the highest value.",
            "agent",
            avg("agent.memory.rss.bytes"),
            split=_WORST,
        ),
        lines(
            "Duration of a tick",
            "Time to collect and spool all documents, for the ten hosts with the highest value.",
            "agent",
            avg("agent.tick.duration.us"),
            split=_WORST,
        ),
        lines(
            "Delay of a tick",
            "Time from a tick's timestamp to its actual start, for the ten hosts with the highest value.",
            "agent",
            avg("agent.tick.delay.us"),
            split=_LATE,
        ),
        lines(
            "Missed ticks",
            "Ticks per second, for the ten hosts with the greatest delay.",
            "agent",
            avg("agent.tick.missed.count_per_s"),
            split=_LATE,
            coloured=False,  # a threshold at any missed tick would be drawn on the axis
        ),
        lines(
            "Clock against Elasticsearch",
            "How far the host's clock is ahead of Elasticsearch's, for the ten hosts with the highest value.",
            "agent",
            avg("agent.clock.skew.ms"),
            split=_WORST,
        ),
    ),
)

_READ = (
    *("cpu", "load", "memory", "vmstat", "pressure", "softirqs", "kernel", "uptime", "clock"),
    *("disk", "filesystem", "raid", "hardware", "network", "addresses", "protocols", "conntrack", "storage_clients"),
)
_ONCE_A_MINUTE = ("processes", "systemd", "sensors")


def _collectors(title: str, help_: str, names: Sequence[str]) -> Panel:
    metrics = [avg(f"agent.collectors.{name}.us", name.replace("_", " ")) for name in names]
    return lines(title, f"{help_} Mean over hosts.", "agent", *metrics)


def _slowest(title: str, collector: str, help_: str = "") -> Panel:
    """The hosts on which a collector takes longest, for collectors whose cost grows with the number of containers and processes."""
    said = f"{help_}For the ten hosts with the highest value."
    return lines(title, said, "agent", avg(f"agent.collectors.{collector}.us"), split=_WORST)


_COLLECTORS = Row(
    "Cost per collector",
    (
        _collectors("Time of the host's collectors", "CPU, memory, kernel.", _READ[:9]),
        _collectors("Time of the collectors of devices", "Disks, filesystems, network.", _READ[9:]),
        _collectors(
            "Time of the other collectors",
            "Cgroups, the kernel's log, and the sources of own metrics.",
            ("cgroup", "kernel_log", "metrics"),
        ),
        _collectors("Time of the slow collectors", "Read once a minute.", _ONCE_A_MINUTE),
        _slowest("Time of the cgroup collector", "cgroup"),
        _slowest("Time of the processes collector", "processes", "Read once a minute. "),
    ),
    collapsed=True,
)

_TROUBLE = Row(
    "Problems",
    (
        table(
            "Shippers by waiting documents",
            "One row per host; highest values in the time range.",
            "agent",
            Split(HOST, 300),
            most("agent.ledger.spooled.count", "waiting"),
            most("agent.spool.bytes", "spool"),
            most("agent.ledger.rejected.count", "rejected"),
            most("agent.ledger.dropped.count", "dropped"),
            most("agent.delivery.twins.count", "twins"),
            most("agent.problems.count", "unreadable"),
            most(TIME, "last seen"),
            width=24,
            height=10,
        ),
        table(
            "Versions in the fleet",
            "Versions, and the number of hosts that run each.",
            "agent",
            Split("agent.version", 25, unique(HOST, "hosts")),
            unique(HOST, "hosts"),
            most(TIME, "last seen"),
            height=6,
        ),
        table(
            "Unsynchronised clocks",
            "Hosts whose clock is not synchronised, and the number of periods.",
            "host",
            Split(HOST, 25, count("periods")),
            count("periods"),
            most(TIME, "last"),
            where=(one_of("system.clock.synchronised", "false"),),
            height=6,
        ),
        table(
            "Spool errors",
            "Errors of writing to or reading from the spool, with the number of periods and hosts.",
            "agent",
            Split("agent.spool.trouble", 25, count("periods")),
            count("periods"),
            unique(HOST, "hosts"),
            most(TIME, "last"),
            where=(exists("agent.spool.trouble"),),
            height=6,
        ),
        table(
            "Delivery errors",
            "Why the last request failed, with the number of periods and hosts.",
            "agent",
            Split("agent.delivery.trouble", 25, count("periods")),
            count("periods"),
            unique(HOST, "hosts"),
            most(TIME, "last"),
            where=(exists("agent.delivery.trouble"),),
            height=6,
        ),
        table(
            "Rejected documents",
            "Documents in rejected.ndjson: number, status and error type.",
            "agent",
            Split("agent.ledger.rejected.reasons", 25, unique(HOST, "hosts")),
            unique(HOST, "hosts"),
            most(TIME, "last"),
            where=(exists("agent.ledger.rejected.reasons"),),
            height=6,
        ),
        table(
            "Files that cannot be read",
            "The first 20 of each host, with the reason.",
            "agent",
            Split("agent.problems.files", 25, unique(HOST, "hosts")),
            unique(HOST, "hosts"),
            most(TIME, "last"),
            where=(exists("agent.problems.files"),),
            height=6,
        ),
        table(
            "Collectors that fail",
            "Collectors that failed, with the error.",
            "agent",
            Split("agent.collectors.failed", 25, unique(HOST, "hosts")),
            unique(HOST, "hosts"),
            most(TIME, "last"),
            where=(exists("agent.collectors.failed"),),
            width=24,
            height=6,
        ),
    ),
)

BOARD = Board(
    "shipper-agents",
    "Shipper",
    "Ledger, lag, cost, versions and clocks: whether the numbers can be trusted.",
    (NAMESPACE, CLUSTER, HOSTS),
    (_NOW, _LEDGER, _COST, _TROUBLE, _COLLECTORS),
    (BOOT_MARK, SHIPPER_MARK),
)
