"""Documents on disk between collection and acknowledgement: a directory of segments, see ``segment``.

A segment is written under another name, synced and renamed: it is there whole or not at all, and is never changed. What
became of its documents stands in the ledger alone, whose replacement is the one moment at which an acknowledgement
counts; only then is the segment unlinked. What was read whole and is damaged, or of a format not known here, is moved
to ``damaged/`` for a person to look at, never deleted. What cannot be read stays where it is and is tried again: a
passing error proves nothing.

While the disk takes nothing, segments are held in memory: they have a number and are delivered like the others. All
calls to the disk are made by a thread beside the agent's own, so that a disk that hangs is one that takes nothing.

The directory is opened once and all files are reached through it: a mount over it, or its unmounting, changes nothing.
"""

import errno
import fcntl
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from shipper.base.durable import NEW, remove, write_all, write_durably
from shipper.base.errors import UserError
from shipper.base.isolate import Aside
from shipper.deliver.segment import Entry, Segment, body_of, examine, read

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
_DIGITS: Final = 16
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_S: Final = 1.0  # a disk that takes longer for one call is one that takes nothing

T = TypeVar("T")


class Spool:
    """The directory, held by one process. Raises UserError where it cannot be made, opened or locked.

    Methods that touch the disk raise OSError; TimeoutError, which is one, while the disk does not respond.
    """

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._disk = Aside("spool")
        self.segments: dict[int, Segment] = {}  # in the order of their numbers
        self.size = 0  # bytes of all documents
        self.documents = 0
        self.damaged: dict[str, str] = {}  # name → why it was set aside
        self.unread: dict[str, str] = {}  # name of a segment file that cannot be read now → why
        self.held: dict[int, Sequence[Entry]] = {}  # the segments that are not known to be on disk
        self.vanished: list[Segment] = []  # those that were in a directory that was removed
        self._landed: set[int] = set()  # held ones that a slow disk took after all
        self._newest: tuple[int, Sequence[Entry]] = (0, ())  # nearly always sent before the next: not read back for it
        self.last = 0
        self._take_hold()
        self._load()
        self._reserve()

    def on_disk(self, call: Callable[[], T], deadline_s: float = _DISK_S) -> T:
        """The value of ``call``, made by the thread that touches the disk. Raises OSError."""
        return self._disk.run(call, deadline_s)

    def write(self, tick_ms: int, entries: Sequence[Entry], collected: int) -> Segment:
        """Make ``entries`` durable as one segment; ``collected`` as in the header.

        Raises OSError: they are held in memory then.
        """
        segment = self._hold(tick_ms, entries, collected)
        self.flush()
        self._newest = (segment.sequence, entries)
        return segment

    def _hold(self, tick_ms: int, entries: Sequence[Entry], collected: int) -> Segment:
        body = body_of(entries)
        segment = Segment(self.last + 1, tick_ms, len(entries), len(body), zlib.crc32(body), collected)
        self._add(segment)
        self.held[segment.sequence] = entries
        return segment

    def flush(self) -> None:
        """Bring what is held in memory to disk, the oldest first. Raises OSError."""
        for sequence, entries in list(self.held.items()):
            if sequence not in self._landed:
                self.on_disk(partial(self._put, self.segments[sequence], entries))
            self._landed.discard(sequence)
            del self.held[sequence]

    def _put(self, segment: Segment, entries: Sequence[Entry]) -> None:
        self._look_around()
        path = self._segment_path(segment.sequence)
        try:
            write_durably(path, segment.header(), body_of(entries))
        except OSError:
            with suppress(OSError):
                remove(path + NEW)
            raise
        if segment.sequence in self.held:
            self._landed.add(segment.sequence)
        else:  # the disk hung, and it was delivered from memory meanwhile
            remove(path)

    def _add(self, segment: Segment) -> None:
        self.last = max(self.last, segment.sequence)
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
        """Its documents in order. Raises Damaged, FileNotFoundError (it was deleted), OSError."""
        if segment.sequence in self.held:
            return self.held[segment.sequence]
        sequence, entries = self._newest
        if segment.sequence == sequence:
            return entries
        return self.on_disk(lambda: read(self._segment_path(segment.sequence), segment))

    def settle(self, name: str, data: bytes, done: Sequence[int]) -> list[int]:
        """Replace the file ``name`` durably, then forget the segments ``done``: their documents stand in that file.

        Those that could not be unlinked are returned. Raises OSError where the file could not be replaced.
        """
        memory_only = [sequence for sequence in done if sequence in self.held and sequence not in self._landed]
        for sequence in memory_only:
            self._forget(sequence)
        stay: list[int] = []

        def save_and_unlink() -> None:
            self.save(name, data)
            for sequence in done:  # also of those held: a slow disk may have taken them meanwhile
                try:
                    remove(self._segment_path(sequence))
                except OSError:
                    stay.append(sequence)

        self.on_disk(save_and_unlink)
        for sequence in done:
            if sequence not in stay:
                self._forget(sequence)
        return stay

    def _forget(self, sequence: int) -> None:
        if self._newest[0] == sequence:
            self._newest = (0, ())
        self.held.pop(sequence, None)
        self._landed.discard(sequence)
        segment = self.segments.pop(sequence, None)
        if segment:
            self.size -= segment.size
            self.documents -= segment.documents

    def set_aside(self, segment: Segment) -> None:
        """Move the file of a segment that proved damaged to ``damaged/``; the ledger has yet to drop it."""
        self.on_disk(lambda: self._put_aside(os.path.basename(self._segment_path(segment.sequence)), "damaged"))

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
        self.on_disk(lambda: self.append_rejected(lines))

    def append_rejected(self, lines: bytes) -> None:
        """``reject`` for callers that are on the disk's own thread."""
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
        """Paths of files with rejected documents which ``shipper spool`` gave to the agent. Raises OSError."""
        folder = self._path(REPLAY)
        return [os.path.join(folder, name) for name in sorted(self.on_disk(lambda: os.listdir(folder)))]

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
        os.close(self._home)

    def _take_hold(self) -> None:
        """Make, open and lock the directory. Raises UserError."""
        try:
            for names in ((), (_SEGMENTS,), (_DAMAGED,), (REPLAY,)):
                _own_directory(os.path.join(self.directory, *names))
            home = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open("lock", flags, 0o600, dir_fd=home)
        except OSError as error:
            raise UserError(f"spool {self.directory}: {error.strerror}") from None
        if not _locked(lock):
            os.close(lock)
            os.close(home)
            raise UserError(f"spool {self.directory}: in use by another shipper")
        self._home, self._lock = home, lock
        self._base = f"/proc/self/fd/{home}"

    def _look_around(self) -> None:
        """Make the directory again if somebody removed it. Raises UserError where another shipper was faster."""
        if os.fstat(self._home).st_nlink:
            return
        before = self._home, self._lock
        self._take_hold()
        for fd in before:
            os.close(fd)
        self.vanished += [segment for segment in self.segments.values() if segment.sequence not in self.held]
        self._reserve()

    def elsewhere(self) -> bool:
        """Whether the configured path leads to another directory than the one in use: a mount, a new disk."""
        mine = os.fstat(self._home)
        try:
            seen = os.stat(self.directory)
        except OSError:
            return True
        return not os.path.samestat(seen, mine)

    def look_again(self) -> list[Segment]:
        """Those of ``unread`` that can be read now, taken up; the ledger has yet to count them. Raises OSError."""
        before = set(self.segments)
        self.on_disk(self._take_up_unread)
        self.segments = dict(sorted(self.segments.items()))
        return [segment for sequence, segment in self.segments.items() if sequence not in before]

    def _take_up_unread(self) -> None:
        for name in list(self.unread):
            with suppress(OSError):
                self._take_up(name)
                del self.unread[name]

    def _load(self) -> None:
        try:
            names = sorted(os.listdir(self._path(_SEGMENTS)))
        except OSError as error:
            raise UserError(f"spool {self.directory}: {error.strerror}") from None
        for name in names:
            try:
                self._take_up(name)
            except OSError as error:
                self.unread[name] = error.strerror or type(error).__name__
            stem = name.removesuffix(_SUFFIX)
            # Not even the number of a damaged segment is used again: the ledger may speak of it
            self.last = max(self.last, int(stem) if stem.isdecimal() and len(stem) == _DIGITS else 0)

    def _take_up(self, name: str) -> None:
        path = self._path(_SEGMENTS, name)
        if name.endswith(NEW):
            remove(path)
            return
        try:
            segment = examine(path)
        except FileNotFoundError:
            return
        if isinstance(segment, Segment) and self._segment_path(segment.sequence) == path:
            self._add(segment)
        else:
            self._put_aside(name, segment if isinstance(segment, str) else "another segment's")

    def _path(self, *names: str) -> str:
        return os.path.join(self._base, *names)

    def _segment_path(self, sequence: int) -> str:
        return self._path(_SEGMENTS, f"{sequence:0{_DIGITS}d}{_SUFFIX}")


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
            try:
                yield path, examine(path)
            except FileNotFoundError:
                continue  # delivered meanwhile
            except OSError as error:
                yield path, f"cannot be read: {error.strerror}"


def damaged(directory: str) -> list[str]:
    """Names of the files set aside. Raises OSError."""
    return sorted(os.listdir(os.path.join(directory, _DAMAGED)))
