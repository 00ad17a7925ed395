"""The spool directory: segments are there completely or not at all, also after a crash or on a full disk."""

import os
import subprocess
from pathlib import Path

import pytest
from spooling import balanced, entries, no_space, open_spool, reopen, tmpfs

from shipper.agent import status
from shipper.base.errors import UserError
from shipper.deliver.ledger import HELD_TICKS, SLOTS, Counts, Fate, Ledger
from shipper.deliver.segment import Damaged


def test_what_is_written_is_read_back_after_a_restart(ledger: Ledger) -> None:
    ledger.put(1000, entries(3))
    ledger.put(2000, entries(2))
    again = reopen(ledger)
    assert [one.tick_ms for one in again.due()] == [1000, 2000]
    assert again.spool.read(again.due()[0]) == entries(3)
    assert (again.counts.collected, again.spooled) == (5, 5)


def test_files_are_private_and_links_not_followed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.put(1000, entries(1))
    ledger._commit()
    directory = Path(ledger.spool.directory)
    assert {oct(path.stat().st_mode & 0o777) for path in directory.rglob("*") if path.is_file()} == {"0o600"}
    assert oct(directory.stat().st_mode & 0o777) == "0o700"
    target = tmp_path / "target"
    target.write_text("mine")
    (directory / "segments" / f"{7:016d}.ndjson").symlink_to(target)
    again = reopen(ledger)
    assert [one.sequence for one in again.due()] == [1]
    assert target.read_text() == "mine"


def test_a_second_shipper_on_the_same_directory_refuses(ledger: Ledger) -> None:
    with pytest.raises(UserError, match="in use by another shipper"):
        open_spool(Path(ledger.spool.directory))


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^spool .*/file/spool: Not a directory$"):
        open_spool(tmp_path / "file" / "spool")


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "header", "foreign", "directory", "newer format"])
def test_damage_is_set_aside_counted_and_blocks_nothing(ledger: Ledger, damage: str) -> None:
    for tick in range(3):
        ledger.put(1000 * tick, entries(2))
    ledger.spool.close()
    path = Path(ledger.spool.directory, "segments", f"{2:016d}.ndjson")
    content = path.read_bytes()
    changed = {
        "torn": content[:-5],
        "empty": b"",
        "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        "header": b"\x00" + content[1:],
        "newer format": content.replace(b'"format": 2', b'"format": 3'),
    }
    if damage in changed:
        path.write_bytes(changed[damage])
    elif damage == "foreign":
        path.with_name("notes.txt").write_text("hello")
    else:
        path.with_name("folder").mkdir()
    again = Ledger.load(open_spool(Path(ledger.spool.directory)))
    readable, lost = 0, 0
    for segment in again.due():
        try:
            readable += len(again.spool.read(segment))
        except Damaged:
            again.spool.set_aside(segment)
            again.drop([segment])
    lost = again.counts.dropped
    assert again.counts.collected == 6
    assert readable + lost == 6
    assert lost == (2 if damage in changed else 0)
    assert balanced(again)
    assert len(os.listdir(Path(ledger.spool.directory, "damaged"))) == 1
    again.put(9000, entries(1))
    assert again.due()[-1].sequence == 4


def test_half_written_files_of_a_crash_vanish(ledger: Ledger) -> None:
    ledger.put(1000, entries(1))
    half = Path(ledger.spool.directory, "segments", f"{2:016d}.ndjson.new")
    half.write_text("half")
    assert len(reopen(ledger).due()) == 1
    assert not half.exists()


def test_the_oldest_make_room_and_are_counted(tmp_path: Path) -> None:
    ledger = Ledger.load(open_spool(tmp_path / "s", most=1000))
    for tick in range(10):
        ledger.put(tick, entries(1, "y" * 200))
    assert ledger.spool.size <= 1000
    assert ledger.counts.dropped == 10 - len(ledger.due()) > 0
    assert ledger.due()[-1].tick_ms == 9
    assert balanced(ledger)


def test_a_disk_that_takes_nothing_is_waited_for_in_memory(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Path(ledger.spool.directory, "segments")
    with monkeypatch.context() as full:

        def no_space(fd: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        full.setattr(os, "write", no_space)
        for tick in range(10):
            ledger.put(tick, entries(2))
        assert ledger.trouble == "No space left on device"
        assert (ledger.spooled, ledger.counts.dropped) == (20, 0)
        for tick in range(10, 10 + HELD_TICKS):
            ledger.put(tick, entries(2))
        assert ledger.counts.dropped == 2 * 10
        assert balanced(ledger)
    ledger.put(99, entries(2))
    assert ledger.trouble == ""
    assert len(list(segments.iterdir())) == HELD_TICKS + 1
    assert balanced(reopen(ledger))


def test_what_the_disk_does_not_take_can_be_delivered_from_memory(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "write", no_space)
        ledger.put(1000, entries(2))
        (segment,) = ledger.due()
        assert ledger.spool.read(segment) == entries(2)
        ledger.settle({segment.sequence: {0: Fate.STORED, 1: Fate.STORED}})
        assert (ledger.spooled, ledger.counts.stored, ledger.due()) == (0, 2, [])
    assert balanced(reopen(ledger))


def test_a_full_disk_gives_up_the_reserve_for_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.put(1000, entries(2))
    reserve = Path(ledger.spool.directory, "reserve")
    assert reserve.stat().st_blocks * 512 >= 64 << 10
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: no_space(fd, data) if reserve.exists() else real(fd, data))
    ledger.settle({1: {0: Fate.STORED, 1: Fate.STORED}})
    assert (ledger.due(), ledger.trouble) == ([], "")
    assert reserve.exists()
    assert reopen(ledger).counts == Counts(collected=2, stored=2)


def test_numbers_are_never_used_again(ledger: Ledger) -> None:
    """The ledger on disk may still call an old number settled: a new segment of that number would vanish."""
    ledger.put(1000, entries(1))
    ledger.settle({1: {0: Fate.STORED}})
    again = reopen(ledger)
    again.put(2000, entries(1))
    last = reopen(again)
    assert [one.sequence for one in last.due()] == [2]
    assert (last.spooled, last.counts.dropped) == (1, 0)


@pytest.mark.parametrize("name", ["segments", "damaged", "replay", ""])
def test_a_link_in_place_of_a_directory_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "spool" / name
    link.parent.mkdir(exist_ok=True)
    (link if name else tmp_path / "spool").symlink_to(elsewhere) if name else (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"^spool .*: Not a directory$"):
        open_spool(tmp_path / "spool" if name else tmp_path / "link")
    assert not os.listdir(elsewhere)


def test_links_in_place_of_files_are_not_followed(ledger: Ledger, tmp_path: Path) -> None:
    directory, target = Path(ledger.spool.directory), tmp_path / "target"
    target.write_text("mine")
    for name in ("rejected.ndjson", *SLOTS, "status.json"):
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        ledger.spool.reject(b"x")
    ledger.put(1000, entries(1))
    ledger.settle({1: {0: Fate.STORED}})
    assert ledger.trouble == "Too many levels of symbolic links"
    status.write(str(directory), {"a": 1})
    assert target.read_text() == "mine"


def test_a_directory_that_others_can_read_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    directory.mkdir(mode=0o755)
    open_spool(directory)
    assert oct(directory.stat().st_mode & 0o777) == "0o700"


@pytest.mark.root
def test_a_read_only_remount_is_worked_through_from_memory(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "spool", "4m") as directory:
        ledger = Ledger.load(open_spool(directory))
        ledger.put(1000, entries(1))
        subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
        for tick in range(2, 12):
            ledger.put(1000 * tick, entries(1))
        assert ledger.trouble == "Read-only file system"
        assert (ledger.spooled, ledger.counts.dropped) == (11, 0)
        ledger.settle({one.sequence: {0: Fate.STORED} for one in ledger.due()})
        assert (ledger.counts.stored, ledger.spooled) == (11, 0)
        subprocess.run(["mount", "-o", "remount,rw", str(directory)], check=True)
        ledger.put(20_000, entries(1))
        ledger.settle({ledger.due()[0].sequence: {0: Fate.STORED}})
        assert ledger.trouble == ""
        again = reopen(ledger)
        assert again.counts == Counts(collected=12, stored=12)
        again.spool.close()


def test_a_file_of_shipper_spool_is_seen_also_after_the_directory_was_empty_for_long(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    folder = tmp_path / "replay"
    os.utime(folder, (1, 1))
    for _ in range(2):
        spool.see_replays()
        assert spool.replays() == []
    for name in ("a", "b"):
        (folder / name).touch()
        spool.see_replays()
        assert [os.path.basename(path) for path in spool.replays()][-1] == name
    spool.close()
