"""The ledger: where every document ended, whatever happens between two writes."""

import json
import os
import time
import zlib
from pathlib import Path

import pytest
from spooling import balanced, entries, newest, no_space, open_spool, reopen

from shipper.agent.loop import Agent
from shipper.base.log import Log
from shipper.deliver.ledger import FORMER, SLOTS, Counts, Fate, Ledger
from shipper.deliver.spool import Spool
from shipper.settings.config import Collect, Config, Host
from shipper.settings.config import Spool as SpoolOptions


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
    saved = newest(Path(ledger.spool.directory))
    found = json.loads(saved.read_text())
    text = json.dumps({**found["ledger"], "settled": [1]})
    check = zlib.crc32(text.encode(), found["serial"])
    saved.write_text(f'{{"format": 3, "serial": {found["serial"]}, "check": {check}, "ledger": {text}}}')
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


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"counts": {"stored": -1, "collected": "x"}}', '{"open": {"a": 1}}', "\x00"]
)
def test_any_ledger_file_starts_and_balances(ledger: Ledger, content: str) -> None:
    ledger.put(1000, entries(2))
    for name in (FORMER, *SLOTS):
        Path(ledger.spool.directory, name).write_text(content)
    again = reopen(ledger)
    assert balanced(again)
    assert again.spooled == 2


def test_fates_that_the_disk_does_not_take_count_once_and_resend_after_a_crash(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.put(1000, entries(2))
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", no_space)
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


@pytest.mark.parametrize(
    ("content", "why"),
    [('{"format": 9}', "its format is 9"), ('{"format": 3, "serial": 1, "check": 1, "ledger": {}}', "it is damaged")],
)
def test_a_ledger_that_cannot_be_trusted_is_kept_aside(ledger: Ledger, content: str, why: str) -> None:
    ledger.put(1000, entries(2))
    files = [Path(ledger.spool.directory, name) for name in SLOTS]
    for file in files:
        file.write_text(content)
    again = reopen(ledger)
    assert (again.unreadable, again.spooled, balanced(again)) == (why, 2, True)
    assert [Path(f"{file}.unreadable").read_text() for file in files] == [content] * 2


def test_a_flipped_bit_in_the_ledger_is_noticed(ledger: Ledger) -> None:
    ledger.put(1000, entries(3))
    ledger.settle({1: {0: Fate.STORED}})
    for name in SLOTS:
        file = Path(ledger.spool.directory, name)
        if file.exists():
            file.write_bytes(file.read_bytes().replace(b'"stored": ', b'"stored": 3'))
    again = reopen(ledger)
    assert again.unreadable == "it is damaged"
    assert (again.counts.stored, again.spooled, balanced(again)) == (0, 3, True)


def test_a_torn_write_leaves_what_was_acknowledged_before(ledger: Ledger) -> None:
    ledger.put(1000, entries(3))
    ledger.settle({1: {0: Fate.STORED}})
    directory = Path(ledger.spool.directory)
    slots = {directory / name: (directory / name).read_bytes() for name in SLOTS}
    ledger.settle({1: {1: Fate.STORED}})
    ledger.spool.close()
    target = newest(directory)
    before, after = slots[target], target.read_bytes()
    for cut in (place for place in range(len(after)) if before[place] != after[place]):
        for path, content in slots.items():
            path.write_bytes(content)
        target.write_bytes(after[:cut] + before[cut:])
        again = Ledger.load(open_spool(directory))
        assert (again.counts.stored, again.spooled, again.unreadable, balanced(again)) == (1, 2, "", True), cut
        again.spool.close()


def test_the_former_ledger_is_read_and_goes(ledger: Ledger) -> None:
    ledger.put(1000, entries(3))
    ledger.settle({1: {0: Fate.STORED}})
    directory = Path(ledger.spool.directory)
    content = json.loads(newest(directory).read_text())["ledger"]
    for name in SLOTS:
        (directory / name).unlink()
    former = directory / FORMER
    former.write_text(json.dumps({"format": 2, "check": zlib.crc32(json.dumps(content).encode()), "ledger": content}))
    again = reopen(ledger)
    assert (again.counts, again.spooled, again.unreadable) == (ledger.counts, 2, "")
    assert not former.exists()
    assert reopen(again).counts == ledger.counts


def test_a_former_ledger_written_after_the_slots_counts(ledger: Ledger) -> None:
    """An older version ran in between."""
    ledger.put(1000, entries(3))
    directory = Path(ledger.spool.directory)
    content = {
        **json.loads(newest(directory).read_text())["ledger"],
        "last": 7,
        "counts": {"collected": 9, "stored": 6},
    }
    former = directory / FORMER
    former.write_text(json.dumps({"format": 2, "check": zlib.crc32(json.dumps(content).encode()), "ledger": content}))
    again = reopen(ledger)
    assert (again.counts, again.spooled) == (Counts(collected=9, stored=6), 3)
    assert reopen(again).counts == again.counts


def test_documents_too_old_are_dropped_and_counted(ledger: Ledger) -> None:
    for tick in range(10):
        ledger.put(1000 * tick, entries(2), oldest_ms=1000 * tick - 4000)
    assert [one.tick_ms for one in ledger.due()] == [5000, 6000, 7000, 8000, 9000]
    assert ledger.counts.dropped == 10
    assert balanced(ledger)


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
