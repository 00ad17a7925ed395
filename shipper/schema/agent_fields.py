"""The fields of the agent document. ``agent.self_metrics`` fills them."""

from typing import Final

from shipper.collect import COLLECTORS
from shipper.fields.field import Field, Kind, Type, attribute, counter, cpu_time, gauge

LISTED_AT_MOST: Final = 20
_LEDGER: Final = "documents since the ledger was made"

FIELDS: Final[tuple[Field, ...]] = (
    attribute("agent.version", "Version of the shipper", "shipper/__init__.py"),
    gauge("agent.period.ms", "ms", "Time from tick to tick", "configuration: collect.period"),
    counter("agent.ledger.collected.count", "count", f"Collected: {_LEDGER}", "ledger"),
    counter("agent.ledger.stored.count", "count", f"Stored in their stream: {_LEDGER}", "ledger"),
    counter("agent.ledger.late.count", "count", f"Stored in the late stream: {_LEDGER}", "ledger"),
    counter("agent.ledger.rejected.count", "count", f"Refused by the server, kept on disk: {_LEDGER}", "ledger"),
    counter("agent.ledger.dropped.count", "count", f"Lost, for lack of room or a damaged disk: {_LEDGER}", "ledger"),
    counter("agent.ledger.duplicate.count", "count", f"Of the stored, there before a resend: {_LEDGER}", "ledger"),
    attribute("agent.ledger.since", "When the ledger was made: what was before is not counted", "ledger", Type.DATE),
    attribute("agent.ledger.rejected.reasons", "Of those on disk: how many, status and error type", "ledger"),
    gauge("agent.ledger.spooled.count", "count", "Waiting in the spool", "ledger"),
    gauge("agent.spool.bytes", "bytes", "Size of the documents in the spool", "spool"),
    attribute("agent.spool.trouble", "Why the disk takes no documents", "spool"),
    attribute("agent.delivery.reachable", "The last request to Elasticsearch succeeded", "delivery", Type.BOOLEAN),
    attribute("agent.delivery.trouble", "Why the last request failed", "delivery"),
    attribute("agent.delivery.circuit", "closed; open: waits before the next attempt; half-open: tries", "delivery"),
    counter("agent.delivery.requests.count", "count", "Bulk requests", "delivery"),
    counter("agent.delivery.failures.count", "count", "Bulk requests that failed as a whole", "delivery"),
    counter("agent.delivery.bytes", "bytes", "Bulk bodies before compression", "delivery"),
    counter("agent.delivery.restarts.count", "count", "Times the delivery thread ended and was restarted", "delivery"),
    attribute("agent.delivery.resting", "Indices that take no documents, and why; the others are sent", "delivery"),
    counter("agent.log.dropped.count", "count", "Log lines that standard error did not take at once", "log"),
    gauge("agent.delivery.twins.count", "count", "Documents that were there before their first send", "delivery"),
    gauge("agent.clock.skew.ms", "ms", "This host's clock less the server's, where the server tells", "delivery"),
    gauge("agent.clock.step.ms", "ms", "How far this host's clock was set since the tick before", "clock"),
    gauge("agent.tick.duration.us", "us", "Time the tick before took to read, make and spool its documents", "tick"),
    gauge("agent.tick.delay.us", "us", "How long after its aligned time this tick began", "tick"),
    counter("agent.tick.count", "count", "Ticks since the agent started", "tick"),
    counter("agent.tick.missed.count", "count", "Aligned times that passed without a tick", "tick"),
    cpu_time("agent.cpu.ns", "CPU time the agent used", "getrusage"),
    gauge("agent.memory.rss.bytes", "bytes", "Resident memory of the agent", "proc/self/statm 2nd"),
    Field("agent.problems.count", Type.LONG, Kind.GAUGE, "count", "Files that could not be read or understood", "tick"),
    attribute("agent.problems.files", f"Those files and why, the first {LISTED_AT_MOST}", "tick"),
    gauge("agent.absent.count", "count", "Groups of fields that are absent here for good", "tick"),
    attribute("agent.absent.what", f"Those and why, the first {LISTED_AT_MOST}", "tick"),
    attribute("agent.collectors.failed", "Collectors that raised, and the error", "tick"),
    attribute("agent.collectors.stuck", "Collectors that were over their deadline", "tick"),
    attribute("agent.server.findings", "What is wrong on the server: templates, rights, clock", "inspection"),
    *(
        gauge(f"agent.collectors.{one.name}.us", "us", f"Time of the {one.name} collector", "tick")
        for one in COLLECTORS
    ),
)  # fmt: skip
