"""A line whose documents are judged by the alert rules; ticks are 20 s apart, but only for its clock and documents."""

import time
from dataclasses import replace

import pytest
import shipper_eslocal
from fault import line as fault_line
from fault.line import Line

from shipper.deliver import client
from shipper.kernel.source import Root
from shipper.settings.config import Config
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.check import Checked, check
from shipper.view.alerts.model import Found
from shipper.view.why.explain import Explanation, explain

STEP_MS = 20_000
MINUTE = 3  # ticks
NOW_MS = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
UNCHANGED = Adjustments()


class Clock:
    """Time that the tests add to the kernel's clock."""

    passed_ns = 0


CLOCK = Clock()


class Judged:
    """A line whose documents are judged: ``run`` makes ticks, ``alerts`` judges the last tick."""

    def __init__(self, es: shipper_eslocal.Cluster, config: Config, begin_ms: int = NOW_MS) -> None:
        self._es, self.config = es, config
        self.begin_ms = self.next_ms = begin_ms
        self.line = Line(config)
        self.line._ticker.prime()

    @property
    def now_ms(self) -> int:
        return self.next_ms - STEP_MS

    def run(self, ticks: int, *, deliver: bool = True) -> None:
        for _ in range(ticks):
            CLOCK.passed_ns += STEP_MS * 1_000_000
            self.line.tick(self.next_ms)
            self.next_ms += STEP_MS
        if deliver:
            self.line.drain()

    def checked(self, at_ms: int = 0) -> Checked:
        self._es.request("POST", f"/metrics-shipper.*-{self.config.index.namespace}/_refresh")
        with client.connect(self._reader()) as connection:
            return check(connection, self.config.index, at_ms or self.now_ms, UNCHANGED)

    def _reader(self) -> Config:
        """Past the proxy that the agent may have before the server."""
        return replace(self.config, elasticsearch=replace(self.config.elasticsearch, hosts=(self._es.url,)))

    def why(self, name: str, first_ms: int) -> Explanation:
        """Why ``name`` is slow, from ``first_ms`` to the last tick."""
        with client.connect(self._reader()) as connection:
            return explain(connection, self.config.index, name, first_ms, self.now_ms)

    def alerts(self, at_ms: int = 0) -> dict[tuple[str, str], Found]:
        """The alerts by rule and entity."""
        return {(alert.rule.name, alert.who): alert for alert in self.checked(at_ms).alerts}


def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the agents' period, and add the time of the ticks to their clock."""
    real = Root.now_ns
    monkeypatch.setattr(fault_line, "PERIOD_MS", STEP_MS)
    CLOCK.passed_ns = 0
    monkeypatch.setattr(Root, "now_ns", lambda self: real(self) + CLOCK.passed_ns)
