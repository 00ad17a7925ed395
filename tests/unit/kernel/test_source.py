"""Kept descriptors: what they give is what a new look would give, and there are never more of them than allowed."""

import gc
import os
from pathlib import Path

import pytest

from shipper.kernel.source import Descriptors, Files, Reader, Root

NAMES = ("a", "b", "c")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_text(f"{name} 1\n")
    return tmp_path


def files(tree: Path, most: int) -> tuple[Files, Descriptors]:
    descriptors = Descriptors(most)
    return Root(str(tree), descriptors).files(NAMES.__getitem__, len(NAMES)), descriptors


def open_now(tree: Path) -> int:
    links = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd))
    return sum(link.startswith(f"{tree}/") for link in links)


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize("most", [0, 1, 2, 3, 10])
def test_never_more_descriptors_than_allowed_and_the_same_contents(tree: Path, most: int) -> None:
    kept, descriptors = files(tree, most)
    for text in ("1", "2", "33"):
        for at, name in enumerate(NAMES):
            with (tree / name).open("r+") as file:  # the same inode, as a kernel file
                file.write(f"{name} {text}\n")
            assert kept.read(at) == f"{name} {text}\n".encode()
        assert open_now(tree) == min(most, len(NAMES))
        assert descriptors.free == most - min(most, len(NAMES))
    kept.close()
    assert open_now(tree) == 0
    assert descriptors.free == most


@pytest.mark.parametrize("size", [4095, 4096, 4097, 70_000])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    kept, _ = files(tmp_path, 3)
    assert [len(kept.read(0)) for _ in range(3)] == [size] * 3
    kept.close()


def test_a_file_that_comes_later_is_found(tmp_path: Path) -> None:
    kept, descriptors = files(tmp_path, 3)
    with pytest.raises(FileNotFoundError):
        kept.read(1)
    (tmp_path / "b").write_text("1\n")
    assert kept.read(1) == b"1\n"
    assert descriptors.free == 2
    kept.close()


def test_descriptors_beyond_the_share_are_closed_and_those_of_the_first_files_stay(tree: Path) -> None:
    kept, descriptors = files(tree, 10)
    for most, left in ((3, 3), (1, 1), (0, 0), (2, 2)):
        kept.keep(most)
        assert [kept.read(at) for at in range(3)] == [b"a 1\n", b"b 1\n", b"c 1\n"]
        assert open_now(tree) == left
        assert descriptors.free == 10 - left
    kept.keep(1)
    links = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()]
    assert [link for link in links if link.startswith(f"{tree}/")] == [f"{tree}/a"]
    kept.close()


@pytest.mark.parametrize(("most", "cgroups"), [(19_744, 3015), (64, 3), (64, 100), (0, 7), (5, 0)])
def test_shares_are_equal_and_leave_some_to_others(most: int, cgroups: int) -> None:
    shares = list(Descriptors(most).shares(cgroups))
    assert len(shares) == cgroups
    assert max(shares, default=0) - min(shares, default=0) <= 1
    assert sum(shares) == (most - most // 32 if cgroups else 0)


def test_files_that_nobody_has_any_more_are_closed_at_once(tree: Path) -> None:
    kept, descriptors = files(tree, 10)
    single = kept._root.file("c")
    assert (kept.read(0), single.read()) == (b"a 1\n", b"c 1\n")
    assert open_now(tree) == 2
    gc.disable()
    try:
        del kept, single
        assert open_now(tree) == 0
    finally:
        gc.enable()
    assert descriptors.free == 10


def test_a_file_that_most_hosts_lack_is_looked_for_once_a_minute(tmp_path: Path) -> None:
    reader = Reader(Root(str(tmp_path)))
    now = 0
    reader.now_ns = lambda: now * 1_000_000_000

    def read() -> bytes | None:
        return reader.parse_if_any("proc/some", lambda text: text)

    assert read() is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/some").write_bytes(b"1")
    now = 59
    assert read() is None
    now = 60
    assert read() == b"1"
    (tmp_path / "proc/some").write_bytes(b"2")
    now = 61
    assert read() == b"2"
