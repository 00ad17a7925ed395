"""Documents on disk between collection and acknowledgement: one segment per tick, ready as a bulk body.

Format 2. A segment ``segments/<sequence>.ndjson`` is one header line and the body::

    {"format": 2, "sequence": 7, "tick_ms": 1763918400000, "documents": 31, "size": 9120, "crc32": 305419896, \
     "collected": 217, "check": 2596996162}
    {"create":{"_index":"metrics-shipper.host-default"}}
    {"@timestamp":…}

``crc32`` is of the body, ``check`` of the header before it (format 1 had none and is still read). ``collected`` counts
all documents ever collected on this host up to and with this segment. A segment is written under another name, synced
and renamed: it is there whole or not at all, and is never changed. What became of its documents stands in the ledger
alone, whose replacement is the one moment at which an acknowledgement counts; only then is the segment unlinked. What
is found damaged, or of a format not known here, is moved to ``damaged/`` for a person to look at, never deleted.

While the disk takes nothing, segments are held in memory: they have a number and are delivered like the others.
"""

import errno
import fcntl
import json
import os
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from shipper.errors import UserError

FORMAT: Final = 2
_BEFORE: Final = 1  # the same without ``check``
REJECTED_FILE: Final = "rejected.ndjson"
_REJECTED_MOST: Final = 16 << 20  # bytes, then the file becomes rejected.ndjson.1
_SEGMENTS: Final = "segments"
_DAMAGED: Final = "damaged"
REPLAY: Final = "replay"
_RESERVE: Final = "reserve"
_RESERVED: Final = 64 << 10  # bytes given up when the disk is full, so that the ledger can still free segments
_LOCK_TRIES: Final = 5  # `shipper status` holds the lock for an instant, shared, to see whether an agent has it
_LOCK_PAUSE_S: Final = 0.05
_SUFFIX: Final = ".ndjson"
_NEW: Final = ".new"
_HEADER_MOST: Final = 4096


class Damaged(Exception):  # noqa: N818 – a state of a file
    """A segment is not as it was written."""


class Entry(NamedTuple):
    """One document on its way: its bulk action and its source, both JSON without newline."""

    action: bytes
    document: bytes

    @property
    def size(self) -> int:
        """Bytes in a body."""
        return len(self.action) + len(self.document) + 2


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
        text = json.dumps({"format": FORMAT, **fields}).encode()[:-1]
        return b'%b, "check": %d}\n' % (text, zlib.crc32(text))


class Spool:
    """The directory, held by one process. Raises UserError where it cannot be made, opened or locked."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        try:
            for path in (directory, *(self._path(name) for name in (_SEGMENTS, _DAMAGED, REPLAY))):
                _own_directory(path)
            self._lock = os.open(self._path("lock"), os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(f"spool {directory}: {error.strerror}") from None
        if not _locked(self._lock):
            os.close(self._lock)
            raise UserError(f"spool {directory}: in use by another shipper")
        self.segments: dict[int, Segment] = {}  # in the order of their numbers
        self.size = 0  # bytes of all documents
        self.documents = 0
        self.damaged: dict[str, str] = {}  # name → why it was set aside
        self.held: dict[int, list[Entry]] = {}  # the segments that are not on disk
        self._newest: tuple[int, Sequence[Entry]] = (0, ())  # nearly always sent before the next: not read back for it
        self.last = 0
        self._load()
        self._reserve()

    def write(self, tick_ms: int, entries: Sequence[Entry], collected: int) -> Segment:
        """Make ``entries`` durable as one segment; ``collected`` as in the header. Raises OSError."""
        body = body_of(entries)
        segment = Segment(self.last + 1, tick_ms, len(entries), len(body), zlib.crc32(body), collected)
        self._put(segment, body)
        self._add(segment)
        self._newest = (segment.sequence, entries)
        return segment

    def hold(self, tick_ms: int, entries: list[Entry], collected: int) -> Segment:
        """Keep ``entries`` as a segment in memory, for as long as the disk takes none."""
        body = body_of(entries)
        segment = Segment(self.last + 1, tick_ms, len(entries), len(body), zlib.crc32(body), collected)
        self._add(segment)
        self.held[segment.sequence] = entries
        return segment

    def flush(self) -> None:
        """Bring what is held in memory to disk. Raises OSError."""
        for sequence, entries in list(self.held.items()):
            self._put(self.segments[sequence], body_of(entries))
            del self.held[sequence]

    def _put(self, segment: Segment, body: bytes) -> None:
        path = self._segment_path(segment.sequence)
        try:
            write_durably(path, segment.header(), body)
        except OSError:
            with suppress(OSError):
                remove(path + _NEW)
            raise

    def _add(self, segment: Segment) -> None:
        self.last = segment.sequence
        self.segments[segment.sequence] = segment
        self.size += segment.size
        self.documents += segment.documents

    def over(self, incoming: int) -> list[Segment]:
        """The oldest segments that must go so that ``incoming`` more bytes fit."""
        excess = self.size + incoming - self.max_bytes
        result = []
        for segment in self.segments.values():
            if excess <= 0:
                break
            result.append(segment)
            excess -= segment.size
        return result

    def read(self, segment: Segment) -> Sequence[Entry]:
        """Its documents in order. Raises Damaged, OSError."""
        if segment.sequence in self.held:
            return self.held[segment.sequence]
        sequence, entries = self._newest
        if segment.sequence == sequence:
            return entries
        return read(self._segment_path(segment.sequence), segment)

    def unlink(self, sequence: int) -> None:
        """Forget a segment whose documents are accounted for in a saved ledger. Raises OSError."""
        if self._newest[0] == sequence:
            self._newest = (0, ())
        if self.held.pop(sequence, None) is None:
            remove(self._segment_path(sequence))
        segment = self.segments.pop(sequence, None)
        if segment:
            self.size -= segment.size
            self.documents -= segment.documents

    def set_aside(self, segment: Segment) -> None:
        """Move the file of a segment that proved damaged to ``damaged/``; the ledger has yet to drop it."""
        self._put_aside(os.path.basename(self._segment_path(segment.sequence)), "damaged")

    def _put_aside(self, name: str, why: str) -> None:
        target, number = self._path(_DAMAGED, name), 0
        while os.path.lexists(target):
            number += 1
            target = self._path(_DAMAGED, f"{name}.{number}")
        os.replace(self._path(_SEGMENTS, name), target)
        self.damaged[name] = why

    def reject(self, lines: bytes) -> None:
        """Keep documents that the server will never take, with its reasons; durable. Raises OSError.

        The newest 16 to 32 MiB are kept.
        """
        path = self._path(REJECTED_FILE)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        before = os.fstat(fd).st_size
        try:
            write_all(fd, lines)
            full = before + len(lines) > _REJECTED_MOST
        except OSError:
            os.ftruncate(fd, before)  # no half line
            raise
        finally:
            os.close(fd)
        if full:
            os.replace(path, f"{path}.1")

    def replays(self) -> list[str]:
        """Paths of files with rejected documents which ``shipper spool replay`` gave back. Raises OSError."""
        folder = self._path(REPLAY)
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]

    def release(self) -> bool:
        """Give up the room kept for this; whether there was any."""
        try:
            os.unlink(self._path(_RESERVE))
        except OSError:
            return False
        return True

    def _reserve(self) -> None:
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._path(_RESERVE), flags, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVED)
            except OSError:
                self.release()
            finally:
                os.close(fd)

    def save(self, name: str, data: bytes) -> None:
        """Replace a small file of the directory, durably; on a full disk at the cost of the reserve. Raises OSError."""
        path = self._path(name)
        try:
            write_durably(path, data)
        except OSError as error:
            if error.errno not in _NO_ROOM or not self.release():
                raise
            write_durably(path, data)
        if not os.path.lexists(self._path(_RESERVE)):
            self._reserve()

    def close(self) -> None:
        os.close(self._lock)

    def _load(self) -> None:
        for name in sorted(os.listdir(self._path(_SEGMENTS))):
            path = self._path(_SEGMENTS, name)
            with suppress(OSError):
                self._take_up(name, path)
            stem = name.removesuffix(_SUFFIX)
            # Not even the number of a damaged segment is used again: the ledger may speak of it
            self.last = max(self.last, int(stem) if stem.isdecimal() and len(stem) == _DIGITS else 0)

    def _take_up(self, name: str, path: str) -> None:
        if name.endswith(_NEW):
            remove(path)
            return
        segment = examine(path)
        if isinstance(segment, Segment) and self._segment_path(segment.sequence) == path:
            self._add(segment)
        else:
            self._put_aside(name, segment if isinstance(segment, str) else "another segment's")

    def _path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def _segment_path(self, sequence: int) -> str:
        return self._path(_SEGMENTS, f"{sequence:0{_DIGITS}d}{_SUFFIX}")


_DIGITS: Final = 16
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def body_of(entries: Sequence[Entry]) -> bytes:
    """The bulk body of ``entries``."""
    return b"".join([part for action, document in entries for part in (action, b"\n", document, b"\n")])


def _own_directory(path: str) -> None:
    """Make ``path`` a directory that only its owner reads. Raises OSError, also for a link in its place."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) & 0o077:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def in_use(directory: str) -> bool:
    """Whether an agent holds the directory. Raises OSError."""
    try:
        fd = os.open(os.path.join(directory, "lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def look(directory: str) -> Iterator[tuple[str, Segment | str]]:
    """Path of each segment file, without the lock, and what it is: a segment, or why it is none. Raises OSError."""
    folder = os.path.join(directory, _SEGMENTS)
    for name in sorted(os.listdir(folder)):
        if name.endswith(_SUFFIX):
            path = os.path.join(folder, name)
            yield path, examine(path)


def damaged(directory: str) -> list[str]:
    """Names of the files set aside. Raises OSError."""
    return sorted(os.listdir(os.path.join(directory, _DAMAGED)))


def read(path: str, segment: Segment) -> list[Entry]:
    """The documents of a segment file. Raises Damaged, OSError."""
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


def write_durably(path: str, *parts: bytes) -> None:
    """Replace ``path`` by a file with ``parts``, on disk when this returns. Raises OSError."""
    fd = os.open(path + _NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, *parts)
    finally:
        os.close(fd)
    os.replace(path + _NEW, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_all(fd: int, *parts: bytes) -> None:
    """Write ``parts`` and sync once. Raises OSError."""
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(fd, view) :]
    os.fsync(fd)


def remove(path: str) -> None:
    """Unlink ``path`` if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def no_links(path: str, flags: int) -> int:
    """An ``opener`` that follows no symbolic link, and waits for no pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def examine(path: str) -> Segment | str:
    """The header of a segment file whose size is right; for anything else, what is wrong with it."""
    try:
        with open(path, "rb", opener=no_links) as file:
            status = os.fstat(file.fileno())
            line = file.readline(_HEADER_MOST)
            segment = _header(line)
    except OSError:
        return "no regular file"
    if isinstance(segment, str):
        return segment
    if not stat.S_ISREG(status.st_mode) or status.st_size != len(line) + segment.size:
        return "not whole"
    return segment


def _header(line: bytes) -> Segment | str:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        return "no segment"
    if not isinstance(fields, dict):
        return "no segment"
    found = fields.pop("format", None)
    if type(found) is int and found > FORMAT:
        return f"of format {found}, which this shipper does not know"
    if found == FORMAT:
        fields.pop("check", None)
    elif found != _BEFORE:
        return "no segment"
    if set(fields) != set(Segment.__slots__) or not all(type(one) is int and one >= 0 for one in fields.values()):
        return "damaged"
    segment = Segment(**fields)
    return segment if found == _BEFORE or segment.header() == line else "damaged"
