"""The fields of the agent document. ``agent.self_metrics`` fills them."""

from typing import Final

from shipper.collect import COLLECTORS
from shipper.fields.field import Field, Kind, Type, attribute, counter, cpu_time, gauge

LISTED_AT_MOST: Final = 20
_LEDGER: Final = "documents since the ledger was created"

FIELDS: Final[tuple[Field, ...]] = (
    attribute("agent.version", "Version of the shipper", "shipper/__init__.py"),
    attribute("agent.detail", "Which fields its documents have: all (full), or those that are in use (lean)", "configuration: collect.detail"),
    attribute("agent.stopped", "True in the last document before a clean stop, 1 ms after the last tick; else absent", "loop", Type.BOOLEAN),
    gauge("agent.period.ms", "ms", "Time between ticks", "configuration: collect.period"),
    counter("agent.ledger.collected.count", "count", f"Collected: {_LEDGER}", "ledger"),
    counter("agent.ledger.stored.count", "count", f"Stored in their stream: {_LEDGER}", "ledger"),
    counter("agent.ledger.late.count", "count", f"Stored in the late stream: {_LEDGER}", "ledger"),
    counter("agent.ledger.rejected.count", "count", f"Rejected by the server, kept on disk: {_LEDGER}", "ledger"),
    counter("agent.ledger.dropped.count", "count", f"Lost, because the spool was full or the disk was damaged: {_LEDGER}", "ledger"),
    counter("agent.ledger.duplicate.count", "count", f"Resent documents that the server had already stored: {_LEDGER}", "ledger"),
    attribute("agent.ledger.since", "When the ledger was created; earlier documents are not counted", "ledger", Type.DATE),
    attribute("agent.ledger.rejected.reasons", "Rejected documents on disk: count, status and error type", "ledger"),
    gauge("agent.ledger.spooled.count", "count", "Waiting in the spool", "ledger"),
    gauge("agent.spool.bytes", "bytes", "Size of the documents in the spool", "spool"),
    attribute("agent.spool.trouble", "Why the disk accepts no documents", "spool"),
    attribute("agent.delivery.reachable", "The last request to Elasticsearch succeeded", "delivery", Type.BOOLEAN),
    attribute("agent.delivery.trouble", "Why the last request failed", "delivery"),
    attribute("agent.delivery.circuit", "closed (sends), open (waits before the next attempt) or half-open (tries)", "delivery"),
    counter("agent.delivery.requests.count", "count", "Bulk requests", "delivery"),
    counter("agent.delivery.failures.count", "count", "Bulk requests that failed as a whole", "delivery"),
    counter("agent.delivery.bytes", "bytes", "Size of bulk request bodies before compression", "delivery"),
    gauge("agent.delivery.latency.ms", "ms", "Time from a bulk request to its response: the longest since the previous document; absent if there was none", "delivery"),
    counter("agent.delivery.restarts.count", "count", "Times that the delivery thread ended and was restarted", "delivery"),
    attribute("agent.delivery.resting", "Indices that accept no documents, and why", "delivery"),
    counter("agent.log.dropped.count", "count", "Log lines that standard error did not accept at once", "log"),
    gauge("agent.delivery.twins.count", "count", "Documents that existed before they were first sent", "delivery"),
    gauge("agent.clock.skew.ms", "ms", "This host's clock minus the server's; absent if the server does not report its time", "delivery"),
    gauge("agent.clock.step.ms", "ms", "Step of this host's clock since the previous tick", "clock"),
    gauge("agent.tick.duration.us", "us", "Time that the previous tick took, from reading the kernel files to spooling the documents", "tick"),
    gauge("agent.tick.delay.us", "us", "How long after its aligned time this tick started", "tick"),
    counter("agent.tick.count", "count", "Ticks since the agent started", "tick"),
    counter("agent.tick.missed.count", "count", "Aligned times that passed without a tick", "tick"),
    cpu_time("agent.cpu.ns", "CPU time that the agent used", "getrusage"),
    gauge("agent.memory.rss.bytes", "bytes", "Resident memory of the agent", "proc/self/statm 2nd"),
    Field("agent.problems.count", Type.LONG, Kind.GAUGE, "count", "Files that could not be read or parsed", "tick"),
    attribute("agent.problems.files", f"Those files and the reasons, the first {LISTED_AT_MOST}", "tick"),
    gauge("agent.absent.count", "count", "Groups of fields that this host does not provide", "tick"),
    attribute("agent.absent.what", f"Those groups and the reasons, the first {LISTED_AT_MOST}", "tick"),
    attribute("agent.collectors.failed", "Collectors that failed, and the error", "tick"),
    attribute("agent.collectors.stuck", "Collectors that exceeded their deadline", "tick"),
    attribute("agent.server.findings", "What is wrong on the server: templates, privileges, clock", "inspection"),
    *(
        gauge(
            f"agent.collectors.{collector.name}.us",
            "us",
            f"Time of the {collector.name} collector{'; read once a minute' if collector.every_s else ''}",
            "tick",
        )
        for collector in COLLECTORS
    ),
)  # fmt: skip
