"""Text files in a directory: what is read, what is left out and why, and rates between versions of a file."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from shipper.collect.metric.bounds import Bounds, Series
from shipper.collect.metric.textfile import Textfiles
from shipper.kernel.source import Root
from shipper.settings.sources import Textfile


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def read(directory: Path, **options: Any) -> tuple[dict[str, Series], dict[str, str]]:
    """The series by the rest of their labels, and the problems."""
    source = Textfile(name="s", directory="/files", **options)
    batch = Textfiles(source, Root(str(directory.parent))).read()
    kept = Bounds(source).gather(batch.samples, batch.at_ns)
    return {",".join(f"{name}={value}" for name, value in one.labels): one for one in kept}, batch.problems


def test_each_file_is_told_apart_and_its_age_is_told(directory: Path) -> None:
    (directory / "a.prom").write_text('up 1\nup{x="y"} 2\n')
    (directory / "b.prom").write_text("up 3\n")
    (directory / "c.prom.tmp").write_text("up 4\n")
    long_ago = time.time() - 3600
    os.utime(directory / "b.prom", (long_ago, long_ago))
    found, problems = read(directory)
    assert {key: one.values["up"] for key, one in found.items()} == {
        "textfile=a.prom": 1.0,
        "textfile=a.prom,x=y": 2.0,
        "textfile=b.prom": 3.0,
    }
    assert found["textfile=a.prom"].values["textfile_age_seconds"] < 3000
    assert 3590 < found["textfile=b.prom"].values["textfile_age_seconds"] < 6000
    assert problems == {}


def test_what_is_no_plain_file_or_too_large_is_named(directory: Path) -> None:
    (directory / "a.prom").write_text("up 1\n")
    os.mkfifo(directory / "b.prom")
    (directory / "c.prom").mkdir()
    (directory / "d.prom").write_text("x" * 2000)
    (directory.parent / "secret").write_text("secret 1\n")
    (directory / "e.prom").symlink_to("../secret")
    found, problems = read(directory, max_bytes=1024)
    assert list(found) == ["textfile=a.prom"]
    assert problems.keys() == {f"/files/{name}.prom" for name in "bcde"}
    assert problems["/files/e.prom"] == "a symbolic link"
    assert problems["/files/d.prom"] == "2000 bytes, more than the limit of 1019"


def test_damaged_lines_are_counted_by_file(directory: Path) -> None:
    (directory / "a.prom").write_text("up 1\nnonsense\n")
    found, problems = read(directory)
    assert "textfile=a.prom" in found
    assert problems == {"/files/a.prom": "1 damaged lines, such as nonsense"}


def test_counters_are_as_old_as_their_file(directory: Path) -> None:
    """So that a file that is written once a minute has no rate of zero in between, and no spike at the end."""
    file = directory / "a.prom"
    file.write_text("jobs_total 1\n")
    reading = Textfiles(Textfile(name="s", directory="/files"), Root(str(directory.parent)))

    def made_ns() -> int:
        return max(sample.at_ns for sample in reading.read().samples)

    first = made_ns()
    assert made_ns() == first
    later = file.stat().st_mtime_ns + 60 * 10**9
    os.utime(file, ns=(later, later))
    assert made_ns() - first == pytest.approx(60 * 10**9, abs=10**9)
