"""The agent document: the ledger of all documents, durations, cost, and what could not be read."""

import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shipper import __version__
from shipper.base.log import Log
from shipper.base.tick_times import timestamp
from shipper.collect import COLLECTORS
from shipper.deliver.ledger import DeliveryState, Ledger
from shipper.fields.field import Field, Kind, Type, attribute, counter, cpu_time, gauge
from shipper.fields.rates import Value
from shipper.kernel.parse import integer
from shipper.kernel.source import Problem, Reader, Root

DATASET: Final = "agent"
_LEDGER: Final = "documents since the ledger was made"
_FILES_MOST: Final = 20
_PAGE: Final = resource.getpagesize()

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
    attribute("agent.problems.files", f"Those files and why, the first {_FILES_MOST}", "tick"),
    gauge("agent.absent.count", "count", "Groups of fields that are absent here for good", "tick"),
    attribute("agent.absent.what", f"Those and why, the first {_FILES_MOST}", "tick"),
    attribute("agent.collectors.failed", "Collectors that raised, and the error", "tick"),
    attribute("agent.collectors.stuck", "Collectors that were over their deadline", "tick"),
    attribute("agent.server.findings", "What is wrong on the server: templates, rights, clock", "inspection"),
    *(
        gauge(f"agent.collectors.{one.name}.us", "us", f"Time of the {one.name} collector", "tick")
        for one in COLLECTORS
    ),
)  # fmt: skip


@dataclass
class Report:
    """What one tick tells about itself. ``problems``: by collector; ``absent``: what, and why."""

    period_ms: int
    delay_us: int = 0
    previous_us: int = 0
    ticks: int = 0
    missed: int = 0
    stepped_ms: int = 0
    durations_us: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, Problem]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)


class Agent:
    """Makes the agent document's values."""

    def __init__(self, ledger: Ledger | None, delivery: DeliveryState | None, out: Log | None = None) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._log = out
        self._own = Reader(Root("/"))  # its own /proc/self, not the host's: in there it may have no number

    @property
    def keeps(self) -> bool:
        """Whether documents are kept in a spool; else collectors keep nothing in its directory either."""
        return self._ledger is not None

    def values(self, report: Report) -> dict[str, Value]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        rss = self._own.parse("proc/self/statm", lambda text: integer(text.split()[1]) * _PAGE)
        return {
            "agent.version": __version__,
            "agent.period.ms": report.period_ms,
            **self._ledger_values(),
            **self._delivery_values(),
            **({"agent.log.dropped.count": self._log.dropped} if self._log else {}),
            **({"agent.clock.step.ms": report.stepped_ms} if report.stepped_ms else {}),
            "agent.tick.duration.us": report.previous_us,
            "agent.tick.delay.us": report.delay_us,
            "agent.tick.count": report.ticks,
            "agent.tick.missed.count": report.missed,
            "agent.cpu.ns": int((usage.ru_utime + usage.ru_stime) * 1e9),
            **({"agent.memory.rss.bytes": rss} if rss else {}),
            "agent.problems.count": len(report.problems),
            **({"agent.server.findings": found} if (found := self._findings()) else {}),
            "agent.absent.count": len(report.absent),
            **_lists(report),
            **{f"agent.collectors.{name}.us": duration for name, duration in report.durations_us.items()},
        }

    def _findings(self) -> list[str]:
        return self._delivery.findings if self._delivery else []

    def _ledger_values(self) -> dict[str, Value]:
        if self._ledger is None:
            return {}
        with self._ledger.lock:
            counts, spooled, size = self._ledger.counts, self._ledger.spooled, self._ledger.spool.size
            values: dict[str, Value] = {
                "agent.ledger.collected.count": counts.collected,
                "agent.ledger.stored.count": counts.stored,
                "agent.ledger.late.count": counts.late,
                "agent.ledger.rejected.count": counts.rejected,
                "agent.ledger.dropped.count": counts.dropped,
                "agent.ledger.duplicate.count": counts.duplicate,
                "agent.ledger.spooled.count": spooled,
                "agent.spool.bytes": size,
            }
            if self._ledger.since_ms:
                values["agent.ledger.since"] = timestamp(self._ledger.since_ms)
            if self._ledger.trouble:
                values["agent.spool.trouble"] = self._ledger.trouble
            if self._ledger.reasons:
                values["agent.ledger.rejected.reasons"] = self._ledger.rejected_for()
            return values

    def _delivery_values(self) -> dict[str, Value]:
        state = self._delivery
        if state is None:
            return {}
        values: dict[str, Value] = {
            "agent.delivery.reachable": state.reachable,
            "agent.delivery.circuit": state.circuit,
            "agent.delivery.requests.count": state.requests,
            "agent.delivery.failures.count": state.failures,
            "agent.delivery.bytes": state.bytes,
            "agent.delivery.twins.count": state.twins,
            "agent.delivery.restarts.count": state.restarts,
        }
        if state.resting:
            values["agent.delivery.resting"] = [f"{index}: {why}" for index, why in state.resting.items()]
        if state.skew_ms is not None:
            values["agent.clock.skew.ms"] = state.skew_ms
        return values | ({"agent.delivery.trouble": state.trouble} if state.trouble else {})


def _lists(report: Report) -> Mapping[str, Value]:
    lists: dict[str, list[str]] = {
        "agent.problems.files": [f"{one.file}: {one.reason}" for _, one in report.problems[:_FILES_MOST]],
        "agent.absent.what": [f"{what}: {why}" for what, why in report.absent.items()][:_FILES_MOST],
        "agent.collectors.failed": [f"{name}: {error}" for name, error in report.failed.items()],
        "agent.collectors.stuck": report.stuck,
    }
    return {name: found for name, found in lists.items() if found}
