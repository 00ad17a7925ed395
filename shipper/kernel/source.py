"""The only place that opens files of /proc and /sys: one host root, kept descriptors, three outcomes of a read.

A read gives *data*, *absent* (``None``: this kernel, cgroup or device does not have it, which is no error) or a
*problem* (unreadable, or not in the form the kernel documents), which is noted under the file's name and otherwise
treated as absent, so that a tick goes on without it.

Descriptors are kept and ``pread`` from the start each time: a third of the cost of opening. A descriptor of a removed
cgroup answers ENODEV for ever, also after a cgroup of the same name was made again.
"""

import errno
import os
import re
import resource
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from shipper.kernel.beneath import opener
from shipper.kernel.parse import ParseError
from shipper.kernel.timex import Timex, adjtimex

T = TypeVar("T")

# EOPNOTSUPP: pressure files of a kernel booted with psi=0; EINVAL: speed and duplex of an interface that is down;
# ENODATA: a sensor that is not connected
_ABSENT: Final = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESRCH, errno.ENXIO),
        *(errno.EOPNOTSUPP, errno.EINVAL, errno.ENODATA),
    }
)
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
_OF_A_PROCESS: Final = re.compile(r"^proc/\d+/")
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PLACE: Final = os.O_PATH | os.O_CLOEXEC
_PAGE: Final = 1 << 12  # more than almost all files of a cgroup have
_CHUNK: Final = 1 << 16
_LARGEST: Final = 1 << 24  # a kernel file beyond this is not one we know how to read
_RESERVED: Final = 256  # descriptors left for sockets, spool and libraries
_MOST_KEPT: Final = 65_536


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be had in one tick: the file (below the host root) and why, in one line."""

    file: str
    reason: str


class Descriptors:
    """How many descriptors may be kept open; beyond that files are opened for each read."""

    def __init__(self, most: int) -> None:
        self.free = most

    @classmethod
    def of_this_process(cls) -> "Descriptors":
        """Raise the soft limit to the hard one and keep a reserve."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft = _MOST_KEPT if hard == resource.RLIM_INFINITY else min(hard, _MOST_KEPT)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return cls(max(soft - _RESERVED, 0))


def _slurp(fd: int) -> bytes:
    """All of an open file, which is closed."""
    try:
        data = os.read(fd, _CHUNK)
        while data and (more := os.read(fd, _CHUNK)):
            data += more
            if len(data) > _LARGEST:
                raise OSError(errno.EFBIG, "larger than any kernel file we know")
        return data
    finally:
        os.close(fd)


def _owned(fd: int, owner: int | None, most: int) -> bytes:
    """All of an open file that a user of the host may have made; closes it. Raises OSError."""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EPERM, "not a plain file")
        if owner is not None and found.st_uid not in (owner, 0, os.geteuid()):
            raise OSError(errno.EPERM, f"not a file of user {owner}")
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"{found.st_size} bytes, more than {most} are not read")
        return os.pread(fd, most, 0)
    finally:
        os.close(fd)


def _whole(fd: int, *, single: bool) -> bytes:
    """``single``: kernfs gives all of a file in one read; seq_files of /proc only a page's worth."""
    data = os.pread(fd, _CHUNK, 0)
    if single and len(data) < _CHUNK:
        return data
    while more := os.pread(fd, _CHUNK, len(data)):
        data += more
        if len(data) > _LARGEST:
            raise OSError(errno.EFBIG, "larger than any kernel file we know")
    return data


def _first(root: "Root", path: str, *, single: bool) -> tuple[bytes, int]:
    """Contents, and the descriptor if it may be kept, else -1. Raises OSError."""
    fd = root.open(path, _FLAGS)
    descriptors = root.descriptors
    try:
        data = _whole(fd, single=single)
    except OSError:
        os.close(fd)
        raise
    if descriptors.free > 0:
        descriptors.free -= 1
        return data, fd
    os.close(fd)
    return data, -1


class File:
    """One kernel file, read whole from its start at each call."""

    __slots__ = ("_fd", "_root", "_single", "path")

    def __init__(self, root: "Root", path: str) -> None:
        """``path`` is below the root."""
        self.path = path
        self._root = root
        self._fd = -1
        self._single = path.startswith("sys/")

    def read(self) -> bytes:
        """Contents. Raises OSError."""
        if self._fd < 0:
            data, self._fd = _first(self._root, self.path, single=self._single)
            return data
        try:
            return _whole(self._fd, single=self._single)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._root.descriptors.free += 1


class Files:
    """The files of one cgroup by number, as ``File``: descriptors in an array, for a thousand cgroups have 20,000."""

    __slots__ = ("_fds", "_path", "_root")

    def __init__(self, root: "Root", path: Callable[[int], str], count: int) -> None:
        """``path`` of the file by number, below the root, is asked for only when it is opened."""
        self._root = root
        self._path = path
        self._fds = [-1] * count

    def read(self, at: int) -> bytes:
        """Contents. Raises OSError."""
        fd = self._fds[at]
        if fd < 0:
            data, self._fds[at] = _first(self._root, self._path(at), single=True)
            return data
        try:
            data = os.pread(fd, _PAGE, 0)
            return data if len(data) < _PAGE else _whole(fd, single=True)
        except OSError:
            self._close(at)
            raise

    def close(self) -> None:
        for at in range(len(self._fds)):
            self._close(at)

    def _close(self, at: int) -> None:
        if self._fds[at] >= 0:
            os.close(self._fds[at])
            self._fds[at] = -1
            self._root.descriptors.free += 1


class Root:
    """The host's root directory as this process sees it: ``/``, or ``/media/root`` inside the container.

    Every path is resolved inside it, so that an absolute link of the host does not lead into the container.
    """

    def __init__(self, path: str = "/", descriptors: Descriptors | None = None) -> None:
        self.path = os.path.normpath(path)
        self.descriptors = descriptors or Descriptors(0)
        self._top = -1
        self._shared: dict[Callable[..., Any], Any] = {}

    def __del__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Open the root directory again at the next read."""
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def shared(self, kind: Callable[..., T], *arguments: object) -> T:
        """The one object of class ``kind`` that the collectors of this host share; ``arguments`` make it."""
        made: T | None = self._shared.get(kind)
        if made is None:
            made = self._shared[kind] = kind(*arguments)
        return made

    def drop_shared(self, kind: Callable[..., object]) -> None:
        """Make the object of class ``kind`` again when it is next asked for."""
        self._shared.pop(kind, None)

    def absolute(self, path: str) -> str:
        """``proc/stat`` → ``/media/root/proc/stat``: for messages, and for libraries that open by themselves."""
        return os.path.join(self.path, path.lstrip("/"))

    def open(self, path: str, flags: int) -> int:
        """A descriptor. A leading slash (a mount point) is taken as below the root. Raises OSError."""
        if self.path == "/":
            return os.open("/" + path.lstrip("/"), flags)
        if self._top < 0:
            self._top = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._beneath = opener()
        return self._beneath(self._top, path.lstrip("/"), flags)

    def at(self, path: str, ask: Callable[[int], T], flags: int = 0) -> T:
        """``ask`` of a descriptor that stands for the place alone (O_PATH). Raises OSError."""
        fd = self.open(path, _PLACE | flags)
        try:
            return ask(fd)
        finally:
            os.close(fd)

    def file(self, path: str) -> File:
        """A handle that keeps its descriptor between reads."""
        return File(self, path)

    def files(self, path: Callable[[int], str], count: int) -> Files:
        """Handles of the files of a cgroup: see ``Files``."""
        return Files(self, path, count)

    def read(self, path: str) -> bytes:
        """Contents of a file that is not kept open. Raises OSError."""
        return _slurp(self.open(path, _FLAGS))

    def read_owned(self, path: str, owner: int | None, most: int) -> bytes:
        """Contents of a plain file of at most ``most`` bytes. Raises OSError.

        With an ``owner`` the file has to be that user's, root's or this process's.
        """
        return _owned(self.open(path, _FLAGS), owner, most)

    def now_ns(self) -> int:
        """The clock of rates: it does not jump, and it goes on during suspend."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def statvfs(self, path: str) -> os.statvfs_result:
        return self.at(path, os.fstatvfs)

    def names(self, path: str, most: int = 0) -> list[str]:
        """Names in a directory, unsorted, ``most`` at most if that is given. Raises OSError."""
        fd = self.open(path, _FLAGS | os.O_DIRECTORY)
        try:
            if not most:
                return os.listdir(fd)
            with os.scandir(fd) as entries:
                return [one.name for one in islice(entries, most)]
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether there is something, be it a link that leads nowhere."""
        if self.path == "/":
            return os.path.lexists("/" + path.lstrip("/"))
        try:
            os.close(self.open(path, _PLACE | os.O_NOFOLLOW))
        except OSError:
            return False
        return True

    def directories(self, path: str) -> list[tuple[str, int]]:
        """Names and inode numbers of the directories in one, unsorted. Raises OSError."""
        fd = self.open(path, _FLAGS | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                # A v1 cgroup has the same name in each hierarchy
                return [(sys.intern(one.name), one.inode()) for one in entries if one.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)

    def adjtimex(self) -> tuple[int, Timex]:
        """What the kernel knows of its clock: no file has it, and it is the same in every container."""
        return adjtimex()

    def stat(self, path: str) -> os.stat_result:
        if self.path == "/":
            return os.stat("/" + path.lstrip("/"))
        return self.at(path, os.fstat)

    def stats(self, path: str, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result | OSError]]:
        """``stat`` of many names in a directory, at a third of the cost. Raises OSError where there is none.

        Only for directories of the kernel, which hold no links that lead away.
        """
        fd = self.open(path, _PLACE | os.O_DIRECTORY)
        try:
            for name in names:
                try:
                    yield name, os.stat(name, dir_fd=fd)
                except OSError as error:
                    yield name, error
        finally:
            os.close(fd)

    def link(self, path: str) -> str:
        """What the link leads to. Raises OSError."""
        return self.at(path, lambda fd: os.readlink("", dir_fd=fd), os.O_NOFOLLOW)

    def wall_ns(self) -> int:
        """The clock of file times, since 1970 in UTC; it may jump."""
        return time.time_ns()


class Reader:
    """One collector's reads: its kept files, and the problems met since they were last taken.

    ``lacks``: what this host, or our place on it, will not give, and why, as the collector found it; ``denied``: files
    that are not ours to read. Neither is a problem: they stay as they are.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self.now_ns = root.now_ns
        self._files: dict[str, File] = {}
        self._problems: list[Problem] = []
        self.lacks: dict[str, str] = {}
        self.denied: dict[str, str] = {}

    def file(self, path: str) -> File:
        """A handle of the caller's own, for those who keep thousands and drop them by themselves."""
        return self.root.file(path)

    def read(self, path: str) -> bytes | None:
        """Contents of a file that is read at every tick (its descriptor is kept); None if absent or a problem."""
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = self.file(path)
        return self.attempt(path, file.read)

    def read_once(self, path: str) -> bytes | None:
        """Contents of a file that is read rarely, or whose name may come to mean another file."""
        return self.attempt(path, lambda: self.root.read(path))

    def read_owned(self, path: str, owner: int | None, most: int) -> bytes | None:
        """The same of a plain file of at most ``most`` bytes, with an ``owner`` only if it is that user's."""
        return self.attempt(path, lambda: self.root.read_owned(path, owner, most))

    def parse(self, path: str, parser: Callable[[bytes], T]) -> T | None:
        """``parser`` of the file's contents; what it could still make of a damaged file, noting the damage."""
        data = self.read(path)
        return None if data is None else self.parsed(path, data, parser)

    def parsed(self, path: str, data: bytes, parser: Callable[[bytes], T]) -> T | None:
        try:
            return parser(data)
        except ParseError as error:
            self.problem(path, str(error))
            partial: T | None = error.partial
            return partial

    def attempt(self, path: str, call: Callable[[], T]) -> T | None:
        """``call()``; None where the file is absent, and where it is unreadable, which is noted."""
        try:
            return call()
        except OSError as error:
            self.refused(path, error)
            return None

    def refused(self, path: str, error: OSError) -> bool:
        """Whether ``error`` only says that the file is absent; else it is noted."""
        absent = error.errno in _ABSENT
        if error.errno in _DENIED and error.strerror == os.strerror(error.errno):  # else another reason is given
            self.denied[_OF_A_PROCESS.sub("proc/PID/", path.lstrip("/"))] = "no permission"
        elif not absent:
            self.problem(path, error.strerror or type(error).__name__)
        return absent

    def names(self, path: str, most: int = 0) -> list[str]:
        """Sorted names in a directory, ``most`` at most if that is given; empty if absent or a problem."""
        return sorted(self.attempt(path, lambda: self.root.names(path, most)) or ())

    def directories(self, path: str) -> list[tuple[str, int]]:
        """Names and inode numbers of the directories in one; empty if absent or a problem."""
        return self.attempt(path, lambda: self.root.directories(path)) or []

    def link(self, path: str) -> str | None:
        return self.attempt(path, lambda: self.root.link(path))

    def exists(self, path: str) -> bool:
        return self.root.exists(path)

    def problem(self, path: str, reason: str) -> None:
        self._problems.append(Problem(path.lstrip("/"), reason))

    def take_problems(self) -> list[Problem]:
        """The problems since the last call, each once: two parsers may find the same file cut off."""
        problems, self._problems = self._problems, []
        return list(dict.fromkeys(problems))

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
