"""The agent's main loop: ticks on aligned seconds, each made into one spool segment, delivered by another thread."""

import os
import select
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from types import FrameType
from typing import Final

import schedule

from shipper.agent import notify, status
from shipper.agent.problems import grouped
from shipper.agent.reload import Reload
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import HostIdentity, Ticker
from shipper.base import log, messages
from shipper.base.tick_times import Clock
from shipper.deliver import replay
from shipper.deliver.bulk import Delivery, Ready, Send
from shipper.deliver.ledger import Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool
from shipper.kernel import hostview
from shipper.kernel.source import Descriptors, Root
from shipper.settings.config import Config

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
RELOAD: Final = (signal.SIGHUP, signal.SIGUSR1)  # at a terminal, HUP ends the process: the terminal was closed
_RELOAD_FLUSH_S: Final = 1.0  # documents that are not sent by then are sent after the reload
_FUTURE_MS: Final = 86_400_000  # servers reject documents further ahead of their clock
_REQUESTS: Final = 2.0  # delivery may make no progress for this many request timeouts


def host(config: Config) -> tuple[Root, HostIdentity]:
    """The host root and the host's identity. Raises HostViewError if the host root does not show the host."""
    root = Root(config.collect.host_root, Descriptors.of_this_process())
    view = hostview.examine(root, config.host.name)
    if config.host.verify:
        hostview.require(view)
    return root, HostIdentity(view.name, view.id, config.host.labels, config.index.label_fields)


def phase_s(identity: HostIdentity, config: Config) -> float:
    """When in the first half of its period this host sends. All hosts of a fleet tick at the same time and share one
    server.
    """
    part = zlib.crc32(f"{identity.id} {identity.name}".encode("utf-8", "backslashreplace")) / (1 << 32)
    return part * config.collect.period_s / 2


class _Alarm:
    """Wakes the main thread, also from a signal handler, where waiting on an Event could deadlock."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def set(self) -> None:
        os.eventfd_write(self._fd, 1)

    def wait(self, seconds: float) -> None:
        self._poll.poll(max(seconds, 0.0) * 1000)
        with suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def __del__(self) -> None:
        os.close(self._fd)


class Agent:
    """Collects into the spool and delivers from it until it is stopped. ``reload``: it ended in order to restart."""

    def __init__(
        self, config: Config, send: Send, out: log.Log, ready: Ready = str, reload: Callable[[], Reload] = Reload
    ) -> None:
        """``reload`` is called at a signal of RELOAD: whether the configuration, as it would be read now, is valid."""
        self._config = config
        self._examine_reload = reload
        self._new_spool = ""
        self._log = out
        root, self.identity = host(config)
        self.ledger = Ledger.load(Spool(config.spool.directory, config.spool.max_bytes))
        phase = phase_s(self.identity, config)
        self.delivery = Delivery(self.ledger, send, config.bulk, out, ready, phase_s=phase, on_idle=self._delivered)
        self._status = status.Status(self.ledger, self.delivery.state, config.collect.period_s * 1000)
        self._publishing = threading.Lock()
        self._is_published = True  # since the last tick
        self._ticker = Ticker(config, root, self.identity, SelfMetrics(self.ledger, self.delivery.state, out))
        self._clock = Clock(config.collect.period_s * 1000, self.ledger.used)
        self._alarm = _Alarm()
        self._stopping = self._asked_to_reload = self.reload = False
        self._ticks = self._previous_us = 0
        self._began_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        self._tell_start()

    def run(self, after_tick: Callable[[int], None] = lambda _tick_ms: None) -> None:
        """Tick until a signal, or for the configured number of ticks, then flush. ``after_tick`` gets the time of each
        tick in ms.
        """
        former = {number: signal.signal(number, self._stop) for number in (*SIGNALS, *RELOAD)}
        self.delivery.start()
        try:
            self._publish()  # an existing file is of another run
            self._ticker.prime()
            notify.tell(notify.READY, notify.status("collecting"))
            self._loop(after_tick)
        finally:
            self._end()
            for number, handler in former.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        self._stopping = True
        self._alarm.set()

    def _delivered(self) -> None:
        """In the thread of delivery: to wake the main thread for this would cost more than the file."""
        if not self._stopping:  # else the main thread writes the last one
            self._publish(self.ledger.spool.on_disk_later)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if number in RELOAD and not (number == signal.SIGHUP and sys.stdin and sys.stdin.isatty()):
            self._asked_to_reload = True
        else:
            self._stopping, self.reload = True, False
        self._alarm.set()

    def _consider_reload(self) -> None:
        self._asked_to_reload = False
        plan = self._examine_reload()
        if plan.fault:
            self._log.line(messages.NOT_RELOADED, fault=plan.fault)
        elif not self._stopping:
            self._log.line(messages.RELOADING)
            self._new_spool = plan.spool
            self.reload = self._stopping = True

    def _end(self) -> None:
        if self.reload:
            notify.reloading()
            self.delivery.stop(self._config.spool.flush_s if self._new_spool else _RELOAD_FLUSH_S)
        if self.reload:  # still: a signal to stop may come at any moment
            self._close()
        if self.reload:
            self._tell_left_behind()
            return
        notify.tell(notify.STOPPING, notify.status("sending the remaining documents"))
        self._say_goodbye()
        self.delivery.stop(self._config.spool.flush_s)
        self._close()
        self._publish(stopped=True)
        if self.ledger.spooled:
            self._log.line(messages.STOPPED, count=self.ledger.spooled)

    def _say_goodbye(self) -> None:
        """Spool a last document, so that a stopped agent is not mistaken for a host that is down."""
        if not self._ticks:
            return
        tick_ms = self.ledger.used.last_ms + 1
        self._spool(tick_ms, self._ticker.goodbye(tick_ms, self._report()))

    def _close(self) -> None:
        lost = self.ledger.close()
        if lost:
            why = self.ledger.trouble or "the disk accepted none of them"
            self._log.line(messages.LOST_AT_STOP, count=lost, why=why)

    def _tell_left_behind(self) -> None:
        left, old = self.ledger.spooled, self._config.spool.directory
        if self._new_spool and left:
            self._log.line(messages.LEFT_BEHIND, count=left, directory=old)

    def _loop(self, after_tick: Callable[[int], None]) -> None:
        period_s = self._config.collect.period_s
        scheduler = schedule.Scheduler()
        job = scheduler.every(period_s).seconds.do(self._tick, after_tick)
        job.next_run = _aligned_after(time.time(), period_s)
        while not self._stopping:
            now_s = time.time()
            if job.should_run or (scheduler.idle_seconds or 0.0) > 2 * period_s:  # it is due, or the clock was set back
                scheduler.run_pending()
                job.next_run = _aligned_after(now_s, period_s)  # the job itself adds the period to the time of its end
            if not self._enough():
                self._alarm.wait(scheduler.idle_seconds or 0.0)
            if self._asked_to_reload:
                self._consider_reload()

    def _enough(self) -> bool:
        wanted = self._config.collect.ticks
        if wanted and self._ticks >= wanted:
            self._stopping = True
        return self._stopping

    def _tick(self, after_tick: Callable[[int], None]) -> None:
        if self._enough():
            return
        now_ns = time.time_ns()
        tick_ms = self._clock.choose(now_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if not tick_ms:
            return  # several missed times become due at once
        began_ns = time.monotonic_ns()
        self._ticks += 1
        report = self._report(delay_us=max(0, now_ns // 1000 - tick_ms * 1000), stepped_ms=self._clock.stepped_ms)
        try:
            entries = self._ticker.tick(tick_ms, report)
        except Exception as error:  # noqa: BLE001 – one tick is lost, and the watchdog hears nothing of it
            self.ledger.used.note(tick_ms)
            self._log.once(messages.TICK_FAILED, f"tick {error!r}", error=repr(error))
            return
        self._spool(tick_ms, entries)
        self.delivery.wake()
        self._tell(tick_ms, report)
        self._previous_us = (time.monotonic_ns() - began_ns) // 1000
        after_tick(tick_ms)

    def _report(self, *, delay_us: int = 0, stepped_ms: int = 0) -> Report:
        return Report(self._clock.period_ms, delay_us, self._previous_us, self._ticks, self._clock.missed, stepped_ms)

    def _spool(self, tick_ms: int, entries: list[Entry]) -> None:
        dropped = self.ledger.counts.dropped
        oldest_ms, old_run = self._oldest()
        self.ledger.put(tick_ms, entries, oldest_ms, old_run=old_run)
        self.ledger.look_again()
        lost = self.ledger.counts.dropped - dropped
        if lost > 0:
            why = self.ledger.trouble or "the spool is full, or the documents were too old, or their files were removed"
            self._log.once(messages.DROPPED, "dropped", count=lost, why=why)
        for problem in replay.take(self.ledger):
            self._log.once(messages.REPLAY, problem, problem=problem)

    def _oldest(self) -> tuple[int, bool]:
        """The time before which documents are dropped for their age, and whether those of this run can be that old.

        This host's clock cannot tell their age: at boot it may be years off. The server's clock can, once it is known;
        until then the oldest documents are dropped only when the spool is full.
        """
        boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        max_age_ms = self._config.spool.max_age_s * 1000
        server_ms = self.delivery.state.server_ms
        if server_ms is None:
            return 0, False
        if self.ledger.used.forget_future(server_ms + boot_ms + _FUTURE_MS):
            self._log.line(messages.FUTURE_TICK)
        return server_ms + boot_ms - max_age_ms, boot_ms - self._began_ms > max_age_ms

    def _tell_start(self) -> None:
        for name, why in self.ledger.spool.damaged.items():
            self._log.line(messages.DAMAGED, name=name, why=why)
        if self.ledger.unreadable:
            self._log.line(messages.LEDGER_UNUSABLE, why=self.ledger.unreadable)
        if self.ledger.spool.unread:
            name, why = next(iter(self.ledger.spool.unread.items()))
            count = len(self.ledger.spool.unread)
            self._log.line(messages.UNREADABLE, count=count, name=name, why=why)
        if self.ledger.recovered > 0:
            self._log.line(messages.RECOVERED, count=self.ledger.recovered)
        watchdog_s = notify.watchdog_s()
        if 0 < watchdog_s < 2 * self._config.collect.period_s:
            self._log.line(messages.WATCHDOG_SHORT, watchdog=f"{watchdog_s:g}")

    def _tell(self, tick_ms: int, report: Report) -> None:
        for name, error in report.failed.items():
            self._log.once(messages.COLLECTOR_FAILED, f"collector {name} {error[:40]}", name=name, error=error)
        for name in report.stuck:
            deadline_s = self._config.collect.deadline_s
            self._log.once(messages.COLLECTOR_SLOW, f"stuck {name}", name=name, deadline=deadline_s)
        for cause, text in grouped(problem for _, problem in report.problems):
            self._log.once(messages.NOT_READ, cause, text=text)
        if self.ledger.trouble:
            self._log.once(messages.DISK_REFUSES, "spool", trouble=self.ledger.trouble)
        elif self._log.over("spool"):
            self._log.line(messages.DISK_ACCEPTS)
        if report.stepped_ms:
            way = "forward" if report.stepped_ms > 0 else "back"
            seconds = abs(report.stepped_ms) / 1000
            self._log.once(messages.CLOCK_JUMPED, f"clock {way}", way=way, seconds=f"{seconds:g}")
        self._status.tick(tick_ms, report)
        if not self._is_published or report.ticks == 1:
            self._publish()
        self._is_published = False
        self._keep_alive(self._status.equation())

    def _publish(self, on_disk: Callable[[Callable[[], None]], None] | None = None, *, stopped: bool = False) -> None:
        """Write status.json. Once per tick is enough: when its documents are sent, or could not be; at the latest
        after the next tick.
        """

        def write() -> None:
            if self.ledger.spool.elsewhere():
                self._log.once(messages.ELSEWHERE, "elsewhere", directory=self._config.spool.directory)
            status.write(self._config.spool.directory, content)

        with self._publishing, suppress(OSError):
            self._is_published = True
            content = self._status.now(stopped=stopped)
            (on_disk or self.ledger.spool.on_disk)(write)

    def _keep_alive(self, words: str) -> None:
        """Notify the watchdog while both loops are alive: ticks are made, and delivery is idle or makes progress."""
        self.delivery.revive()
        limit_s = _REQUESTS * self._config.elasticsearch.timeout_s
        if why := self.delivery.why_stalled(limit_s):
            self._log.once(messages.DELIVERY_STALLED, f"delivery {why}", why=why)
        else:
            notify.tell(notify.WATCHDOG, notify.status(words))


def _aligned_after(now_s: float, period_s: int) -> datetime:
    """The next aligned time, as ``schedule`` compares it. Periods divide an hour, so it is the same in every hour."""
    return datetime.fromtimestamp((now_s // period_s + 1) * period_s)  # noqa: DTZ006


def use_utc() -> None:
    """Set the time zone to UTC: ``schedule`` uses local time and would pause for the hour that daylight saving time
    repeats.
    """
    os.environ["TZ"] = "UTC"
    time.tzset()
