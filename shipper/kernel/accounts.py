"""Accounts of the host: ``etc/passwd`` (passwd(5)), which people may edit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shipper.kernel.parse import name

_NAME, _ID, _HOME = 0, 2, 5  # columns
_FEWEST_COLUMNS: Final = 3


@dataclass(frozen=True, slots=True)
class Account:
    """``id`` is the number of the user as text; ``home`` is empty where the line does not have it."""

    name: str
    id: str
    home: str


def parse(text: bytes) -> Iterator[Account]:
    """The accounts of all lines that have a number."""
    for line in text.split(b"\n"):
        columns = line.split(b":")
        if len(columns) >= _FEWEST_COLUMNS:
            home = columns[_HOME] if len(columns) > _HOME else b""
            yield Account(name(columns[_NAME]), name(columns[_ID]), name(home))
