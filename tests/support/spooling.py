"""Spools and ledgers of the tests of delivery."""

import errno
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipper.deliver.ledger import SLOTS, Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool

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


def newest(directory: Path) -> Path:
    """The file of the ledger that was written last."""
    return max((directory / name for name in SLOTS if (directory / name).exists()), key=_serial)


def _serial(slot: Path) -> int:
    serial: int = json.loads(slot.read_text())["serial"]
    return serial


def balanced(ledger: Ledger) -> bool:
    return ledger.counts.collected == ledger.counts.ended + ledger.spooled


def no_space(*_arguments: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")
