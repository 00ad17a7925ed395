"""Segments and ledger: whole or not there, counted once, whatever is found at start."""

import errno
import json
import os
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shipper.agent import status
from shipper.agent.loop import Agent
from shipper.base.errors import UserError
from shipper.base.log import Log
from shipper.deliver.ledger import HELD_TICKS, Counts, Fate, Ledger
from shipper.deliver.segment import Damaged, Entry
from shipper.deliver.spool import Spool
from shipper.settings.config import Collect, Config, Host
from shipper.settings.config import Spool as SpoolOptions

MOST = 1 << 20


@contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def entries(count: int, text: str = "x") -> list[Entry]:
    return [Entry(b'{"create":{"_index":"i"}}', json.dumps({"n": n, "text": text}).encode()) for n in range(count)]


def open_spool(path: Path, most: int = MOST) -> Spool:
    return Spool(str(path), most)


def reopen(ledger: Ledger) -> Ledger:
    ledger.spool.close()
    return Ledger.load(Spool(ledger.spool.directory, ledger.spool.max_bytes))


def balanced(ledger: Ledger) -> bool:
    return ledger.counts.collected == ledger.counts.ended + ledger.spooled


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.load(open_spool(tmp_path / "spool"))


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


def test_fates_are_counted_and_only_then_the_segment_goes(ledger: Ledger) -> None:
    ledger.put(1000, entries(4))
    ledger.settle({1: {0: Fate.STORED, 2: Fate.REJECTED}}, duplicates=1)
    assert list(ledger.items(ledger.due()[0])) == [1, 3]
    again = reopen(ledger)
    assert list(again.items(again.due()[0])) == [1, 3]
    again.settle({1: {1: Fate.LATE, 3: Fate.DROPPED}})
    assert again.due() == []
    assert again.counts == Counts(collected=4, stored=1, late=1, rejected=1, dropped=1, duplicate=1)
    assert reopen(again).counts == again.counts


def test_settling_twice_counts_once(ledger: Ledger) -> None:
    ledger.put(1000, entries(2))
    for _ in range(2):
        ledger.settle({1: {0: Fate.STORED}})
    assert (ledger.counts.stored, ledger.spooled) == (1, 1)


def test_a_crash_between_ledger_and_unlink_neither_resends_nor_recounts(ledger: Ledger) -> None:
    ledger.put(1000, entries(2))
    path = Path(ledger.spool.directory, "segments", f"{1:016d}.ndjson")
    segment = path.read_bytes()
    ledger.settle({1: {0: Fate.STORED, 1: Fate.STORED}})
    saved = Path(ledger.spool.directory, "ledger.json")
    content = json.loads(saved.read_text())["ledger"]
    text = json.dumps({**content, "settled": [1]})
    saved.write_text(f'{{"format": 2, "check": {zlib.crc32(text.encode())}, "ledger": {text}}}')
    path.write_bytes(segment)
    again = reopen(ledger)
    assert again.due() == []
    assert again.counts == Counts(collected=2, stored=2)


def test_a_crash_before_the_ledger_is_saved_loses_no_count(ledger: Ledger) -> None:
    ledger.put(1000, entries(2))
    again = reopen(ledger)
    again.settle({1: {0: Fate.STORED, 1: Fate.STORED}})
    again.put(2000, entries(3))
    last = reopen(again)
    assert (last.counts.collected, last.counts.stored, last.spooled) == (5, 2, 3)


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


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"counts": {"stored": -1, "collected": "x"}}', '{"open": {"a": 1}}', "\x00"]
)
def test_any_ledger_file_starts_and_balances(ledger: Ledger, content: str) -> None:
    ledger.put(1000, entries(2))
    Path(ledger.spool.directory, "ledger.json").write_text(content)
    again = reopen(ledger)
    assert balanced(again)
    assert again.spooled == 2


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


def no_space(_fd: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_fates_that_the_disk_does_not_take_count_once_and_resend_after_a_crash(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.put(1000, entries(2))
    with monkeypatch.context() as full:
        full.setattr(os, "write", no_space)
        ledger.settle({1: {0: Fate.STORED, 1: Fate.STORED}})
        assert (ledger.counts.stored, ledger.spooled, ledger.due()) == (2, 0, [])
        assert ledger.trouble == "No space left on device"
        ledger.settle({1: {0: Fate.STORED, 1: Fate.STORED}})
        assert ledger.counts.stored == 2
        crashed = reopen(ledger)
        assert (crashed.counts.stored, crashed.spooled, len(crashed.due())) == (0, 2, 1)
    crashed.settle({1: {0: Fate.STORED, 1: Fate.STORED}}, duplicates=2)
    assert not os.listdir(Path(ledger.spool.directory, "segments"))
    assert balanced(crashed)


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


def test_every_flipped_bit_of_a_segment_is_noticed(tmp_path: Path) -> None:
    """One byte at a time, all of them: the documents are dropped or unharmed, the others are read."""
    directory = tmp_path / "spool"
    first = Ledger.load(open_spool(directory))
    for tick in range(3):
        first.put(1000 * tick, entries(2))
    first.spool.close()
    path = directory / "segments" / f"{2:016d}.ndjson"
    content = path.read_bytes()
    ledger_file = (directory / "ledger.json").read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        (directory / "ledger.json").write_bytes(ledger_file)
        again = Ledger.load(open_spool(directory))
        found = 0
        for segment in again.due():
            try:
                found += len(again.spool.read(segment))
            except Damaged:
                again.spool.set_aside(segment)
                again.drop([segment])
        assert (again.counts.collected, found, again.counts.dropped) == (6, 4, 2), place
        assert balanced(again)
        again.spool.close()
    assert len(os.listdir(directory / "damaged")) == len(content)


def test_a_segment_of_the_format_before_is_read(ledger: Ledger) -> None:
    ledger.put(1000, entries(2))
    ledger.spool.close()
    path = Path(ledger.spool.directory, "segments", f"{1:016d}.ndjson")
    header, _, body = path.read_bytes().partition(b"\n")
    fields = json.loads(header)
    del fields["check"]
    path.write_bytes(json.dumps({**fields, "format": 1}).encode() + b"\n" + body)
    again = Ledger.load(open_spool(Path(ledger.spool.directory)))
    assert again.spool.read(again.due()[0]) == entries(2)


def test_a_newer_format_is_named(ledger: Ledger) -> None:
    ledger.put(1000, entries(2))
    path = Path(ledger.spool.directory, "segments", f"{1:016d}.ndjson")
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 7'))
    again = reopen(ledger)
    assert again.spool.damaged == {path.name: "its format is 7, which this shipper does not know"}
    assert (again.due(), balanced(again)) == ([], True)


@pytest.mark.parametrize(
    ("content", "why"),
    [('{"format": 9}', "its format is 9"), ('{"format": 2, "check": 1, "ledger": {}}', "it is damaged")],
)
def test_a_ledger_that_cannot_be_trusted_is_kept_aside(ledger: Ledger, content: str, why: str) -> None:
    ledger.put(1000, entries(2))
    file = Path(ledger.spool.directory, "ledger.json")
    file.write_text(content)
    again = reopen(ledger)
    assert (again.unreadable, again.spooled, balanced(again)) == (why, 2, True)
    assert Path(f"{file}.unreadable").read_text() == content


def test_a_flipped_bit_in_the_ledger_is_noticed(ledger: Ledger) -> None:
    ledger.put(1000, entries(3))
    ledger.settle({1: {0: Fate.STORED}})
    file = Path(ledger.spool.directory, "ledger.json")
    file.write_bytes(file.read_bytes().replace(b'"stored": 1', b'"stored": 3'))
    again = reopen(ledger)
    assert again.unreadable == "it is damaged"
    assert (again.counts.stored, again.spooled, balanced(again)) == (0, 3, True)


def test_numbers_are_never_used_again(ledger: Ledger) -> None:
    """The ledger on disk may still call an old number settled: a new segment of that number would vanish."""
    ledger.put(1000, entries(1))
    ledger.settle({1: {0: Fate.STORED}})
    again = reopen(ledger)
    again.put(2000, entries(1))
    last = reopen(again)
    assert [one.sequence for one in last.due()] == [2]
    assert (last.spooled, last.counts.dropped) == (1, 0)


def test_documents_too_old_are_dropped_and_counted(ledger: Ledger) -> None:
    for tick in range(10):
        ledger.put(1000 * tick, entries(2), oldest_ms=1000 * tick - 4000)
    assert [one.tick_ms for one in ledger.due()] == [5000, 6000, 7000, 8000, 9000]
    assert ledger.counts.dropped == 10
    assert balanced(ledger)


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
    for name in ("rejected.ndjson", "ledger.json.new", "status.json.new"):
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        ledger.spool.reject(b"x")
    ledger.put(1000, entries(1))
    ledger.settle({1: {0: Fate.STORED}})
    assert ledger.trouble == "Too many levels of symbolic links"
    status.write(str(directory), {})
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


def test_age_is_judged_by_a_clock_that_can_be_trusted(tmp_path: Path) -> None:
    """A host's own clock is days off at boot: documents of earlier runs are dropped by the server's clock alone."""
    day_ms = 86_400_000
    first = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 20))
    first.put(10 * day_ms, entries(3))
    ledger = reopen(first)
    config = Config(
        collect=Collect(period_s=1, datasets=("agent",)),
        spool=SpoolOptions(directory=str(tmp_path / "other"), max_age_s=7 * 86_400),
        host=Host(name="a", verify=False),
    )
    pipeline = Agent(config, lambda _body, _shard_s: {}, Log(journal=False))
    pipeline.ledger.spool.close()
    pipeline.ledger = ledger
    assert pipeline._oldest() == (0, False)  # whatever this host's clock says
    boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    pipeline.delivery.state.server_ms = 16 * day_ms - boot_ms
    pipeline._spool(10 * day_ms + 1, entries(1))
    assert ledger.counts.dropped == 0
    pipeline.delivery.state.server_ms = 18 * day_ms - boot_ms
    pipeline._spool(10 * day_ms + 2, entries(1))
    assert ledger.counts.dropped == 3  # of the run before; those of this one cannot be that old
    ledger.spool.close()
