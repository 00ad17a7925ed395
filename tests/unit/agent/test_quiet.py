"""An hour in which all is well: the log says nothing."""

import time
from pathlib import Path
from typing import Any

import pytest

from shipper.agent.loop import Agent
from shipper.base.log import Log
from shipper.settings.config import Collect, Config, Host, Spool

PERIOD_S = 10
TICKS = 3600 // PERIOD_S
SECOND = 1_000_000_000


class Time:
    """The pipeline's time module, with clocks that the test moves."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME
    monotonic_ns = staticmethod(time.monotonic_ns)

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * SECOND

    def time_ns(self) -> int:
        return self.now_ns

    def clock_gettime_ns(self, _clock: int) -> int:
        return self.now_ns - 1_700_000_000 * SECOND


def stored(body: bytes, _shard_s: float) -> Any:
    return {"items": [{"create": {"status": 201}}] * (body.count(b"\n") // 2), "skew_ms": 0}


def test_a_healthy_hour_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Time()
    monkeypatch.setattr("shipper.agent.loop.time", clock)
    config = Config(
        collect=Collect(period_s=PERIOD_S, datasets=("disk", "agent")),
        spool=Spool(directory=str(tmp_path)),
        host=Host(name="quiet", verify=False),
    )
    pipeline = Agent(config, stored, Log(journal=False))
    ticks: list[int] = []
    for _ in range(TICKS):
        clock.now_ns += PERIOD_S * SECOND
        pipeline._tick(ticks.append)
        while pipeline.delivery.step():
            pass
    counts = pipeline.ledger.counts
    assert len(ticks) == TICKS
    assert (counts.stored, pipeline.ledger.spooled) == (counts.collected, 0)
    assert capfd.readouterr().err == ""
