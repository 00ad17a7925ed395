"""Documents on disk between collection and acknowledgement: one segment per tick, ready as a bulk body.

Format 1. A segment ``segments/<sequence>.ndjson`` is one header line and the body::

    {"format":1,"sequence":7,"tick_ms":1763918400000,"documents":31,"size":9120,"crc32":305419896,"collected":217}
    {"create":{"_index":"metrics-shipper.host-default"}}
    {"@timestamp":…}

``collected`` counts all documents ever collected on this host up to and with this segment. A segment is written under
another name, synced and renamed: it is there whole or not at all, and is never changed. What became of its documents
stands in the ledger alone, whose replacement is the one moment at which an acknowledgement counts; only then is the
segment unlinked. What is found damaged is moved to ``damaged/`` for a person to look at, never deleted.
"""

import fcntl
import json
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.errors import UserError

FORMAT: Final = 1
REJECTED_FILE: Final = "rejected.ndjson"
_REJECTED_MOST: Final = 16 << 20  # bytes, then the file becomes rejected.ndjson.1
_SEGMENTS: Final = "segments"
_DAMAGED: Final = "damaged"
_SUFFIX: Final = ".ndjson"
_NEW: Final = ".new"
_HEADER_MOST: Final = 4096


class Damaged(Exception):  # noqa: N818 – a state of a file
    """A segment is not as it was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One document on its way: its bulk action and its source, both JSON without newline."""

    action: bytes
    document: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    sequence: int
    tick_ms: int
    documents: int
    size: int
    crc32: int
    collected: int

    def header(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({"format": FORMAT, **fields}).encode() + b"\n"


class Spool:
    """The directory, held by one process. Raises UserError where it cannot be made, opened or locked."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        try:
            for path in (directory, self._path(_SEGMENTS), self._path(_DAMAGED)):
                os.makedirs(path, mode=0o700, exist_ok=True)
            self._lock = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(f"spool {directory}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UserError(f"spool {directory}: in use by another shipper") from None
        self.segments: dict[int, Segment] = {}
        self.damaged: list[str] = []
        self._last = 0
        self._load()

    @property
    def size(self) -> int:
        """Bytes of all documents in it."""
        return sum(segment.size for segment in self.segments.values())

    def write(self, tick_ms: int, entries: Sequence[Entry], collected: int) -> Segment:
        """Make ``entries`` durable as one segment; ``collected`` as in the header. Raises OSError."""
        body = b"".join(part for entry in entries for part in (entry.action, b"\n", entry.document, b"\n"))
        sequence = self._last + 1
        segment = Segment(sequence, tick_ms, len(entries), len(body), zlib.crc32(body), collected)
        path = self._segment_path(sequence)
        try:
            write_durably(path, segment.header() + body)
        except OSError:
            remove(path + _NEW)
            raise
        self._last = sequence
        self.segments[sequence] = segment
        return segment

    def over(self, incoming: int) -> list[Segment]:
        """The oldest segments that must go so that ``incoming`` more bytes fit."""
        excess = self.size + incoming - self.max_bytes
        result = []
        for _, segment in sorted(self.segments.items()):
            if excess <= 0:
                break
            result.append(segment)
            excess -= segment.size
        return result

    def read(self, segment: Segment) -> list[Entry]:
        """Its documents in order. Raises Damaged, OSError."""
        with open(self._segment_path(segment.sequence), "rb", opener=_no_links) as file:
            header = file.readline(_HEADER_MOST)
            body = file.read()
        if _header(header) != segment or len(body) != segment.size or zlib.crc32(body) != segment.crc32:
            raise Damaged(f"segment {segment.sequence}")
        lines = body.split(b"\n")
        return [Entry(*pair) for pair in zip(lines[::2], lines[1::2], strict=False)]

    def unlink(self, sequence: int) -> None:
        """Forget a segment whose documents are accounted for in a saved ledger."""
        self.segments.pop(sequence, None)
        remove(self._segment_path(sequence))

    def set_aside(self, segment: Segment) -> None:
        """Move the file of a segment that proved damaged to ``damaged/``; the ledger has yet to drop it."""
        self._put_aside(os.path.basename(self._segment_path(segment.sequence)))

    def _put_aside(self, name: str) -> None:
        os.replace(self._path(_SEGMENTS, name), self._path(_DAMAGED, name))
        self.damaged.append(name)

    def reject(self, lines: bytes) -> None:
        """Keep documents that the server will never take, with its reasons; durable. Raises OSError."""
        path = self._path(REJECTED_FILE)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, lines)
            full = os.fstat(fd).st_size > _REJECTED_MOST
        finally:
            os.close(fd)
        if full:
            os.replace(path, f"{path}.1")

    def close(self) -> None:
        os.close(self._lock)

    def _load(self) -> None:
        for name in sorted(os.listdir(self._path(_SEGMENTS))):
            path = self._path(_SEGMENTS, name)
            if name.endswith(_NEW):
                remove(path)
                continue
            segment = _examine(path)
            if segment is None or self._segment_path(segment.sequence) != path:
                self._put_aside(name)
            else:
                self.segments[segment.sequence] = segment
            stem = name.removesuffix(_SUFFIX)
            # Not even the number of a damaged segment is used again: the ledger may speak of it
            self._last = max(self._last, int(stem) if stem.isdecimal() and len(stem) == _DIGITS else 0)

    def _path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def _segment_path(self, sequence: int) -> str:
        return self._path(_SEGMENTS, f"{sequence:0{_DIGITS}d}{_SUFFIX}")


_DIGITS: Final = 16


def write_durably(path: str, data: bytes) -> None:
    """Replace ``path`` by a file with ``data``, on disk when this returns. Raises OSError."""
    fd = os.open(path + _NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)
    os.replace(path + _NEW, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_all(fd: int, data: bytes) -> None:
    """Write ``data`` and sync. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)


def remove(path: str) -> None:
    """Unlink ``path`` if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _examine(path: str) -> Segment | None:
    """The header of a segment file whose size is right; None for anything else."""
    try:
        with open(path, "rb", opener=_no_links) as file:
            status = os.fstat(file.fileno())
            line = file.readline(_HEADER_MOST)
            segment = _header(line)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or segment is None or status.st_size != len(line) + segment.size:
        return None
    return segment


def _header(line: bytes) -> Segment | None:
    try:
        fields: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT or set(fields) != set(Segment.__slots__):
        return None
    if not all(type(value) is int and value >= 0 for value in fields.values()):
        return None
    return Segment(**fields)
