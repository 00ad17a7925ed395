from itertools import pairwise

import pytest

from shipper.view.thresholds import Level
from shipper.view.why.series import Line, width_ms
from shipper.view.why.signals import OF_HOST, Kind, Signal
from shipper.view.why.usual import deviations
from shipper.view.why.verdict import Judgement, judge, latest

STEP = 10_000
PRESSURE = "system.pressure.cpu.some.avg10.pct"
CPU = next(one for one in OF_HOST if one.name == "CPU")
FILESYSTEM = next(one for one in OF_HOST if one.name == "filesystem")


def signal(field: str) -> Signal:
    return next(one for resource in OF_HOST for one in resource.signals if one.field == field)


def line(values: str, field: str = PRESSURE, step: int = STEP) -> Line:
    """Tenths, one per time; ``.`` is an absent value."""
    numbers = {at * step: int(value) / 10 for at, value in enumerate(values) if value != "."}
    return Line(signal(field), "", numbers)


def judged(*lines: Line, first: int = 0, last: int = 20) -> Judgement:
    return judge(OF_HOST, lines, first * STEP, last * STEP, STEP)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("00000000000000066666", (15, 19, Level.BAD, False)),
        ("66666666666666666666", (0, 19, Level.BAD, False)),
        ("00000222220000000000", (5, 9, Level.WARNING, True)),
        ("000002200", None),  # too short
        ("0000022002220022", (5, 15, Level.WARNING, True)),  # dips do not end it
        ("00222000002220000000", (10, 12, Level.WARNING, True)),  # the last one counts
        ("....", None),
    ],
)
def test_an_episode_begins_where_the_value_goes_beyond_and_bridges_dips(
    values: str, expected: tuple[int, int, Level, bool] | None
) -> None:
    found = latest(line(values), 0, 0, 20 * STEP, STEP)
    assert (found and (found.first_ms // STEP, found.last_ms // STEP, found.level, found.over)) == expected


def test_what_began_before_the_first_document_says_so() -> None:
    beginning = latest(line("6666666666"), 0, 0, 9 * STEP, STEP)
    later = latest(line("0066666666"), 0, 0, 9 * STEP, STEP)
    assert beginning and beginning.cut
    assert later and not later.cut


def test_a_signal_that_begins_beyond_its_threshold_began_there_if_others_have_earlier_values() -> None:
    found = judged(line("." * 10 + "6" * 10), line("1" * 20, "system.cpu.total.norm.pct"))
    assert [(one.first_ms, one.cut) for one in found.short] == [(10 * STEP, False)]


def test_what_ended_before_the_range_is_left_out() -> None:
    assert latest(line("66660000000000000000"), 0, 10 * STEP, 20 * STEP, STEP) is None


def test_values_once_a_minute_are_one_episode() -> None:
    full = latest(line("00099", "system.filesystem.used.pct", 60_000), 0, 0, 240_000, STEP)
    assert full and (full.first_ms, full.over) == (180_000, False)


def test_a_resource_is_unknown_without_any_deciding_signal() -> None:
    found = judged(line("0000000", "system.cpu.total.norm.pct"), line("0000", "system.filesystem.used.pct"))
    assert "CPU" in found.unknown
    assert PRESSURE in found.unknown["CPU"]
    assert found.sound == ("filesystem",)


def test_a_busy_cpu_that_nobody_waits_for_is_sound() -> None:
    found = judged(line("9" * 20, "system.cpu.total.norm.pct"), line("0" * 20))
    assert (found.short, found.sound) == ((), ("CPU",))


def test_causes_stand_before_effects_and_the_worst_before_both() -> None:
    memory, disk, cpu = (f"system.pressure.{name}.some.avg10.pct" for name in ("memory", "io", "cpu"))
    found = judged(line("0" * 10 + "6" * 10), line("0" * 10 + "6" * 10, disk), line("0" * 10 + "6" * 10, memory))
    assert [one.resource.name for one in found.short] == ["memory", "disk", "CPU"]
    found = judged(line("0" * 10 + "6" * 10, cpu), line("0" * 10 + "2" * 10, memory))
    assert [one.resource.name for one in found.short] == ["CPU", "memory"]
    assert found.short[0].first_ms == 10 * STEP


def test_what_is_over_comes_last() -> None:
    found = judged(line("0" * 10 + "2" * 10), line("666660" + "0" * 14, "system.pressure.memory.some.avg10.pct"))
    assert [(one.resource.name, one.over) for one in found.short] == [("CPU", False), ("memory", True)]


def test_every_deciding_signal_has_thresholds_and_one_place() -> None:
    fields = [one.field for resource in OF_HOST for one in resource.signals]
    assert len(fields) == len(set(fields))
    for resource in OF_HOST:
        assert any(one.kind is not Kind.UTILISATION for one in resource.signals), resource.name
        assert all(one.steps.warning > 0 for one in resource.signals)


def test_a_bucket_is_a_multiple_of_the_period() -> None:
    assert width_ms(STEP, 0, 3_600_000) == STEP
    widths = [width_ms(STEP, 0, hours * 3_600_000) for hours in (1, 6, 24, 24 * 7)]
    assert all(width % STEP == 0 for width in widths)
    assert all(later >= earlier for earlier, later in pairwise(widths))
    assert 24 * 7 * 3_600_000 / widths[-1] <= 361


def test_deviations_are_robust_against_one_outlier() -> None:
    peers = [1.0, 1.1, 0.9, 1.05, 50.0]
    assert deviations(2.0, 1.05, peers) == pytest.approx(0.95 / (0.05 * 1.4826), rel=0.6)
    assert deviations(2.0, 1.0, [1.0, 1.0, 1.0]) is None
