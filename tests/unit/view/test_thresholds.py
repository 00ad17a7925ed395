import struct

import pytest

from shipper.fields.field import Kind
from shipper.schema.datasets import DATASETS
from shipper.view.thresholds import THRESHOLDS, Level, Steps, level


@pytest.mark.parametrize(("value", "expected"), [(None, ""), (0.79, ""), (0.8, "warning"), (0.9, "bad"), (2, "bad")])
def test_higher_is_worse(value: float | None, expected: str) -> None:
    assert Steps(0.8, 0.9).level(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(None, ""), (21, ""), (20, "warning"), (5, "bad")])
def test_lower_is_worse(value: float | None, expected: str) -> None:
    assert Steps(20, 5, falling=True).level(value) == expected


def test_a_field_without_thresholds_is_never_bad() -> None:
    assert level("system.uptime.duration.ms", 1e12) is Level.OK


def test_every_threshold_is_of_a_declared_field() -> None:
    declared = {field.name: field for dataset in DATASETS.values() for field in dataset.fields}
    assert not THRESHOLDS.keys() - declared.keys()


def test_shares_have_thresholds_of_at_most_one() -> None:
    declared = {field.name: field for dataset in DATASETS.values() for field in dataset.fields}
    for name, steps in THRESHOLDS.items():
        assert (steps.warning >= steps.bad) if steps.falling else (steps.warning <= steps.bad), name
        if declared[name].unit == "pct" and declared[name].kind is Kind.GAUGE:
            assert 0 < steps.bad <= 1, name


def test_a_share_that_the_server_kept_as_a_float_reaches_its_threshold() -> None:
    """90 of 100 processes are 0.9; as a float, the number of 32 bits next to it."""
    stored = struct.unpack("f", struct.pack("f", 0.9))[0]
    assert stored < 0.9
    assert Steps(0.8, 0.9).level(stored) is Level.BAD
