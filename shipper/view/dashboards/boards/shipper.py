"""The shipper itself: whether every document is where it belongs, and what that costs."""

from shipper.view.dashboards.boards.common import BOOT_MARK
from shipper.view.dashboards.model import (
    CLUSTER,
    HOST,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Row,
    Split,
    avg,
    count,
    lines,
    most,
    one_of,
    stat,
    table,
    total,
    unique,
)

_WORST = Split(HOST, 10)

_NOW = Row(
    "Now",
    (
        stat(
            "Shippers",
            "Hosts whose shipper sent its own document: in the last two minutes of the range, and in all of it.",
            "agent",
            unique(HOST, "up", recent=True),
            unique(HOST, "seen"),
        ),
        stat("Versions", "Different versions in the fleet.", "agent", unique("agent.version", "versions")),
        stat("Waiting", "Documents on disk, the most that one host had.", "agent", most("agent.ledger.spooled.count")),
        stat(
            "Rejected",
            "Documents that Elasticsearch refused, since the start of the shipper that has most.",
            "agent",
            most("agent.ledger.rejected.count"),
        ),
        stat(
            "Dropped",
            "Documents given up because the spool was full, since the start of the shipper that has most.",
            "agent",
            most("agent.ledger.dropped.count"),
        ),
        stat("Files not readable", "The most that one host had.", "agent", most("agent.problems.count")),
    ),
)

_LEDGER = Row(
    "Ledger: collected = stored + late + spooled + rejected + dropped",
    (
        lines(
            "Ledger",
            "Documents per second, all hosts.",
            "agent",
            total("agent.ledger.collected.count_per_s", "collected"),
            total("agent.ledger.stored.count_per_s", "stored"),
            total("agent.ledger.late.count_per_s", "stored late"),
            total("agent.ledger.rejected.count_per_s", "rejected"),
            total("agent.ledger.dropped.count_per_s", "dropped"),
        ),
        lines(
            "Documents on disk",
            "Not yet stored, the hosts with most.",
            "agent",
            avg("agent.ledger.spooled.count"),
            split=_WORST,
        ),
        lines("Spool", "Bytes on disk, the hosts with most.", "agent", avg("agent.spool.bytes"), split=_WORST),
        lines(
            "Requests",
            "Bulk requests per second, all hosts.",
            "agent",
            total("agent.delivery.requests.count_per_s", "sent"),
            total("agent.delivery.failures.count_per_s", "failed"),
        ),
        lines("Bytes to Elasticsearch", "Per second, all hosts.", "agent", total("agent.delivery.bytes_per_s", "sent")),
        lines(
            "Twins",
            "Documents that were there already on their first send: someone else ships under the same name.",
            "agent",
            most("agent.delivery.twins.count"),
            split=_WORST,
        ),
    ),
)

_COST = Row(
    "Cost",
    (
        lines(
            "CPU of the shipper", "Share of one CPU, the hosts with most.", "agent", avg("agent.cpu.pct"), split=_WORST
        ),
        lines(
            "Memory of the shipper",
            "Resident, the hosts with most.",
            "agent",
            avg("agent.memory.rss.bytes"),
            split=_WORST,
        ),
        lines(
            "Duration of a tick",
            "To read, make and spool all documents, the hosts with most.",
            "agent",
            avg("agent.tick.duration.us"),
            split=_WORST,
        ),
        lines(
            "Delay of a tick",
            "How long after its aligned time it began.",
            "agent",
            avg("agent.tick.delay.us"),
            split=_WORST,
        ),
        lines("Missed ticks", "Per second.", "agent", avg("agent.tick.missed.count_per_s"), split=_WORST),
        lines(
            "Clock against Elasticsearch",
            "How far the host's clock is ahead.",
            "agent",
            avg("agent.clock.skew.ms"),
            split=_WORST,
        ),
    ),
)

_TROUBLE = Row(
    "Trouble",
    (
        table(
            "Shippers by waiting documents",
            "One row a host; most over the time range.",
            "agent",
            Split(HOST, 300),
            most("agent.ledger.spooled.count", "waiting"),
            most("agent.spool.bytes", "spool"),
            most("agent.ledger.rejected.count", "rejected"),
            most("agent.ledger.dropped.count", "dropped"),
            most(TIME, "last seen"),
            width=16,
            height=10,
        ),
        table(
            "Versions in the fleet",
            "And on how many hosts.",
            "agent",
            Split("agent.version", 25, unique(HOST, "hosts")),
            unique(HOST, "hosts"),
            most(TIME, "last seen"),
            width=8,
            height=10,
        ),
        table(
            "Clock in trouble",
            "Hosts whose clock is not synchronised, and in how many periods.",
            "host",
            Split(HOST, 25, count("periods")),
            count("periods"),
            most(TIME, "last"),
            where=(one_of("system.clock.synchronised", "false"),),
        ),
        table(
            "Spool in trouble",
            "Hosts that could not write to or read from their spool, and in how many periods.",
            "agent",
            Split("agent.spool.trouble", 25, count("periods")),
            count("periods"),
            unique(HOST, "hosts"),
            most(TIME, "last"),
        ),
    ),
)

BOARD = Board(
    "shipper-agents",
    "Shipper",
    "Is every document where it belongs, on time, and at what cost?",
    (NAMESPACE, CLUSTER, HOSTS),
    (_NOW, _LEDGER, _COST, _TROUBLE),
    (BOOT_MARK,),
)
