"""Kernel tables that can fill up, and the state of the kernel: ``proc/sys/{fs,kernel}``.

    file-nr   1152 0 9223372036854775807     (allocated, 0 since Linux 2.6, maximum)
    inode-nr  38270 7162                     (in memory, unused ones among them)

https://docs.kernel.org/admin-guide/sysctl/fs.html, https://docs.kernel.org/admin-guide/sysctl/kernel.html,
https://docs.kernel.org/admin-guide/tainted-kernels.html
"""

import re
from collections.abc import Iterable, Mapping

from shipper.collect.contract import Collect, Collector, Need, Output, host_reading
from shipper.fields.dataset import HOST
from shipper.fields.field import Type, attribute, gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel import namespace
from shipper.kernel.every import Every
from shipper.kernel.parse import ParseError, columns, integer, shown, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_SYS = "proc/sys"
_TAINT = "system.kernel.taint"
_PIDS = "system.pids.limit.count"
_SINGLE = {
    "system.entropy.available_bits": (
        f"{_SYS}/kernel/random/entropy_avail",
        "bits",
        "Entropy in the random pool; read once a minute",
    ),
    _PIDS: (f"{_SYS}/kernel/pid_max", "count", "Maximum number of process and thread ids; read once a minute"),
    "system.threads.limit.count": (
        f"{_SYS}/kernel/threads-max",
        "count",
        "Maximum number of threads on the host; read once a minute",
    ),
    _TAINT: (
        f"{_SYS}/kernel/tainted",
        "",
        "Bit mask of the reasons why the kernel is tainted; 0 if it is not; read once a minute",
    ),
}
_RELEASE = f"{_SYS}/kernel/osrelease"
_PID_MAX_OF_NAMESPACE = (6, 14)
_FILES = f"{_SYS}/fs/file-nr"
_INODES = f"{_SYS}/fs/inode-nr"
_EVERY_S = 60
_REBOOT = "run/reboot-required"
_SESSIONS = "run/systemd/sessions"
_NO_LIMIT = 2**63 - 1
_LOGIND = "run/systemd/seats/seat0"  # made by logind; the directories exist without it, too

FIELDS = (
    *(gauge(name, unit, help_, path) for name, (path, unit, help_) in _SINGLE.items() if unit),
    attribute(_TAINT, _SINGLE[_TAINT][2], _SINGLE[_TAINT][0], Type.LONG),
    gauge("system.files.open.count", "count", "Open files (allocated file handles)", f"{_FILES} 1st"),
    gauge("system.files.limit.count", "count", "Maximum number of open files on the host", f"{_FILES} 3rd"),
    real("system.files.used.pct", "pct", "Share of the maximum number of open files", f"{_FILES} 1st / 3rd"),
    real(
        "system.threads.used.pct",
        "pct",
        "Threads as a share of the smaller limit: of threads, or of process and thread ids",
        f"system.threads.count / the smaller of system.threads.limit.count, {_PIDS}",
    ),
    gauge("system.inodes.count", "count", "Inodes in memory", f"{_INODES} 1st"),
    gauge("system.inodes.unused.count", "count", "Unused inodes in memory", f"{_INODES} 2nd"),
    gauge("system.sessions.count", "count", "Login sessions; absent if logind does not run", _SESSIONS),
    attribute(
        "system.reboot_required",
        "Whether an upgrade needs a reboot (Debian's flag file); read once a minute",
        _REBOOT,
        Type.BOOLEAN,
    ),
)


def _numbers(text: bytes, fields: tuple[str, ...]) -> dict[str, Value]:
    """The numbers of a line by the names in ``fields``; an empty name skips a number. Raises ParseError."""
    words = whole(text).split()
    if len(words) < len(fields):
        raise ParseError(f"not {len(fields)} numbers: {shown(text)}")
    return {**columns((field, word) for field, word in zip(fields, words, strict=False) if field)}


def files(text: bytes) -> dict[str, Value]:
    """Values of ``file-nr``. Raises ParseError."""
    return _numbers(text, ("system.files.open.count", "", "system.files.limit.count"))


def inodes(text: bytes) -> dict[str, Value]:
    """Values of ``inode-nr``. Raises ParseError."""
    return _numbers(text, ("system.inodes.count", "system.inodes.unused.count"))


def _is_hosts_pid_max(reader: Reader) -> bool:
    """Since Linux 6.14 pid_max belongs to the reader's pid namespace."""
    release = re.match(rb"(\d+)\.(\d+)", reader.read_once(_RELEASE) or b"")
    of_namespace = release is None or (int(release[1]), int(release[2])) >= _PID_MAX_OF_NAMESPACE
    return not of_namespace or not namespace.own_processes(reader)


def _slow(reader: Reader) -> dict[str, Value]:
    """What changes slowly, or only if a person or an upgrade changes it."""
    values: dict[str, Value] = {"system.reboot_required": reader.exists(_REBOOT)}
    for name, (path, _, _) in _SINGLE.items():
        number = reader.parse(path, lambda text: integer(whole(text)))
        if number is not None and name == _PIDS and not reader.root.shared(_is_hosts_pid_max, reader):
            reader.lacks[name] = "this process is in its own pid namespace, which has its own pid_max"
        elif number is not None:
            values[name] = number
    return values


def start(reader: Reader, _config: Config) -> Collect:
    """Limits, entropy, taint and the reboot flag are read once a minute and published at every tick.

    A host without login sessions is asked once a minute whether logind runs.
    """
    every = Every(_EVERY_S)
    slow: dict[str, Value] = {}
    sessions, logind = 0, False

    def collect() -> Iterable[Reading]:
        nonlocal slow, sessions, logind
        due = every.due(reader.now_ns())
        if due:
            slow, logind = _slow(reader), reader.exists(_LOGIND)
        if due or logind or sessions:
            sessions = sum(name.isalnum() for name in reader.names(_SESSIONS))
        values: dict[str, Value] = {
            **slow,
            **(reader.parse(_FILES, files) or {}),
            **(reader.parse(_INODES, inodes) or {}),
        }
        if sessions or logind:
            values["system.sessions.count"] = sessions
        return host_reading(reader, values)

    return collect


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Shares of the limits, 0 to 1; ``load`` adds the number of threads. A limit of 2⁶³−1 open files means no limit."""
    made: dict[str, Value] = {}
    used, most = values.get("system.files.open.count"), values.get("system.files.limit.count")
    if isinstance(used, int) and isinstance(most, int) and 0 < most < _NO_LIMIT:
        made["system.files.used.pct"] = used / most
    threads = values.get("system.threads.count")
    limits = [limit for name in ("system.threads.limit.count", _PIDS) if isinstance(limit := values.get(name), int)]
    if isinstance(threads, int) and limits and min(limits) > 0:
        made["system.threads.used.pct"] = threads / min(limits)
    return made


NEEDS = (Need("login sessions (system.sessions)", (_LOGIND,), "logind does not run"),)

COLLECTOR = Collector("kernel", start, {HOST: Output(FIELDS, derive)}, NEEDS)
