"""Sources beside each other: what is slow, hangs or fails delays and costs nothing else."""

import getpass
import time
from pathlib import Path
from typing import Any

from shipper.collect.metric.sources import Sources
from shipper.fields.rates import Reading
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Collect, Config
from shipper.settings.sources import Exec, Source, Textfile

ME = getpass.getuser()
LIMIT_S = 60


class Turns:
    def __init__(self, *sources: Source) -> None:
        self.reader = Reader(Root())
        self._sources = Sources(self.reader, Config(collect=Collect(period_s=1), metrics=sources))

    def turn(self) -> list[Reading]:
        return list(self._sources.readings())

    def until(self, name: str) -> list[Reading]:
        """The readings of the first turn that has some of this source."""
        end = time.monotonic() + LIMIT_S
        while True:
            found = [one for one in self.turn() if one.values["metricset.name"] == name]
            if found:
                return found
            assert time.monotonic() < end
            time.sleep(0.02)


def command(name: str, *words: str, **options: Any) -> Exec:
    return Exec(name=name, command=words, user=ME, **options)


def test_a_slow_source_comes_later_and_the_others_now(tmp_path: Path) -> None:
    """The command waits for a file that the test makes after two turns have ended without it."""
    go = tmp_path / "go"
    wait = f"while ! test -e {go}; do sleep 0.01; done; echo slow 1"
    (tmp_path / "a.prom").write_text("fast 1\n")
    turns = Turns(command("slow", "sh", "-c", wait), Textfile(name="fast", directory=str(tmp_path)))
    for _ in range(2):
        assert {one.values["metricset.name"] for one in turns.until("fast")} == {"fast"}
    go.touch()
    (slow,) = turns.until("slow")
    assert slow.values["metric"] == {"slow": 1.0}


def test_a_source_that_hangs_is_a_problem_until_it_ends(tmp_path: Path) -> None:
    turns = Turns(command("hangs", "sleep", "600", deadline_s=1))
    told: set[str] = set()
    end = time.monotonic() + LIMIT_S
    while "the command takes longer than 1 s" not in told:
        assert turns.turn() == []
        told |= {one.reason for one in turns.reader.take_problems()}
        assert time.monotonic() < end
    assert told <= {"the command takes longer than 1 s", "no answer in 1 s"}


def test_what_is_read_rarely_is_there_after_the_first_turn() -> None:
    """The agent makes no documents of its first turn, and the next run is a minute away."""
    turns = Turns(command("rare", "echo", "a 1", period_s=3600))
    assert turns.turn() == []
    (one,) = turns.until("rare")
    assert one.values["metric"] == {"a": 1.0}
    assert turns.turn() == []


def test_counters_of_a_source_are_of_the_time_when_it_was_read() -> None:
    turns = Turns(command("one", "echo", "a_total 1", period_s=1))
    before = turns.reader.now_ns()
    (one,) = turns.until("one")
    assert before < one.at_ns <= turns.reader.now_ns()
