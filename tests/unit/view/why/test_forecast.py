import random

import pytest

from shipper.view.why.forecast import Outlook, forecast, line, theil_sen

HOURS = [hour / 24 for hour in range(0, 168, 6)]
WHOSE = ("node-3", "/var")


def outlook(values: list[float]) -> tuple[Outlook, float | None]:
    made = forecast("filesystem", WHOSE, list(zip(HOURS, values, strict=True)))
    return made.outlook, made.days


def test_steady_growth_has_a_day() -> None:
    kind, days = outlook([0.5 + 0.04 * day for day in HOURS])
    assert kind is Outlook.FULL_IN
    assert days == pytest.approx((0.5 - 0.04 * HOURS[-1]) / 0.04)


def test_outliers_change_little() -> None:
    values = [0.5 + 0.04 * day for day in HOURS]
    for at in (3, 11, 19, 20):
        values[at] = 1.0
    kind, days = outlook(values)
    assert kind is Outlook.FULL_IN
    assert days == pytest.approx((0.5 - 0.04 * HOURS[-1]) / 0.04, rel=0.1)


@pytest.mark.parametrize("slope", [0.0, -0.05, 0.001])
def test_what_does_not_grow_has_no_day(slope: float) -> None:
    assert outlook([0.9 + slope * day for day in HOURS]) == (Outlook.NOT_GROWING, None)


def test_what_jumps_about_is_too_irregular() -> None:
    chance = random.Random(1)
    values = [chance.choice((0.1, 0.9)) + 0.01 * day for day in HOURS]
    assert outlook(values)[0] in (Outlook.IRREGULAR, Outlook.NOT_GROWING)
    assert outlook([0.3 + 0.01 * day + 0.3 * (at % 2) for at, day in enumerate(HOURS)])[0] is Outlook.IRREGULAR


def test_few_values_are_too_short() -> None:
    made = forecast("filesystem", WHOSE, [(0.0, 0.1), (0.25, 0.9)])
    assert made.outlook is Outlook.TOO_SHORT
    assert line(made) == "too few hours to say   filesystem /var on node-3: 90 %"


def test_a_full_one_is_full_now() -> None:
    kind, days = outlook([min(1.0, 0.8 + 0.04 * day) for day in HOURS])
    assert (kind, days) == (Outlook.FULL_IN, 0.0)


def test_slope_of_two_values() -> None:
    assert theil_sen([(0.0, 1.0), (2.0, 2.0)]) == (0.5, 1.0)
