"""The agent's main loop: ticks on aligned seconds, each made into one spool segment, delivered by another thread."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

import schedule

from shipper import hostview, log
from shipper.agent import Agent, Report
from shipper.bulk import Delivery, Send
from shipper.config import Config
from shipper.ledger import Ledger
from shipper.source import Descriptors, Root
from shipper.spool import Spool
from shipper.tick import Identity, Ticker

_MINUTE: Final = 60
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def host(config: Config) -> tuple[Root, Identity]:
    """The host root and the host's identity. Raises HostViewError where it is not the host that is seen."""
    root = Root(config.collect.host_root, Descriptors.of_this_process())
    view = hostview.examine(root, config.host.name)
    if config.host.verify:
        hostview.require(view)
    return root, Identity(view.name, view.id, config.host.labels)


@dataclass
class _Clock:
    """Aligned times: every multiple of the period since 1970 in UTC."""

    period_ms: int
    last_ms: int = 0

    def tick_ms(self, now_ns: int) -> int:
        return now_ns // 1_000_000 // self.period_ms * self.period_ms


class Pipeline:
    """Collects into the spool and delivers from it until it is stopped."""

    def __init__(self, config: Config, send: Send, out: log.Log) -> None:
        self._config = config
        self._log = out
        root, self.identity = host(config)
        self.ledger = Ledger.load(Spool(config.spool.directory, config.spool.max_bytes))
        self.delivery = Delivery(self.ledger, send, config.bulk, out)
        self._ticker = Ticker(config, root, self.identity, Agent(self.ledger, self.delivery.state))
        self._clock = _Clock(config.collect.period_s * 1000)
        self._stopping = threading.Event()
        self._ticks = self._missed = self._previous_us = 0
        self._tell_start()

    def run(self, after_tick: Callable[[int], None] = lambda _tick_ms: None) -> None:
        """Tick until a signal or for the configured number of ticks, then flush. ``after_tick`` gets each tick's ms."""
        former = {number: signal.signal(number, self._stop) for number in SIGNALS}
        self.delivery.start()
        try:
            self._ticker.prime()
            self._loop(after_tick)
        finally:
            self.delivery.stop(self._config.spool.flush_s)
            if self.ledger.spooled:
                self._log.line(log.INFO, f"stopped; {self.ledger.spooled} documents wait in the spool")
            for number, handler in former.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        self._stopping.set()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def _loop(self, after_tick: Callable[[int], None]) -> None:
        period_s = self._config.collect.period_s
        scheduler = _scheduler(period_s, lambda: self._tick(after_tick))
        while not self._stopping.is_set():
            scheduler.run_pending()
            idle_s = scheduler.idle_seconds or 0.0
            if idle_s > 2 * period_s:  # the clock was set back
                scheduler = _scheduler(period_s, lambda: self._tick(after_tick))
                idle_s = 0.0
            if not self._enough():
                self._stopping.wait(max(idle_s, 0.0))

    def _enough(self) -> bool:
        wanted = self._config.collect.ticks
        if wanted and self._ticks >= wanted:
            self._stopping.set()
        return self._stopping.is_set()

    def _tick(self, after_tick: Callable[[int], None]) -> None:
        if self._enough():
            return
        now_ns = time.time_ns()
        tick_ms = self._clock.tick_ms(now_ns)
        if tick_ms <= self._clock.last_ms:
            return  # several times that were missed come due at once; or the clock was set back
        if self._clock.last_ms:
            self._missed += (tick_ms - self._clock.last_ms) // self._clock.period_ms - 1
        self._clock.last_ms = tick_ms
        self._ticks += 1
        report = Report(
            period_ms=self._clock.period_ms,
            delay_us=now_ns // 1000 - tick_ms * 1000,
            previous_us=self._previous_us,
            ticks=self._ticks,
            missed=self._missed,
        )
        self.ledger.put(tick_ms, self._ticker.tick(tick_ms, report))
        self.delivery.wake()
        self._tell(report)
        self._previous_us = (time.time_ns() - now_ns) // 1000
        after_tick(tick_ms)

    def _tell_start(self) -> None:
        for name in self.ledger.spool.damaged:
            self._log.line(log.ERROR, f"spool: {name} is not a sound segment, moved to damaged/")
        if self.ledger.recovered > 0:
            self._log.line(log.ERROR, f"spool: {self.ledger.recovered} documents of earlier runs are lost")

    def _tell(self, report: Report) -> None:
        for name, error in report.failed.items():
            self._log.once(log.ERROR, f"collector {name} {error[:40]}", f"collector {name} failed: {error}")
        for name in report.stuck:
            deadline = self._config.collect.deadline_s
            self._log.once(
                log.WARNING, f"stuck {name}", f"collector {name} is over its deadline of {deadline} s, skipped"
            )
        for _, problem in report.problems:
            self._log.once(log.WARNING, problem.file, f"{problem.file}: {problem.reason}; its fields are left out")
        if self.ledger.trouble:
            self._log.once(log.ERROR, "spool", f"spool: {self.ledger.trouble}; documents wait in memory")


def _scheduler(period_s: int, job: Callable[[], None]) -> schedule.Scheduler:
    """One entry per aligned time of the hour: ``every(n)`` would drift by the length of each job."""
    scheduler = schedule.Scheduler()
    if period_s <= _MINUTE:
        for second in range(0, _MINUTE, period_s):
            scheduler.every().minute.at(f":{second:02d}").do(job)
    else:
        for minute in range(0, _MINUTE, period_s // _MINUTE):
            scheduler.every().hour.at(f":{minute:02d}").do(job)
    return scheduler


def use_utc() -> None:
    """``schedule`` counts in local time, and would be silent for the hour that daylight saving time repeats."""
    os.environ["TZ"] = "UTC"
    time.tzset()
