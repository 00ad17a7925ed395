"""The format of the spool's files: damage is noticed, older formats are read."""

import json
import os
from pathlib import Path

from spooling import balanced, entries, newest, open_spool, reopen

from shipper.deliver.ledger import SLOTS, Ledger
from shipper.deliver.segment import Damaged


def test_every_flipped_bit_of_a_segment_is_noticed(tmp_path: Path) -> None:
    """One byte at a time, all of them: the documents are dropped or unharmed, the others are read."""
    directory = tmp_path / "spool"
    first = Ledger.load(open_spool(directory))
    for tick in range(3):
        first.put(1000 * tick, entries(2))
    first.spool.close()
    path = directory / "segments" / f"{2:016d}.ndjson"
    content = path.read_bytes()
    ledger_file = newest(directory).read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        for name in SLOTS:
            (directory / name).write_bytes(ledger_file)
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
