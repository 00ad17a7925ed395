"""The processes with the highest CPU and memory usage, and the container of each.

They are chosen from all processes, which ``processes`` reads once a minute; psutil reads the details of the chosen ones.
"""

import contextlib
import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psutil

from shipper.collect.cgroup.entities import ENTITY, membership
from shipper.collect.cgroup.identity import Identity, deepest
from shipper.collect.process import scrub
from shipper.collect.process import stat as process_stat
from shipper.collect.process.stat import Stat
from shipper.fields.field import Field, Kind, Type, attribute, constant, counter, cpu_time, dimension, gauge, real
from shipper.fields.rates import Counters, Kept, Reading, Value, cpus
from shipper.kernel import accounts, namespace
from shipper.kernel.parse import ParseError, integer, meminfo
from shipper.kernel.source import Reader
from shipper.settings.config import Config
from shipper.settings.options import boolean, option, whole, words

DATASET: Final = "process"
_PREFIX: Final = "system.process"
_HZ: Final = os.sysconf("SC_CLK_TCK")
_NS_PER_TICK: Final = 1_000_000_000 // _HZ
_LONGEST: Final = 1024
_YOUNGEST_NS: Final = 100_000_000  # CPU time is counted in ticks of 10 ms
_CPU: Final = cpu_time(f"{_PREFIX}.cpu.total.ns", "CPU time used", "proc/PID/stat 14th + 15th")
_COUNTERS: Final = Counters((_CPU,))
FIELDS: Final[tuple[Field, ...]] = (
    dimension(
        "process.entity_id",
        "Process id and start time, which distinguish it from a later process with the same id",
        "proc/PID/stat",
    ),
    Field("process.pid", Type.LONG, Kind.ATTRIBUTE, "", "Process id", "proc/PID"),
    Field("process.parent.pid", Type.LONG, Kind.ATTRIBUTE, "", "Process id of the parent", "proc/PID/stat 4th"),
    attribute(
        "process.name", "Name of the program, at most 15 bytes; of a kernel thread at most 63", "proc/PID/stat 2nd"
    ),
    attribute(
        "process.command_line",
        "Arguments with secrets replaced; only if collect.command_lines is set",
        "proc/PID/cmdline",
    ),
    attribute("process.start", "Start time", "proc/PID/stat 22nd, proc/stat btime", Type.DATE),
    attribute("user.id", "Real user id", "proc/PID/status Uid"),
    attribute("user.name", "Name of that user on the host", "etc/passwd"),
    attribute(f"{_PREFIX}.state", "running, sleeping, disk_sleep, idle, stopped, zombie, dead", "proc/PID/stat 3rd"),
    _CPU,
    real(
        f"{_PREFIX}.cpu.total.norm.pct",
        "pct",
        "CPU usage as a share of all logical CPUs of the host",
        f"{_CPU.rate} / cores",
    ),
    gauge(
        f"{_PREFIX}.memory.rss.bytes",
        "bytes",
        "Resident memory, with shared pages counted in full",
        "proc/PID/stat 24th",
    ),
    real(
        f"{_PREFIX}.memory.rss.pct", "pct", "Resident memory as a share of the host's memory", "proc/meminfo MemTotal"
    ),
    gauge(
        f"{_PREFIX}.memory.pss.bytes",
        "bytes",
        "Proportional set size: resident memory, with shared pages divided among the processes that share them",
        "proc/PID/smaps_rollup",
    ),
    gauge(f"{_PREFIX}.num_threads", "count", "Threads", "proc/PID/stat 20th"),
    gauge(f"{_PREFIX}.fd.open", "count", "Open files", "proc/PID/fd"),
    attribute(
        f"{_PREFIX}.oom_score",
        "OOM score, 0 to 2000: the kernel kills the process with the highest score first",
        "proc/PID/oom_score",
        Type.LONG,
    ),
    counter(f"{_PREFIX}.io.read.bytes", "bytes", "Bytes read from block devices", "proc/PID/io read_bytes"),
    counter(f"{_PREFIX}.io.write.bytes", "bytes", "Bytes written to block devices", "proc/PID/io write_bytes"),
    dimension("cgroup.path", "Cgroup of the process", "proc/PID/cgroup"),
    ENTITY,
    constant("container.id", "Container or machine of the process", "proc/PID/cgroup"),
    constant("container.runtime", "Runtime of that container", "proc/PID/cgroup"),
)


def cgroup_of(text: bytes) -> tuple[str, Identity | None] | None:
    """Path and identity of the deepest named cgroup in ``proc/PID/cgroup``; without an identity if none is named.

    Lines are ``5:memory:/docker/<id>`` or ``0::/system.slice/sshd.service``; the longest path wins, because a process may
    be in the cgroup of its container in only some v1 hierarchies. None if a cgroup namespace hides the path (``/../..``).
    """
    paths = [line.split(b":", 2)[-1].decode("utf-8", "surrogateescape") for line in text.split(b"\n")]
    known = [path.strip("/").split("/") for path in paths if path.startswith("/") and path != "/" and "/.." not in path]
    best = max(filter(None, map(deepest, known)), key=lambda named: named[0].count("/"), default=None)
    return best or max(
        (("/" + "/".join(parts), None) for parts in known), key=lambda unnamed: len(unnamed[0]), default=None
    )


def _has_group(pattern: str) -> bool:
    try:
        return re.compile(pattern).groups > 0
    except re.error:
        return False


@dataclass(frozen=True)
class Options:
    """Options of the process collector, in section ``collect``."""

    processes: int = option(10, "How many processes to report, by CPU and by memory; 0 means none", whole(0, 100))
    command_lines: bool = option(False, "Publish the arguments of processes, too", boolean())  # noqa: FBT003
    command_line_scrub: tuple[str, ...] = option(
        (),
        "Further regular expressions whose first group is replaced by ***; README.md lists what is always hidden",
        words("a list of regular expressions with one group", placeholder="REGEX,…", valid=_has_group),
    )


class Busiest:
    """Chooses ``most`` processes by CPU time and as many by memory, from turn to turn."""

    def __init__(self, reader: Reader, config: Config, most: int) -> None:
        self._reader = reader
        self._most = most
        self._lines = config.of(Options).command_lines
        self._scrub = [re.compile(pattern, re.IGNORECASE) for pattern in config.of(Options).command_line_scrub]
        self._before: dict[str, Kept] = {}

    def readings(self, stats: Sequence[Stat], at_ns: int) -> list[Reading]:
        """Readings of the chosen processes. ``stats`` are all processes, read at ``at_ns``."""
        facts = self._facts()
        most = {"ns": cpus(facts["cores"])} if facts["cores"] else {}
        now = {
            stat.key: Reading(DATASET, stat.key, at_ns, {_CPU.name: stat.cpu * _NS_PER_TICK}, most=most)
            for stat in stats
            if stat.cpu is not None and stat.start is not None
        }
        grown = {key: _COUNTERS.rates(reading, self._before.get(key)) for key, reading in now.items()}
        used = {key: rates.get(_CPU.rate) for key, (rates, _) in grown.items()}
        ranks = {stat.key: used.get(stat.key) for stat in stats}
        for stat in stats:
            if ranks[stat.key] is None:  # a process that is new: its average since it started
                ranks[stat.key] = _since_start(stat, at_ns)
                if self._before:
                    used[stat.key] = ranks[stat.key]
        busiest = heapq.nlargest(self._most, stats, key=lambda stat: ranks[stat.key] or 0.0)
        largest = heapq.nlargest(self._most, stats, key=lambda stat: stat.rss or 0)
        chosen = {stat.key: stat for stat in [*(stat for stat in busiest if ranks[stat.key]), *largest]}
        with _psutil_below(self._reader):
            readings = [
                # without its start time it cannot be told from a later process, and has no rate
                Reading(DATASET, key, at_ns, values, at_ns if stat.start is None else stat.start, most)
                for key, stat in chosen.items()
                if (values := self._values(stat, used.get(key), facts)) is not None
            ]
        self._before = {key: kept for key, (_, kept) in grown.items()}
        return readings

    def _facts(self) -> dict[str, Any]:
        """What is the same for all processes in a turn."""
        text = self._reader.read("proc/stat") or b""
        boot = re.search(rb"^btime (\d+)$", text, re.MULTILINE)
        memory = self._reader.parse("proc/meminfo", lambda text: meminfo(text, {b"MemTotal": "total"})) or {}
        users = accounts.parse(self._reader.read_once("etc/passwd") or b"")
        return {
            "cores": text.count(b"\ncpu"),
            "memory": memory.get("total"),
            "boot": int(boot[1]) if boot and namespace.shared(self._reader, "time") is not False else None,
            "users": {user.id: user.name for user in users},
        }

    def _values(self, process: Stat, cpu: float | None, facts: Mapping[str, Any]) -> dict[str, Value] | None:
        values: dict[str, Value] = {
            "process.entity_id": process.key,
            "process.pid": process.pid,
            "process.name": process.name,
            f"{_PREFIX}.state": process.state,
            **_columns(process),
        }
        if cpu is not None:
            values[_CPU.rate] = cpu
            if facts["cores"]:
                values[f"{_PREFIX}.cpu.total.norm.pct"] = cpu / facts["cores"]
        if facts["memory"] and process.rss is not None:
            values[f"{_PREFIX}.memory.rss.pct"] = process.rss / facts["memory"]
        if facts["boot"] and process.start is not None:
            with contextlib.suppress(ValueError, OverflowError, OSError):  # a year beyond the calendar
                began = datetime.fromtimestamp(facts["boot"] + process.start / _HZ, UTC)
                values["process.start"] = began.isoformat(timespec="seconds")
        details = self._details(process, facts["users"])
        return None if details is None else values | details | self._container(process)

    def _details(self, process: Stat, users: Mapping[str, str]) -> dict[str, Value] | None:
        """What psutil reads; None if the process ended, or another process has its id now."""
        values: dict[str, Value] = {}
        try:
            live = psutil.Process(process.pid)
            for ask in (_user, _files, _io, _pss, self._command_line):
                with contextlib.suppress(psutil.AccessDenied, FileNotFoundError, LookupError):
                    values |= ask(live)
            again = self._again(process.pid)
        except psutil.NoSuchProcess:
            return None
        except (psutil.Error, OSError, ValueError, LookupError, AttributeError) as error:
            self._reader.problem(f"proc/{process.pid}", f"{type(error).__name__}: {error}")
            return values
        if again is None or again.start != process.start:
            return None
        if values.get("user.id") in users:
            values["user.name"] = users[str(values["user.id"])]
        score = self._reader.read_once(f"proc/{process.pid}/oom_score")
        if score:
            with contextlib.suppress(ParseError):
                values[f"{_PREFIX}.oom_score"] = integer(score)
        return values

    def _again(self, pid: int) -> Stat | None:
        try:
            return process_stat.parse(self._reader.read_once(f"proc/{pid}/stat") or b"")
        except ParseError as error:
            sound: Stat | None = error.partial
            return sound

    def _command_line(self, process: psutil.Process) -> dict[str, Value]:
        line = self.scrubbed(process.cmdline()) if self._lines else ""
        return {"process.command_line": line} if line else {}

    def scrubbed(self, arguments: Iterable[str]) -> str:
        """The arguments as a line of at most 1,024 characters; ``scrub`` and the configured patterns hide secrets."""
        line = " ".join(scrub.scrubbed(arguments))
        for pattern in self._scrub:
            line = pattern.sub(_without_group, line)
        return line[:_LONGEST]

    def _container(self, process: Stat) -> dict[str, Value]:
        # A path relative to our own cgroup namespace may look like one of the host
        if namespace.shared(self._reader, "cgroup") is False:
            self._reader.lacks["cgroups of processes"] = "this process is in its own cgroup namespace"
            return {}
        cgroup = cgroup_of(self._reader.read_once(f"proc/{process.pid}/cgroup") or b"")
        return {} if cgroup is None else membership(self._reader, *cgroup)


def _columns(process: Stat) -> dict[str, Value]:
    columns = {
        "process.parent.pid": process.parent,
        _CPU.name: None if process.cpu is None else process.cpu * _NS_PER_TICK,
        f"{_PREFIX}.memory.rss.bytes": process.rss,
        f"{_PREFIX}.num_threads": process.threads,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _without_group(match: re.Match[str]) -> str:
    if not match.re.groups or not match[1]:
        return match[0]
    start, end = match.start(1) - match.start(), match.end(1) - match.start()
    return f"{match[0][:start]}{scrub.HIDDEN}{match[0][end:]}"


def _since_start(process: Stat, at_ns: int) -> float | None:
    """Average CPU usage in CPUs since it started; ``at_ns`` and its start both count from boot."""
    if process.cpu is None or process.start is None:
        return None
    age_ns = at_ns - process.start * _NS_PER_TICK
    return process.cpu * _NS_PER_TICK / age_ns if age_ns >= _YOUNGEST_NS else None


@contextlib.contextmanager
def _psutil_below(reader: Reader) -> Iterator[None]:
    """Make psutil read the host's proc. The only way is a global, on which other code in this process relies."""
    former = psutil.PROCFS_PATH
    psutil.PROCFS_PATH = reader.root.absolute("proc")
    try:
        yield
    finally:
        psutil.PROCFS_PATH = former


def _user(process: psutil.Process) -> dict[str, Value]:
    return {"user.id": str(process.uids().real)}


def _files(process: psutil.Process) -> dict[str, Value]:
    return {f"{_PREFIX}.fd.open": process.num_fds()}


def _io(process: psutil.Process) -> dict[str, Value]:
    counts = process.io_counters()
    return {f"{_PREFIX}.io.read.bytes": counts.read_bytes, f"{_PREFIX}.io.write.bytes": counts.write_bytes}


def _pss(process: psutil.Process) -> dict[str, Value]:
    memory = process.memory_full_info()
    return {f"{_PREFIX}.memory.pss.bytes": memory.pss} if memory.rss else {}  # a kernel thread has none
