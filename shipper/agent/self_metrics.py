"""The values of the agent document: ledger, durations, cost, and what could not be read."""

import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shipper import __version__
from shipper.base.log import Log
from shipper.base.tick_times import timestamp
from shipper.deliver.ledger import DeliveryState, Ledger
from shipper.fields.rates import Value
from shipper.kernel.parse import integer
from shipper.kernel.source import Descriptors, Problem, Reader, Root
from shipper.schema.agent_fields import LISTED_AT_MOST

_PAGE: Final = resource.getpagesize()


@dataclass
class Report:
    """What one tick reports about itself. ``problems``: by collector; ``absent``: what, and why."""

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


class SelfMetrics:
    """Creates the values of the agent document."""

    def __init__(self, ledger: Ledger | None, delivery: DeliveryState | None, out: Log | None = None) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._log = out
        self._own = Reader(Root("/", Descriptors(1)))  # its own /proc/self: the host's /proc may not show this process

    @property
    def keeps(self) -> bool:
        """Whether documents are kept in a spool; otherwise collectors keep nothing in its directory either."""
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
            **({"agent.server.findings": findings} if (findings := self._findings()) else {}),
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
        latency_ms, state.latency_ms = state.latency_ms, None
        if latency_ms is not None:
            values["agent.delivery.latency.ms"] = latency_ms
        if state.resting:
            values["agent.delivery.resting"] = [f"{index}: {why}" for index, why in state.resting.items()]
        if state.skew_ms is not None:
            values["agent.clock.skew.ms"] = state.skew_ms
        return values | ({"agent.delivery.trouble": state.trouble} if state.trouble else {})


def _lists(report: Report) -> Mapping[str, Value]:
    lists: dict[str, list[str]] = {
        "agent.problems.files": [
            f"{problem.file}: {problem.reason}" for _, problem in report.problems[:LISTED_AT_MOST]
        ],
        "agent.absent.what": [f"{what}: {why}" for what, why in report.absent.items()][:LISTED_AT_MOST],
        "agent.collectors.failed": [f"{name}: {error}" for name, error in report.failed.items()],
        "agent.collectors.stuck": report.stuck,
    }
    return {name: values for name, values in lists.items() if values}
