"""How often slow things are read: ``Every`` on a clock that the test sets."""

from shipper.kernel.every import Every

SECOND = 1_000_000_000


def due(every: Every, *seconds: float) -> list[bool]:
    return [every.due(int(second * SECOND)) for second in seconds]


def test_due_at_once_and_then_once_in_so_many_seconds() -> None:
    assert due(Every(60), 5, 6, 64.9, 65, 66, 125) == [True, False, False, True, False, True]


def test_a_tick_that_begins_early_need_not_wait_for_the_next_one() -> None:
    """Ticks of 10 s, the seventh of which begins 20 ms before its time."""
    assert due(Every(60, early_s=5), 0.03, 10.03, 50.03, 60.01) == [True, False, False, True]


def test_a_period_that_is_longer_is_due_at_each_tick() -> None:
    assert due(Every(60, early_s=150), 0, 300, 600) == [True, True, True]


def test_the_offset_shortens_the_first_interval_alone() -> None:
    assert due(Every(60, offset_s=20), 0, 39, 40, 99, 100) == [True, False, True, False, True]


def test_it_can_be_put_off_and_made_due() -> None:
    every = Every(60)
    assert due(every, 0) == [True]
    every.wait(0, 5)
    assert due(every, 4, 5, 6) == [False, True, False]
    every.now()
    assert due(every, 6, 7) == [True, False]
