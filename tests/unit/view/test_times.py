import argparse
from datetime import UTC, datetime

import pytest

from shipper.view.times import length, moment

NOW = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("02:10", datetime(2026, 3, 1, 2, 10, tzinfo=UTC)),
        ("2:10:05", datetime(2026, 3, 1, 2, 10, 5, tzinfo=UTC)),
        ("23:50", datetime(2026, 2, 28, 23, 50, tzinfo=UTC)),  # has not come yet today
        ("today 23:50", datetime(2026, 3, 1, 23, 50, tzinfo=UTC)),
        ("yesterday 14:00", datetime(2026, 2, 28, 14, 0, tzinfo=UTC)),
        ("-30m", datetime(2026, 3, 1, 3, 0, tzinfo=UTC)),
        ("2026-02-27T02:10", datetime(2026, 2, 27, 2, 10, tzinfo=UTC)),
        ("2026-02-27T02:10+02:00", datetime(2026, 2, 27, 0, 10, tzinfo=UTC)),
    ],
)
def test_moments_as_people_write_them(text: str, expected: datetime) -> None:
    assert moment(text, round(NOW.timestamp() * 1000)) == round(expected.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "-x", "yesterday", "02:10 yesterday"])
def test_other_words_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a time such as 02:10"):
        moment(text, round(NOW.timestamp() * 1000))


def test_a_length_of_time_has_bounds() -> None:
    read = length(60, 86_400)
    assert read("90m") == 5_400_000
    with pytest.raises(argparse.ArgumentTypeError, match="must be a duration from 1m to 1d"):
        read("2d")
