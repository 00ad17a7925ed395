"""Clock steps, suspend and restarts: no time is used twice, nothing is silent, nothing is caught up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.base.tick_times import Clock, Used

PERIOD_S = 10
START_S = 1_795_000_000
HOUR_S = 3600


class Host:
    """A host whose two clocks the test drives; keeps the times of all ticks."""

    def __init__(self) -> None:
        self.wall_s = self.boot_s = START_S
        self.used = Used()
        self.clock = Clock(PERIOD_S * 1000, self.used)
        self.ticks: list[int] = []

    def run(self, seconds: int) -> int:
        """Wake up each second, as the scheduler may; the number of ticks made."""
        before = len(self.ticks)
        for _ in range(seconds):
            self.wall_s += 1
            self.boot_s += 1
            self.wake()
        return len(self.ticks) - before

    def wake(self) -> None:
        tick_ms = self.clock.choose(self.wall_s * 10**9, self.boot_s * 10**9)
        if tick_ms:
            self.used.note(tick_ms)
            self.ticks.append(tick_ms)

    def restart(self) -> None:
        self.clock = Clock(PERIOD_S * 1000, self.used)


def test_one_tick_per_period_on_aligned_times() -> None:
    host = Host()
    host.wake()
    assert host.run(600) == 60
    assert all(tick % (PERIOD_S * 1000) == 0 for tick in host.ticks)
    assert host.clock.missed == 0


def test_an_hour_back_gives_neither_silence_nor_a_time_twice() -> None:
    host = Host()
    host.run(HOUR_S)
    host.wall_s -= HOUR_S
    assert host.run(HOUR_S) >= HOUR_S // PERIOD_S - 1
    assert host.ticks[-1] % 1000 == 1
    host.run(60)
    assert host.ticks[-1] % 1000 == 0  # past the newest time ever used: on the grid again
    assert len(set(host.ticks)) == len(host.ticks)
    assert host.clock.missed == 0


def test_the_step_is_told_once_and_its_size() -> None:
    host = Host()
    host.run(60)
    host.wall_s -= HOUR_S
    steps = []
    for _ in range(30):
        host.run(1)
        steps.append(host.clock.stepped_ms)
    assert min(steps) == -HOUR_S * 1000
    assert host.clock.stepped_ms == 0


def test_back_again_within_the_hour_and_after_a_restart() -> None:
    host = Host()
    host.run(HOUR_S)
    for _ in range(3):
        host.wall_s -= HOUR_S // 2
        host.restart()
        host.run(HOUR_S // 4)
    assert len(set(host.ticks)) == len(host.ticks)
    assert {tick % 1000 for tick in host.ticks} == {0, 1, 2, 3}


def test_a_day_forward_is_one_tick_and_no_storm() -> None:
    host = Host()
    host.run(100)
    host.wall_s += 86_400
    for _ in range(60):
        host.wake()
    assert host.run(100) <= 11
    assert host.clock.missed == 0  # the host was not away


def test_suspend_is_missed_ticks_and_no_step() -> None:
    host = Host()
    host.run(100)
    host.wall_s += HOUR_S
    host.boot_s += HOUR_S
    assert host.run(PERIOD_S - 1) == 1
    assert host.clock.missed == HOUR_S // PERIOD_S - 1
    assert host.clock.stepped_ms == 0


def test_a_leap_second_makes_one_tick() -> None:
    host = Host()
    host.wake()
    host.run(100)
    host.wall_s -= 1
    host.wake()
    host.run(100)
    assert len(set(host.ticks)) == len(host.ticks) == 20


@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(1, 300), st.booleans()), max_size=20))
def test_whatever_is_done_to_the_clock_no_time_comes_twice(steps: list[tuple[int, int, bool]]) -> None:
    host = Host()
    host.run(100)
    for step_s, seconds, restarted in steps:
        host.wall_s += step_s
        if restarted:
            host.restart()
        made = host.run(seconds)
        assert made >= seconds // PERIOD_S - 2
    assert len(set(host.ticks)) == len(host.ticks)


@pytest.mark.parametrize("settled", [0, 1, 2])
def test_used_times_are_found_again_with_the_ledger(tmp_path: object, settled: int) -> None:
    from shipper.deliver.ledger import Fate, Ledger
    from shipper.deliver.segment import Entry
    from shipper.deliver.spool import Spool

    ledger = Ledger.load(Spool(str(tmp_path), 1 << 20))
    for tick_ms in (10_000, 20_000, 11_001):
        ledger.put(tick_ms, [Entry(b"{}", b"{}")])
    for segment in ledger.due()[3 - settled :]:
        ledger.settle({segment.sequence: {0: Fate.STORED}})
    ledger.spool.close()
    assert Ledger.load(Spool(str(tmp_path), 1 << 20)).used == Used(11_001, 20_000, 1)


def test_after_999_steps_back_ticks_go_on() -> None:
    host = Host()
    host.used.high_ms = (host.wall_s + 10 * 365 * 86_400) * 1000  # once, the clock was ten years ahead
    for _ in range(1100):
        host.wall_s -= 60
        assert host.run(PERIOD_S) >= 1
    assert all(1 <= tick % 1000 <= 999 for tick in host.ticks)


@pytest.mark.parametrize("saved", [[10**15, 10**15, 10**9], [0, 10**15, 999, 1], [5], []])
def test_a_crafted_ledger_silences_nobody(saved: list[int]) -> None:
    host = Host()
    host.used = Used.of(saved)
    host.restart()
    assert host.run(600) >= 59
    assert len(set(host.ticks)) == len(host.ticks)


def test_a_newest_time_in_the_far_future_is_forgotten_once_the_servers_clock_is_known() -> None:
    host = Host()
    host.run(60)
    host.used.high_ms = (host.wall_s + 365 * 86_400) * 1000
    host.run(60)
    assert host.ticks[-1] % 1000 != 0
    assert host.used.forget_future((host.wall_s + 86_400) * 1000)
    host.run(60)
    assert host.ticks[-1] % 1000 == 0
    assert not host.used.forget_future((host.wall_s + 86_400) * 1000)
    assert len(set(host.ticks)) == len(host.ticks)
