import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.fields.field import counter, cpu_time
from shipper.fields.rates import SHORTEST_NS, Counters, Reading

READS = counter("reads.count", "count", "Reads", "file")
IDLE = cpu_time("idle.ns", "Idle", "file", slack=3_000_000_000)
SECOND = 1_000_000_000
BOTH = Counters((READS, IDLE))


def reading(reads: int, at_s: float, identity: object = "boot", **more: int) -> Reading:
    return Reading("host", "", int(at_s * SECOND), {"reads.count": reads, **more}, identity)


def rates(now: Reading, before: Reading | None) -> dict[str, float]:
    return BOTH.rates(now, BOTH.kept(before) if before else None)[0]


def test_events_per_second() -> None:
    assert rates(reading(150, 12.5), reading(100, 10)) == {"reads.count_per_s": pytest.approx(20.0)}


def test_cpu_time_is_a_fraction_of_one_core() -> None:
    now = Reading("host", "", 20 * SECOND, {"idle.ns": 15 * SECOND})
    before = Reading("host", "", 10 * SECOND, {"idle.ns": 0})
    assert rates(now, before) == {"idle.pct": pytest.approx(1.5)}


def test_no_change_is_zero() -> None:
    assert rates(reading(100, 20), reading(100, 10)) == {"reads.count_per_s": 0.0}


@pytest.mark.parametrize(
    ("now", "before"),
    [
        pytest.param(reading(150, 20), None, id="first sight"),
        pytest.param(reading(5, 20), reading(100, 10), id="reset"),
        pytest.param(reading(99, 20), reading(100, 10), id="one step back"),
        pytest.param(reading(150, 20, "boot 2"), reading(100, 10), id="another identity"),
        pytest.param(reading(150, 10 + (SHORTEST_NS - 1) / SECOND), reading(100, 10), id="too short"),
        pytest.param(reading(150, 10), reading(100, 10), id="no time"),
        pytest.param(reading(150, 9), reading(100, 10), id="time backwards"),
        pytest.param(Reading("host", "", 20 * SECOND, {}, "boot"), reading(100, 10), id="absent now"),
        pytest.param(reading(150, 20), Reading("host", "", 10 * SECOND, {}, "boot"), id="absent before"),
    ],
)
def test_no_rate(now: Reading, before: Reading | None) -> None:
    values = dict(now.values)
    assert rates(now, before) == {}
    assert now.values == values


def test_shortest_time_has_a_rate() -> None:
    assert rates(reading(150, 10 + SHORTEST_NS / SECOND), reading(100, 10))


def test_one_counter_reset_leaves_the_others() -> None:
    now, before = reading(5, 20, **{"idle.ns": 10 * SECOND}), reading(100, 10, **{"idle.ns": 0})
    assert rates(now, before) == {"idle.pct": pytest.approx(1.0)}


def test_step_back_within_the_slack_is_held_until_it_is_made_up_for() -> None:
    before = Reading("host", "", 10 * SECOND, {"idle.ns": 100 * SECOND})
    now = Reading("host", "", 20 * SECOND, {"idle.ns": 97 * SECOND})
    assert rates(now, before) == {"idle.pct": 0.0}
    assert now.values["idle.ns"] == 100 * SECOND
    later = Reading("host", "", 30 * SECOND, {"idle.ns": 105 * SECOND})
    assert rates(later, now) == {"idle.pct": pytest.approx(0.5)}


def test_step_back_beyond_the_slack_is_a_reset() -> None:
    now = Reading("host", "", 20 * SECOND, {"idle.ns": 97 * SECOND - 1})
    assert rates(now, Reading("host", "", 10 * SECOND, {"idle.ns": 100 * SECOND})) == {}
    assert now.values["idle.ns"] == 97 * SECOND - 1


COUNTS = st.integers(0, (1 << 63) - 1)


@given(now=COUNTS, before=COUNTS, elapsed=st.integers(-(1 << 62), 1 << 62))
def test_a_rate_is_never_negative_nor_infinite(now: int, before: int, elapsed: int) -> None:
    found = rates(
        Reading("host", "", elapsed, {"reads.count": now, "idle.ns": now}),
        Reading("host", "", 0, {"reads.count": before, "idle.ns": before}),
    )
    assert all(math.isfinite(rate) and rate >= 0 for rate in found.values())
