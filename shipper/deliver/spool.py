"""Documents on disk between collection and acknowledgement: a directory of segments, see ``segment``.

A segment is written under a temporary name, synced and renamed: it exists completely or not at all, and never changes.
What became of its documents is recorded in the ledger alone; replacing the ledger is the moment at which an
acknowledgement counts, and only then is the segment unlinked. A file that was read completely and is damaged, or has an
unknown format, is moved to ``damaged/`` for a person to inspect; it is never deleted. A file that cannot be read stays
and is retried: a transient error proves nothing.

While the disk accepts no data, segments are held in memory: they have a sequence number and are delivered like the
others. A separate thread makes all calls to the disk, so that a hanging disk is treated like one that accepts no data.

The directory is opened once and all files are reached through it, so mounting over it or unmounting it changes nothing.
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
from itertools import chain
from typing import Final, TypeVar

from shipper.base.durable import NEW, overwrite, remove, write_all, write_durably
from shipper.base.errors import UserError
from shipper.base.isolate import Aside
from shipper.deliver.segment import Entry, Segment, examine, pieces, read

REJECTED_FILE: Final = "rejected.ndjson"
_REJECTED_MOST: Final = 16 << 20  # bytes, then the file becomes rejected.ndjson.1
_SEGMENTS: Final = "segments"
_DAMAGED: Final = "damaged"
REPLAY: Final = "replay"
_RESERVE: Final = "reserve"
_RESERVED: Final = 64 << 10  # bytes to free when the disk is full, so that the ledger can still be written
_LOCK_TRIES: Final = 5  # `shipper status` briefly takes the lock, shared, to see whether an agent holds it
_LOCK_PAUSE_S: Final = 0.05
_SUFFIX: Final = ".ndjson"
_DIGITS: Final = 16
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_S: Final = 1.0  # seconds: a disk that takes longer for one call counts as one that accepts no data

T = TypeVar("T")


class Spool:
    """The spool directory, locked by one process. Raises UserError if it cannot be created, opened or locked.

    Methods that access the disk raise OSError; TimeoutError, which is one, while the disk does not respond.
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
        self.held: dict[int, Sequence[Entry]] = {}  # segments that may not be on disk
        self.vanished: list[Segment] = []  # segments whose directory was removed
        self._landed: set[int] = set()  # held segments that a slow disk accepted after all
        self._newest: tuple[int, Sequence[Entry]] = (
            0,
            (),
        )  # the newest segment: usually sent before the next, so not read from disk
        self.last = 0
        self._replays: list[str] | OSError = []
        self._take_hold()
        self._load()
        self._reserve()

    def on_disk(self, call: Callable[[], T], deadline_s: float = _DISK_S) -> T:
        """Run ``call`` in the thread that accesses the disk and return its value. Raises OSError."""
        return self._disk.run(call, deadline_s)

    def on_disk_later(self, call: Callable[[], object]) -> None:
        """Run ``call`` in that thread without waiting for it, unless the disk hangs. Raises OSError."""
        self._disk.post(call)

    def write(self, tick_ms: int, entries: Sequence[Entry], collected: int) -> Segment:
        """Store ``entries`` durably as one segment; ``collected`` is the count in the header.

        Raises OSError; the entries are then held in memory.
        """
        segment = self._hold(tick_ms, entries, collected)
        self.flush()
        self._newest = (segment.sequence, entries)
        return segment

    def _hold(self, tick_ms: int, entries: Sequence[Entry], collected: int) -> Segment:
        checksum = size = 0
        for piece in pieces(entries):
            checksum, size = zlib.crc32(piece, checksum), size + len(piece)
        segment = Segment(self.last + 1, tick_ms, len(entries), size, checksum, collected)
        self._add(segment)
        self.held[segment.sequence] = entries
        return segment

    def flush(self) -> None:
        """Write the segments held in memory to disk, oldest first. Raises OSError."""
        for sequence, entries in list(self.held.items()):
            if sequence not in self._landed:
                self.on_disk(partial(self._put, self.segments[sequence], entries))
            self._landed.discard(sequence)
            del self.held[sequence]

    def _put(self, segment: Segment, entries: Sequence[Entry]) -> None:
        self._look_around()
        self.see_replays()
        path = self._segment_path(segment.sequence)
        try:
            write_durably(path, chain((segment.header(),), pieces(entries)))
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
        """The oldest segments that must be dropped to make room for ``incoming`` bytes."""
        excess = self.size + incoming - self.max_bytes
        result = []
        for segment in self.segments.values():
            if excess <= 0:
                break
            result.append(segment)
            excess -= segment.size
        return result

    def read(self, segment: Segment) -> Sequence[Entry]:
        """The documents of a segment in order. Raises Damaged, FileNotFoundError (it was deleted), OSError."""
        if segment.sequence in self.held:
            return self.held[segment.sequence]
        sequence, entries = self._newest
        if segment.sequence == sequence:
            return entries
        return self.on_disk(lambda: read(self._segment_path(segment.sequence), segment))

    def settle(self, name: str, data: bytes, done: Sequence[int]) -> list[int]:
        """Overwrite the file ``name`` durably, then remove the segments ``done``, which that file records.

        Returns those that could not be unlinked. Raises OSError if the file could not be overwritten.
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
        """Move the file of a damaged segment to ``damaged/``. The caller removes it from the ledger."""
        self.on_disk(lambda: self._put_aside(os.path.basename(self._segment_path(segment.sequence)), "damaged"))

    def _put_aside(self, name: str, why: str) -> None:
        target, number = self._path(_DAMAGED, name), 0
        while os.path.lexists(target):
            number += 1
            target = self._path(_DAMAGED, f"{name}.{number}")
        os.replace(self._path(_SEGMENTS, name), target)
        self.damaged[name] = why

    def reject(self, lines: bytes) -> None:
        """Store documents that the server will never accept, with its reasons, durably. Raises OSError.

        The newest 16 to 32 MiB are kept.
        """
        self.on_disk(lambda: self.append_rejected(lines))

    def append_rejected(self, lines: bytes) -> None:
        """``reject``, for callers in the thread that accesses the disk."""
        path = self._path(REJECTED_FILE)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        before = os.fstat(fd).st_size
        try:
            write_all(fd, (lines,))
            full = before + len(lines) > _REJECTED_MOST
        except OSError:
            os.ftruncate(fd, before)  # no half line
            raise
        finally:
            os.close(fd)
        if full:
            os.replace(path, f"{path}.1")

    def replays(self) -> list[str]:
        """Paths of the files with rejected documents that ``shipper spool`` left for the agent, each once, as
        ``see_replays`` saw them. Raises OSError.
        """
        seen, self._replays = self._replays, []
        if isinstance(seen, OSError):
            raise seen
        return [self._path(REPLAY, name) for name in sorted(seen)]

    def see_replays(self) -> None:
        """Look into the directory while a segment is written: a call to the disk of its own would cost more."""
        try:
            self._replays = os.listdir(self._path(REPLAY))
        except OSError as error:
            self._replays = error

    def release(self) -> bool:
        """Free the reserved space. Returns whether there was any."""
        try:
            os.unlink(self._path(_RESERVE))
        except OSError:
            return False
        self._reserved = False
        return True

    def _reserve(self) -> None:
        self._reserved = False
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._path(_RESERVE), flags, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVED)
                self._reserved = True
            except OSError:
                self.release()
            finally:
                os.close(fd)

    def save(self, name: str, data: bytes) -> None:
        """Overwrite a small file of the directory durably; on a full disk, use the reserved space. Raises OSError."""
        path = self._path(name)
        try:
            overwrite(path, data, sync=True)
        except OSError as error:
            if error.errno not in _NO_ROOM or not self.release():
                raise
            overwrite(path, data, sync=True)
        if not self._reserved:
            self._reserve()

    def remove(self, name: str) -> None:
        """Remove a file of the directory, if there is one. Raises OSError."""
        self.on_disk(lambda: remove(self._path(name)))

    def close(self) -> None:
        os.close(self._lock)
        os.close(self._home)

    def _take_hold(self) -> None:
        """Create, open and lock the directory. Raises UserError."""
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
        """Create the directory again if it was removed. Raises UserError if another shipper locked it first."""
        if os.fstat(self._home).st_nlink:
            return
        before = self._home, self._lock
        self._take_hold()
        for fd in before:
            os.close(fd)
        self.vanished += [segment for segment in self.segments.values() if segment.sequence not in self.held]
        self._reserve()

    def elsewhere(self) -> bool:
        """Whether the configured path now leads to another directory than the open one: a mount, a new disk."""
        mine = os.fstat(self._home)
        try:
            seen = os.stat(self.directory)
        except OSError:
            return True
        return not os.path.samestat(seen, mine)

    def look_again(self) -> list[Segment]:
        """Add the segments of ``unread`` that can be read now and return them. The caller adds them to the ledger.
        Raises OSError.
        """
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
            # The number of a damaged segment is not reused either: the ledger may name it
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
            self._put_aside(name, segment if isinstance(segment, str) else "belongs to another segment")

    def _path(self, *names: str) -> str:
        return os.path.join(self._base, *names)

    def _segment_path(self, sequence: int) -> str:
        return self._path(_SEGMENTS, f"{sequence:0{_DIGITS}d}{_SUFFIX}")


def _own_directory(path: str) -> None:
    """Create directory ``path`` with mode 0700. Raises OSError, also if there is a symbolic link in its place."""
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
    """Whether an agent has locked the directory. Raises OSError."""
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
    """The path of each segment file, and its header or why it is not a segment; without the lock. Raises OSError."""
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
    """Names of the files in ``damaged/``. Raises OSError."""
    return sorted(os.listdir(os.path.join(directory, _DAMAGED)))
