"""One collector may hang or raise; the others go on."""

import threading
import time
from contextlib import suppress

import pytest

from shipper.base.isolate import Aside, Crew

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
    release.set()
    end = time.monotonic() + 30
    while (outcome := crew.run(work)["hangs"]).stuck:
        assert time.monotonic() < end
    assert outcome.value == 3


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


def test_a_host_without_a_thread_to_give_costs_the_calls_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pids limit, a fork bomb: what hangs is left behind, the rest ends with the reason, and works again later."""
    crew: Crew[int] = Crew(DEADLINE_S)
    release = threading.Event()

    def hang() -> int:
        release.wait(60)
        return 1

    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", no_thread)
        outcomes = crew.run([("a", lambda: 1)])
        assert "pids limit" in outcomes["a"].error
        with pytest.raises(OSError, match="pids limit"):
            Aside("x").run(lambda: 1, 1.0)
    assert crew.run([("a", lambda: 1)])["a"].value == 1
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", no_thread)
        began = time.monotonic()
        for _ in range(3):
            outcomes = crew.run([("hangs", hang), ("b", lambda: 2)])
            assert outcomes["hangs"].stuck
            assert "pids limit" in outcomes["b"].error
        assert time.monotonic() - began < 10
    assert crew.run([("hangs", hang), ("b", lambda: 2)])["b"].value == 2
    release.set()


def test_calls_aside_are_refused_while_one_hangs() -> None:
    aside = Aside("x")
    release, done = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(60)
        done.set()

    assert aside.run(lambda: 1, 10.0) == 1
    with pytest.raises(ZeroDivisionError):
        aside.run(lambda: 1 // 0, 10.0)
    with pytest.raises(TimeoutError, match="does not respond"):
        aside.run(hang, DEADLINE_S)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        aside.run(lambda: 1, 30.0)
    assert time.monotonic() - began < 10
    release.set()
    assert done.wait(30)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(TimeoutError):
            assert aside.run(lambda: 2, 10.0) == 2
            break


def test_a_posted_call_is_made_and_not_awaited() -> None:
    release, made = threading.Event(), []
    aside = Aside("test")
    aside.post(lambda: release.wait(60))
    aside.post(lambda: made.append("left out"))  # while the first one does not end
    with pytest.raises(TimeoutError):
        aside.run(lambda: made.append("late"), 0.05)
    release.set()
    while not made:
        with suppress(TimeoutError):
            aside.run(lambda: made.append("run"), 30)
    assert made[0] == "late", "calls are made in the order in which they were asked for"
    aside.post(lambda: made.append("posted"))
    aside.run(lambda: None, 30)
    assert made[-1] == "posted" and "left out" not in made
