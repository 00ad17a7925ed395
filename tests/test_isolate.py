"""One collector may hang or raise; the others go on."""

import threading
import time

from shipper.isolate import Crew

DEADLINE_S = 0.2


def test_values_errors_and_durations() -> None:
    crew: Crew[int] = Crew(5)

    def fail() -> int:
        raise ValueError("broken")

    outcomes = crew.run([("a", lambda: 1), ("bad", fail), ("b", lambda: 2)])
    assert [outcomes[name].value for name in ("a", "b")] == [1, 2]
    assert outcomes["bad"].error == "ValueError: broken"
    assert outcomes["a"].duration_ns > 0


def test_a_hanging_call_is_left_behind_once_and_taken_up_again() -> None:
    crew: Crew[int] = Crew(DEADLINE_S)
    release, calls = threading.Event(), []

    def hang() -> int:
        calls.append(1)
        release.wait()
        return 3

    work = [("a", lambda: 1), ("hangs", hang), ("b", lambda: 2)]
    before = threading.active_count()
    for _ in range(3):
        outcomes = crew.run(work)
        assert outcomes["hangs"].stuck
        assert (outcomes["a"].value, outcomes["b"].value) == (1, 2)
    assert len(calls) == 1
    assert threading.active_count() - before <= 2
    stuck = [thread for thread in threading.enumerate() if thread.name == "crew"]
    release.set()
    for thread in stuck[:1]:
        thread.join(5)
    assert crew.run(work)["hangs"].value == 3


def test_a_skipped_collector_costs_no_time() -> None:
    crew: Crew[int] = Crew(DEADLINE_S)
    release = threading.Event()
    work = [("hangs", lambda: int(release.wait())), ("a", lambda: 1)]
    crew.run(work)
    began = time.monotonic()
    assert crew.run(work)["hangs"].stuck
    assert time.monotonic() - began < DEADLINE_S
    release.set()


def test_slow_calls_that_keep_their_own_deadlines_are_not_stuck() -> None:
    crew: Crew[int] = Crew(DEADLINE_S)

    def slow() -> int:
        time.sleep(DEADLINE_S * 0.6)
        return 1

    outcomes = crew.run([(str(i), slow) for i in range(4)])
    assert [outcome.value for outcome in outcomes.values()] == [1, 1, 1, 1]
