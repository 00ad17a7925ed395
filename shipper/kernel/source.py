"""The only place that opens files of /proc and /sys: one host root, open descriptors, three outcomes of a read.

A read gives *data*, *absent* (``None``: this kernel, cgroup or device does not have the file, which is no error) or a
*problem* (unreadable, or not in the documented form), which is recorded under the name of the file and otherwise
treated as absent, so that the tick continues.

Descriptors stay open and ``pread`` reads from the start each time, which costs a third of opening the file. A
descriptor of a removed cgroup always answers ENODEV, even after a cgroup of the same name was created.
"""

import errno
import os
import re
import resource
import select
import stat
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from shipper.kernel.beneath import opener
from shipper.kernel.every import Every
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
# The kernel returns in one read: kernfs, sysctl, and the files of /proc that it writes as one record (single_open)
_SINGLE: Final = re.compile(
    r"sys/.*|proc/(sys|pressure)/.*|proc/(stat|meminfo|loadavg|uptime|softirqs|self/statm)|proc/(1/)?net/(snmp6?|netstat|sockstat6?)"
)
_OF_A_PROCESS: Final = re.compile(r"^proc/\d+/")
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PLACE: Final = os.O_PATH | os.O_CLOEXEC
_PAGE: Final = 1 << 12  # more than almost all files of a cgroup
_CHUNK: Final = 1 << 16
_SEEK_S: Final = 60.0
_LARGEST: Final = 1 << 24  # no known kernel file is larger
_RESERVED: Final = 256  # descriptors for sockets, spool and libraries
_MOST_KEPT: Final = 65_536
_OF_OTHERS: Final = 32  # one part in 32 is left to the collectors other than that of cgroups


@dataclass(frozen=True, slots=True)
class Problem:
    """A file (below the host root) that could not be read or parsed in a tick, and why, in one line."""

    file: str
    reason: str


class Descriptors:
    """How many descriptors may stay open; further files are opened for each read."""

    def __init__(self, most: int) -> None:
        self.free = most
        self._of_cgroups = most - most // _OF_OTHERS

    def shares(self, cgroups: int) -> Iterator[int]:
        """How many of them each cgroup may keep, so that none keeps all of its files while another keeps none."""
        before = 0
        for number in range(1, cgroups + 1):
            after = self._of_cgroups * number // cgroups
            yield after - before
            before = after

    @classmethod
    def of_this_process(cls) -> "Descriptors":
        """All that the hard limit allows, except a reserve; raises the soft limit of this process."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft = _MOST_KEPT if hard == resource.RLIM_INFINITY else min(hard, _MOST_KEPT)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return cls(max(soft - _RESERVED, 0))


def _slurp(fd: int) -> bytes:
    """All of an open file; closes it. Raises OSError."""
    try:
        data = os.read(fd, _CHUNK)
        while data and (more := os.read(fd, _CHUNK)):
            data += more
            if len(data) > _LARGEST:
                raise OSError(errno.EFBIG, "larger than any known kernel file")
        return data
    finally:
        os.close(fd)


def _owned(fd: int, owner: int | None, most: int) -> bytes:
    """All of an open file that a user of the host may have made; closes it. Raises OSError."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EPERM, "not a regular file")
        if owner is not None and status.st_uid not in (owner, 0, os.geteuid()):
            raise OSError(errno.EPERM, f"not a file of user {owner}")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than the limit of {most}")
        return os.pread(fd, most, 0)
    finally:
        os.close(fd)


def _whole(fd: int, *, single: bool) -> bytes:
    """All of an open file. ``single``: the kernel returns it in one read, other files of /proc a page at a time."""
    data = os.pread(fd, _CHUNK, 0)
    if single and len(data) < _CHUNK:
        return data
    while more := os.pread(fd, _CHUNK, len(data)):
        data += more
        if len(data) > _LARGEST:
            raise OSError(errno.EFBIG, "larger than any known kernel file")
    return data


def _first(root: "Root", path: str, *, single: bool, keep: bool = True) -> tuple[bytes, int]:
    """Contents, and the descriptor if it may stay open and is to be kept, else -1. Raises OSError."""
    fd = root.open(path, _FLAGS)
    descriptors = root.descriptors
    try:
        data = _whole(fd, single=single)
    except OSError:
        os.close(fd)
        raise
    if keep and descriptors.free > 0:
        descriptors.free -= 1
        return data, fd
    os.close(fd)
    return data, -1


class File:
    """One kernel file that stays open between reads."""

    __slots__ = ("_fd", "_root", "_single", "path")

    def __init__(self, root: "Root", path: str) -> None:
        """``path`` is below the root."""
        self.path = path
        self._root = root
        self._fd = -1
        self._single = _SINGLE.fullmatch(path) is not None

    def __del__(self) -> None:
        self.close()

    def read(self) -> bytes:
        """All of the file. Raises OSError."""
        if self._fd < 0:
            data, self._fd = _first(self._root, self.path, single=self._single)
            return data
        try:
            return _whole(self._fd, single=self._single)
        except OSError:
            self.close()
            raise

    def is_unchanged(self) -> bool:
        """Whether the kernel announces changes of this file, such as ``mountinfo``, and none since the last read."""
        if self._fd < 0 or os.fstat(self._fd).st_size:  # not of the kernel: /proc gives no sizes
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLPRI)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the descriptor; the next read opens the file again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._root.descriptors.free += 1


class Files:
    """The files of a cgroup by number, like ``File``; in one array, because a thousand cgroups have 20,000 files."""

    __slots__ = ("_fds", "_kept", "_most", "_path", "_root")

    def __init__(self, root: "Root", path: Callable[[int], str], count: int) -> None:
        """``path`` gives the path of a file below the root by its number; it is called only to open the file."""
        self._root = root
        self._path = path
        self._fds = array("i", [-1]) * count
        self._kept, self._most = 0, count

    def __del__(self) -> None:
        self.close()

    def keep(self, most: int) -> None:
        """Keep at most this number of descriptors: those of the files that are read first."""
        self._most = most
        for at in range(len(self._fds) - 1, -1, -1) if self._kept > most else ():
            self._close(at)
            if self._kept == most:
                break

    def read(self, at: int) -> bytes:
        """All of file number ``at``. Raises OSError."""
        fd = self._fds[at]
        if fd < 0:
            data, fd = _first(self._root, self._path(at), single=True, keep=self._kept < self._most)
            self._fds[at] = fd
            self._kept += fd >= 0
            return data
        try:
            data = os.pread(fd, _PAGE, 0)
            return data if len(data) < _PAGE else _whole(fd, single=True)
        except OSError:
            self._close(at)
            raise

    def close(self) -> None:
        """Close all descriptors."""
        for at in range(len(self._fds)) if self._kept else ():
            self._close(at)

    def _close(self, at: int) -> None:
        if self._fds[at] >= 0:
            os.close(self._fds[at])
            self._fds[at] = -1
            self._kept -= 1
            self._root.descriptors.free += 1


class Root:
    """The host's root directory as this process sees it: ``/``, or ``/media/root`` inside the container.

    Every path is resolved below it, so that an absolute link of the host does not lead into the container.
    """

    def __init__(self, path: str = "/", descriptors: Descriptors | None = None) -> None:
        self.path = os.path.normpath(path)
        self.descriptors = descriptors or Descriptors(0)
        self._top = -1
        self._shared: dict[Callable[..., Any], Any] = {}

    def __del__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Close the root directory; the next read opens it again."""
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def shared(self, kind: Callable[..., T], *arguments: object) -> T:
        """The object of class ``kind`` that all collectors share; the first call creates it from ``arguments``."""
        made: T | None = self._shared.get(kind)
        if made is None:
            made = self._shared[kind] = kind(*arguments)
        return made

    def drop_shared(self, kind: Callable[..., object]) -> None:
        """Forget the shared object of class ``kind``; the next call of ``shared`` creates it again."""
        self._shared.pop(kind, None)

    def absolute(self, path: str) -> str:
        """``proc/stat`` → ``/media/root/proc/stat``: for messages, and for libraries that open files themselves."""
        return os.path.join(self.path, path.lstrip("/"))

    def open(self, path: str, flags: int) -> int:
        """A descriptor. ``path`` is below the root even with a leading slash. Raises OSError."""
        if self.path == "/":
            return os.open("/" + path.lstrip("/"), flags)
        if self._top < 0:
            self._top = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._beneath = opener()
        return self._beneath(self._top, path.lstrip("/"), flags)

    def at(self, path: str, ask: Callable[[int], T], flags: int = 0) -> T:
        """``ask(descriptor)``, of a descriptor for the path alone (O_PATH). Raises OSError."""
        fd = self.open(path, _PLACE | flags)
        try:
            return ask(fd)
        finally:
            os.close(fd)

    def file(self, path: str) -> File:
        """A file that stays open between reads."""
        return File(self, path)

    def files(self, path: Callable[[int], str], count: int) -> Files:
        """The files of a cgroup: see ``Files``."""
        return Files(self, path, count)

    def read(self, path: str) -> bytes:
        """Contents of a file that is closed again. Raises OSError."""
        return _slurp(self.open(path, _FLAGS))

    def read_owned(self, path: str, owner: int | None, most: int, flags: int = 0) -> bytes:
        """Contents of a plain file of at most ``most`` bytes, opened with further ``flags``. Raises OSError.

        The owner of the file must be the user with id ``owner``, root or the user of this process, unless it is None.
        """
        return _owned(self.open(path, _FLAGS | flags), owner, most)

    def now_ns(self) -> int:
        """The clock of the rates (ns since boot): it does not jump, and it includes suspend."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def statvfs(self, path: str) -> os.statvfs_result:
        """Sizes of the file system at ``path``. Raises OSError."""
        return self.at(path, os.fstatvfs)

    def names(self, path: str, most: int = 0) -> list[str]:
        """Names in a directory, unsorted, at most ``most`` unless it is 0. Raises OSError."""
        fd = self.open(path, _FLAGS | os.O_DIRECTORY)
        try:
            if not most:
                return os.listdir(fd)
            with os.scandir(fd) as entries:
                return [entry.name for entry in islice(entries, most)]
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether the path exists, even as a broken link."""
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
                directories = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
                return [(sys.intern(entry.name), entry.inode()) for entry in directories]
        finally:
            os.close(fd)

    def adjtimex(self) -> tuple[int, Timex]:
        """The state of the kernel's clock, which is the same in every container. Raises OSError."""
        return adjtimex()

    def stat(self, path: str) -> os.stat_result:
        """Status of the file that ``path`` leads to. Raises OSError."""
        if self.path == "/":
            return os.stat("/" + path.lstrip("/"))
        return self.at(path, os.fstat)

    def stats(self, path: str, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result | OSError]]:
        """``stat`` of many names in a directory, at a third of the cost. Raises OSError if there is no such directory.

        Only for directories of the kernel, because it follows links out of the root.
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
        """Target of the link. Raises OSError."""
        return self.at(path, lambda fd: os.readlink("", dir_fd=fd), os.O_NOFOLLOW)

    def wall_ns(self) -> int:
        """The clock of file times (ns since 1970, UTC); it may jump."""
        return time.time_ns()


class Reader:
    """The reads of one collector: its open files, and its problems since they were last taken.

    ``lacks``: what this host, or the place of the agent on it, does not provide, and why; the collector sets it.
    ``denied``: files without permission to read. Neither is a problem, because neither goes away.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self.now_ns = root.now_ns
        self._files: dict[str, File] = {}
        self._problems: list[Problem] = []
        self._sought: dict[str, Every] = {}
        self.lacks: dict[str, str] = {}
        self.denied: dict[str, str] = {}

    def file(self, path: str) -> File:
        """A file that the caller keeps and closes."""
        return self.root.file(path)

    def read(self, path: str) -> bytes | None:
        """Contents of a file that is read at every tick (it stays open); None if absent or a problem."""
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = self.file(path)
        return self.attempt(path, file.read)

    def read_once(self, path: str) -> bytes | None:
        """Contents of a file that is read rarely, or that may be replaced; None if absent or a problem."""
        return self.attempt(path, lambda: self.root.read(path))

    def read_owned(self, path: str, owner: int | None, most: int) -> bytes | None:
        """Contents as ``Root.read_owned`` reads them; None if absent or a problem."""
        return self.attempt(path, lambda: self.root.read_owned(path, owner, most))

    def parse(self, path: str, parser: Callable[[bytes], T]) -> T | None:
        """``parser(contents)`` of a file that is read at every tick, as by ``parsed``; None if it is absent."""
        data = self.read(path)
        return None if data is None else self.parsed(path, data, parser)

    def parse_if_any(self, path: str, parser: Callable[[bytes], T]) -> T | None:
        """``parse`` of a file that most hosts do not have: while it is absent, it is looked for once a minute."""
        sought = self._sought.get(path)
        if sought and not sought.due(self.now_ns()):
            return None
        data = self.read(path)
        if data is not None:
            self._sought.pop(path, None)
            return self.parsed(path, data, parser)
        if not sought and not self.exists(path):
            self._sought[path] = Every(_SEEK_S)
            self._sought[path].due(self.now_ns())
        return None

    def parsed(self, path: str, data: bytes, parser: Callable[[bytes], T]) -> T | None:
        """``parser(data)``; if it raises ParseError, the problem is recorded and the sound part returned, or None."""
        try:
            return parser(data)
        except ParseError as error:
            self.problem(path, str(error))
            partial: T | None = error.partial
            return partial

    def attempt(self, path: str, call: Callable[[], T]) -> T | None:
        """``call()``; None if it raises OSError, which is recorded unless the file is only absent."""
        try:
            return call()
        except OSError as error:
            self.refused(path, error)
            return None

    def refused(self, path: str, error: OSError) -> bool:
        """Whether ``error`` only says that the file is absent; else it is recorded."""
        absent = error.errno in _ABSENT
        if error.errno in _DENIED and error.strerror == os.strerror(error.errno):  # else the error has its own reason
            self.denied[_OF_A_PROCESS.sub("proc/PID/", path.lstrip("/"))] = "no permission"
        elif not absent:
            self.problem(path, error.strerror or type(error).__name__)
        return absent

    def names(self, path: str, most: int = 0) -> list[str]:
        """Sorted names in a directory, at most ``most`` unless it is 0; empty if absent or a problem."""
        return sorted(self.attempt(path, lambda: self.root.names(path, most)) or ())

    def directories(self, path: str) -> list[tuple[str, int]]:
        """Names and inode numbers of the directories in one; empty if absent or a problem."""
        return self.attempt(path, lambda: self.root.directories(path)) or []

    def link(self, path: str) -> str | None:
        """Target of the link; None if absent or a problem."""
        return self.attempt(path, lambda: self.root.link(path))

    def exists(self, path: str) -> bool:
        """Whether the path exists, even as a broken link."""
        return self.root.exists(path)

    def problem(self, path: str, reason: str) -> None:
        """Record a problem with a file."""
        self._problems.append(Problem(path.lstrip("/"), reason))

    def take_problems(self) -> list[Problem]:
        """The problems since the last call, each once: two parsers may find the same file cut off."""
        if not self._problems:
            return []
        problems, self._problems = self._problems, []
        return list(dict.fromkeys(problems))

    def close(self) -> None:
        """Close all files; further reads open them again."""
        for file in self._files.values():
            file.close()
        self._files.clear()
