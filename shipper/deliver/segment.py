"""The format of the spool: one segment file per tick, ready as a bulk body.

Format 2. A segment file is one header line and the body::

    {"format": 2, "sequence": 7, "tick_ms": 1763918400000, "documents": 31, "size": 9120, "crc32": 305419896, \
     "collected": 217, "check": 2596996162}
    {"create":{"_index":"metrics-shipper.host-default"}}
    {"@timestamp":…}

``crc32`` is of the body, ``check`` of the header before it (format 1 had none and is still read). ``collected`` counts
all documents that the ledger had collected up to and with this segment.
"""

import errno
import json
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from shipper.base.durable import no_links

FORMAT: Final = 2
_BEFORE: Final = 1  # the same without ``check``
_HEADER_MOST: Final = 4096
_PIECE: Final = 32  # documents: usually less than 128 KiB, which is cheap to allocate


class Damaged(Exception):  # noqa: N818 – a state of a file
    """A segment was read completely and is not as it was written."""


class Entry(NamedTuple):
    """One document on its way: its bulk action and its source, both JSON without a newline."""

    action: bytes
    document: bytes

    @property
    def size(self) -> int:
        """How many bytes it takes in a body."""
        return len(self.action) + len(self.document) + 2


@dataclass(frozen=True, slots=True)
class Segment:
    """The header of a segment. ``size``: bytes of the body."""

    sequence: int
    tick_ms: int
    documents: int
    size: int
    crc32: int
    collected: int

    def header(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        text = json.dumps({"format": FORMAT, **fields}).encode()[:-1]
        return b'%b, "check": %d}\n' % (text, zlib.crc32(text))


def body_of(entries: Sequence[Entry]) -> bytes:
    """The bulk body of ``entries``."""
    return b"".join([part for action, document in entries for part in (action, b"\n", document, b"\n")])


def pieces(entries: Sequence[Entry]) -> Iterator[bytes]:
    """The bulk body of ``entries`` in pieces: as a whole it would double the memory of a large tick."""
    for at in range(0, len(entries), _PIECE):
        yield body_of(entries[at : at + _PIECE])


def read(path: str, segment: Segment) -> list[Entry]:
    """The documents of a segment file. Raises Damaged; OSError if it cannot be read, which proves nothing."""
    with open(path, "rb", opener=no_links) as file:
        header = file.readline(_HEADER_MOST)
        body = file.read()
    if _header(header) != segment or len(body) != segment.size or zlib.crc32(body) != segment.crc32:
        raise Damaged(f"segment {segment.sequence}")
    lines = body.split(b"\n")
    entries = [Entry(*pair) for pair in zip(lines[::2], lines[1::2], strict=False)]
    if len(entries) != segment.documents:
        raise Damaged(f"segment {segment.sequence}")
    return entries


def examine(path: str) -> Segment | str:
    """The header of a segment file of the right size, or why the file is not a segment.

    Raises OSError if the file cannot be read, which proves nothing.
    """
    try:
        with open(path, "rb", opener=no_links) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return "not a regular file"
            line = file.readline(_HEADER_MOST)
    except OSError as error:
        if error.errno in _NO_FILE:
            return "not a regular file"
        raise
    segment = _header(line)
    if isinstance(segment, Segment) and status.st_size != len(line) + segment.size:
        return "truncated"
    return segment


# A symbolic link, a directory, a socket
_NO_FILE: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})


def _header(line: bytes) -> Segment | str:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        return "not a segment"
    if not isinstance(fields, dict):
        return "not a segment"
    version = fields.pop("format", None)
    if type(version) is int and version > FORMAT:
        return f"its format is {version}, which this shipper does not know"
    if version == FORMAT:
        fields.pop("check", None)
    elif version != _BEFORE:
        return "not a segment"
    if set(fields) != set(Segment.__slots__) or not all(type(value) is int and value >= 0 for value in fields.values()):
        return "damaged"
    segment = Segment(**fields)
    return segment if version == _BEFORE or segment.header() == line else "damaged"
