"""The kernel's log, ``/dev/kmsg``: counts of the messages that operators look for, and OOM kills as events.

    6,763,4031597522,-;oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/box,task_memcg=/box,task=python3,pid=26959,uid=0
    (priority and facility, sequence number, µs since boot, flags; the message)

The last sequence number is stored in the spool directory, so that a restart neither counts a record twice nor misses one
that the kernel still has. The first run begins with new records. Only messages of the kernel itself count: processes can
write into the log, but not in the kernel's name. https://docs.kernel.org/admin-guide/abi-testing.html (dev-kmsg)
"""

import errno
import json
import os
import re
import stat
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from shipper.base.durable import replace
from shipper.base.isolate import Aside
from shipper.base.text import visible
from shipper.collect.cgroup.identity import deepest
from shipper.collect.events.oom import Kill, Kills
from shipper.fields.field import Field, counter
from shipper.fields.rates import Value
from shipper.kernel.parse import first_line
from shipper.kernel.source import Reader, Root

FILE: Final = "dev/kmsg"
STATE: Final = "kernel-log.json"
_DISK_S: Final = 0.25
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_RECORD: Final = 1 << 13  # the longest record of the kernel
_MOST_READ: Final = 20_000  # records per turn
_MOST_KEPT: Final = 1_000  # kills without a document so far
_LONGEST: Final = 512
_KERNEL_FACILITY: Final = 8  # lower priorities are messages of the kernel itself

# name: help, pattern
PATTERNS: Final = {
    "oom_kill": ("OOM-killed processes: the host or a cgroup ran out of memory", r"Killed process \d+"),
    "hung_task": ("Hung tasks: blocked for minutes", r"^INFO: task .* blocked for more than \d+ seconds"),
    "io_error": ("I/O errors of block devices", r"(I/O|critical \w+|protection|integrity) error, dev |^Buffer I/O error on |I/O Error \(sct"),
    "remount_ro": ("Filesystems remounted read-only or shut down after an error", r"[Rr]emounting filesystem read-only|forced readonly|[Ff]ilesystem has been shut down|[Ss]hutting down filesystem"),
    "segfault": ("Crashed programs: segmentation and protection faults", r" segfault at [0-9a-f]+ ip |^traps: .* (general protection|trap )"),
    "link_down": ("Network links that went down", r"[Ll]ink is [Dd]own|link status definitely down|: link down$"),
    "throttled": ("Times a CPU was throttled because of its temperature", r"cpu clock throttled|clock is throttled"),
    "mce": ("Machine checks: hardware errors of CPU or memory", r"[Mm]achine [Cc]heck events? logged|\[Hardware Error\]: Machine [Cc]heck"),
}  # fmt: skip
FIELDS: Final[tuple[Field, ...]] = tuple(
    counter(f"system.kernel.log.{name}.count", "count", f"{help_}; since boot, as far as the log was read", FILE)
    for name, (help_, _) in PATTERNS.items()
)
_COMPILED: Final = {name: re.compile(pattern) for name, (_, pattern) in PATTERNS.items()}


@dataclass(frozen=True, slots=True)
class Record:
    """A message; ``at_us`` is in µs since boot, without suspend."""

    sequence: int
    at_us: int
    text: str


def parse(line: bytes) -> Record | None:
    """A message of the kernel itself; None for other messages, and for the lines of keys after a message."""
    head, semicolon, text = line.partition(b";")
    words = head.split(b",")
    if not semicolon or len(words) < 4 or not all(word.isdigit() and len(word) < 19 for word in words[:3]):  # noqa: PLR2004
        return None
    if int(words[0]) >= _KERNEL_FACILITY:
        return None
    shown = text.decode("utf-8", "replace")
    return Record(int(words[1]), int(words[2]), visible(shown))


class KernelLog:
    """The log over time: ``counts`` since boot or the first run, and the kills that have no document yet."""

    def __init__(self, root: Root, directory: str) -> None:
        self._root = root
        self._state = os.path.join(directory, STATE) if directory else ""
        self._boot = first_line(Reader(root).read_once("proc/sys/kernel/random/boot_id") or b"")
        self._fd = -1
        self._rest = b""
        self._oom = Kills()
        self._waiting: deque[tuple[Record, Kill, int]] = deque(maxlen=_MOST_KEPT)
        self.counts: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()  # by cgroup, since the shipper started
        self.readable = False
        self.lacking = ""  # why it is not
        self.last, self._fresh = self._restored()
        self._disk, self._saved = Aside("kernel-log"), None if self._fresh else self.last

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    @property
    def identity(self) -> str:
        """Changes when the counts restart: the boot id."""
        return self._boot

    def values(self) -> dict[str, Value]:
        """The counts by field."""
        return {field.name: self.counts[name] for field, name in zip(FIELDS, PATTERNS, strict=True)}

    def read(self, reader: Reader) -> bool:
        """Read new records, noting problems with ``reader``. Returns whether the log exists and may be read."""
        self.readable = self._fd >= 0 or self._opened()
        if not self.readable:
            return False
        wall_ns, clock_ns = self._root.wall_ns(), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for record in self._records(reader):
            if record.sequence <= self.last:
                continue
            self.last = record.sequence
            self.counts.update(name for name, pattern in _COMPILED.items() if pattern.search(record.text))
            kill = self._oom.take(record.text)
            if kill:
                self._count(kill)
                # As dmesg computes it; the clock of the log stops during suspend
                self._waiting.append((record, kill, wall_ns - max(clock_ns - record.at_us * 1000, 0)))
        if not self._waiting:
            self._save()
        return True

    def _count(self, kill: Kill) -> None:
        named = deepest(kill.cgroup.strip("/").split("/"))
        self.killed[named[0] if named else kill.cgroup] += 1
        while len(self.killed) > _MOST_KEPT:
            del self.killed[next(iter(self.killed))]

    def take(self) -> Iterator[tuple[str, str, int, Kill]]:
        """Id, message and time in ns since 1970 of the kills since the previous call."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._save()
        for record, kill, at_ns in waiting:
            yield f"{self._boot}-{record.sequence}", record.text[:_LONGEST], at_ns, kill

    def _opened(self) -> bool:
        try:
            self._fd = _open(self._root)
            if self._fresh:
                with suppress(OSError):  # a recorded log is a plain file
                    os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            denied = error.errno in (errno.EACCES, errno.EPERM)
            why = "no permission: give access to /dev/kmsg and, if kernel.dmesg_restrict is 1, CAP_SYSLOG"
            self.lacking = why if denied else f"{FILE}: {error.strerror}"
            return False
        self.lacking = ""
        return True

    def _records(self, reader: Reader) -> Iterator[Record]:
        for _ in range(_MOST_READ):
            try:
                data = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # the kernel overwrote the next records; read on with those it still has
                continue
            except OSError as error:
                reader.problem(FILE, error.strerror or "cannot be read")
                return
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from filter(None, map(parse, lines))

    def _restored(self) -> tuple[int, bool]:
        """The last sequence number that was read, and whether this is the first run."""
        content = self._read_state()
        if content is None:
            return -1, True
        if content.get("boot") != self._boot:
            return -1, False
        counts, last = content.get("counts"), content.get("sequence")
        if isinstance(counts, dict):
            self.counts.update(
                {name: n for name, n in counts.items() if name in PATTERNS and type(n) is int and n >= 0}
            )
        return (last if type(last) is int else -1), False

    def _read_state(self) -> dict[str, Any] | None:
        if not self._state:
            return None
        try:
            with open(self._state, "rb") as file:
                content = json.loads(file.read(1 << 16))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def _save(self) -> None:
        """Store the position. Without the file the next run begins with new records."""
        if not self._state or self.last == self._saved:
            return
        content = {"boot": self._boot, "sequence": self.last, "counts": dict(self.counts)}
        with suppress(OSError):  # a disk that hangs must not cost other values
            self._disk.run(lambda: replace(self._state, json.dumps(content).encode()), _DISK_S)
            self._saved = self.last


def _open(root: Root) -> int:
    """Raises OSError; PermissionError also for the file that systemd mounts over a device that a unit must not see."""
    fd = root.open(FILE, _FLAGS)
    if not stat.S_IMODE(os.fstat(fd).st_mode):  # CAP_DAC_READ_SEARCH opens it all the same
        os.close(fd)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return fd


def of(reader: Reader, directory: str) -> KernelLog:
    """The log of the host, one for all collectors; its position is stored in ``directory``, unless that is empty."""
    return reader.root.shared(KernelLog, reader.root, directory)


def forget(root: Root) -> None:
    """Open the log again at the next read."""
    root.drop_shared(KernelLog)
