"""The processes that use most CPU and most memory, and the container each belongs to.

They are found among all processes, which ``processes`` reads once a minute; psutil tells the rest of the few that are
published.
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
from shipper.collect.process import scrub, stat
from shipper.collect.process.stat import Stat
from shipper.fields.field import Field, Kind, Type, attribute, constant, counter, cpu_time, dimension, gauge, real
from shipper.fields.rates import Reading, Value, cpus, rates
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
_YOUNGEST_NS: Final = 100_000_000  # the kernel counts in ticks of 10 ms
_CPU: Final = cpu_time(f"{_PREFIX}.cpu.total.ns", "CPU time used", "proc/PID/stat 14th + 15th")
FIELDS: Final[tuple[Field, ...]] = (
    dimension("process.entity_id", "Process id and start: tells it from a later one with the same id", "proc/PID/stat"),
    Field("process.pid", Type.LONG, Kind.ATTRIBUTE, "", "Process id", "proc/PID"),
    Field("process.parent.pid", Type.LONG, Kind.ATTRIBUTE, "", "Process id of the parent", "proc/PID/stat 4th"),
    attribute(
        "process.name", "Name of the program, 15 bytes at most; of a kernel thread up to 63", "proc/PID/stat 2nd"
    ),
    attribute("process.command_line", "Its arguments, secrets scrubbed; only where configured", "proc/PID/cmdline"),
    attribute("process.start", "When it started", "proc/PID/stat 22nd, proc/stat btime", Type.DATE),
    attribute("user.id", "Real user id", "proc/PID/status Uid"),
    attribute("user.name", "Name of that user on the host", "etc/passwd"),
    attribute(f"{_PREFIX}.state", "running, sleeping, disk_sleep, idle, stopped, zombie, dead", "proc/PID/stat 3rd"),
    _CPU,
    real(f"{_PREFIX}.cpu.total.norm.pct", "pct", "CPU time, of all the host's logical CPUs", f"{_CPU.rate} / cores"),
    gauge(
        f"{_PREFIX}.memory.rss.bytes", "bytes", "Resident memory, shared pages counted in full", "proc/PID/stat 24th"
    ),
    real(f"{_PREFIX}.memory.rss.pct", "pct", "Resident memory, of the host's", "proc/meminfo MemTotal"),
    gauge(
        f"{_PREFIX}.memory.pss.bytes", "bytes", "Resident memory, shared pages in proportion", "proc/PID/smaps_rollup"
    ),
    gauge(f"{_PREFIX}.num_threads", "count", "Threads", "proc/PID/stat 20th"),
    gauge(f"{_PREFIX}.fd.open", "count", "Open files", "proc/PID/fd"),
    attribute(
        f"{_PREFIX}.oom_score", "How likely it is killed for want of memory, to 2000", "proc/PID/oom_score", Type.LONG
    ),
    counter(f"{_PREFIX}.io.read.bytes", "bytes", "Read from block devices", "proc/PID/io read_bytes"),
    counter(f"{_PREFIX}.io.write.bytes", "bytes", "Written to block devices", "proc/PID/io write_bytes"),
    dimension("cgroup.path", "The cgroup it is in", "proc/PID/cgroup"),
    ENTITY,
    constant("container.id", "The container or machine it belongs to", "proc/PID/cgroup"),
    constant("container.runtime", "Who runs that", "proc/PID/cgroup"),
)


def cgroup_of(text: bytes) -> tuple[str, Identity | None] | None:
    """Path and identity of the deepest cgroup that has a name of its own; without an identity where none has.

    Lines ``5:memory:/docker/<id>``, ``0::/system.slice/sshd.service``; the one that tells most wins, for a process need
    not be in a container's cgroup in each v1 hierarchy. None where a cgroup namespace hides the path (``/../..``).
    """
    paths = [line.split(b":", 2)[-1].decode("utf-8", "surrogateescape") for line in text.split(b"\n")]
    known = [path.strip("/").split("/") for path in paths if path.startswith("/") and path != "/" and "/.." not in path]
    best = max(filter(None, map(deepest, known)), key=lambda one: one[0].count("/"), default=None)
    return best or max((("/" + "/".join(parts), None) for parts in known), key=lambda one: len(one[0]), default=None)


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
        self._before: dict[str, Reading] = {}

    def readings(self, stats: Sequence[Stat], at_ns: int) -> list[Reading]:
        """Of the chosen ones of all processes, ``stats``, which were read at ``at_ns``."""
        facts = self._facts()
        most = {"ns": cpus(facts["cores"])} if facts["cores"] else {}
        now = {
            one.key: Reading(DATASET, one.key, at_ns, {_CPU.name: one.cpu * _NS_PER_TICK}, most=most)
            for one in stats
            if one.cpu is not None and one.start is not None
        }
        used = {key: rates(reading, self._before.get(key), (_CPU,)).get(_CPU.rate) for key, reading in now.items()}
        ranks = {one.key: used.get(one.key) for one in stats}
        for one in stats:
            if ranks[one.key] is None:  # under one look: by what it used from its start to now
                ranks[one.key] = _since_start(one, at_ns)
                if self._before:
                    used[one.key] = ranks[one.key]
        busiest = heapq.nlargest(self._most, stats, key=lambda one: ranks[one.key] or 0.0)
        largest = heapq.nlargest(self._most, stats, key=lambda one: one.rss or 0)
        chosen = {one.key: one for one in [*(one for one in busiest if ranks[one.key]), *largest]}
        with _psutil_below(self._reader):
            readings = [
                # without its start it cannot be told from a later process, and has no rate
                Reading(DATASET, key, at_ns, values, at_ns if one.start is None else one.start, most)
                for key, one in chosen.items()
                if (values := self._values(one, used.get(key), facts)) is not None
            ]
        self._before = now
        return readings

    def _facts(self) -> dict[str, Any]:
        """What is the same for all processes of a look."""
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

    def _values(self, one: Stat, cpu: float | None, facts: Mapping[str, Any]) -> dict[str, Value] | None:
        values: dict[str, Value] = {
            "process.entity_id": one.key,
            "process.pid": one.pid,
            "process.name": one.name,
            f"{_PREFIX}.state": one.state,
            **_columns(one),
        }
        if cpu is not None:
            values[_CPU.rate] = cpu
            if facts["cores"]:
                values[f"{_PREFIX}.cpu.total.norm.pct"] = cpu / facts["cores"]
        if facts["memory"] and one.rss is not None:
            values[f"{_PREFIX}.memory.rss.pct"] = one.rss / facts["memory"]
        if facts["boot"] and one.start is not None:
            with contextlib.suppress(ValueError, OverflowError, OSError):  # a year that no calendar has
                began = datetime.fromtimestamp(facts["boot"] + one.start / _HZ, UTC)
                values["process.start"] = began.isoformat(timespec="seconds")
        details = self._details(one, facts["users"])
        return None if details is None else values | details | self._container(one)

    def _details(self, one: Stat, users: Mapping[str, str]) -> dict[str, Value] | None:
        """What psutil tells; None where the process ended, or its id is another's by now."""
        values: dict[str, Value] = {}
        try:
            process = psutil.Process(one.pid)
            for ask in (_user, _files, _io, _pss, self._command_line):
                with contextlib.suppress(psutil.AccessDenied, FileNotFoundError, LookupError):
                    values |= ask(process)
            again = self._again(one.pid)
        except psutil.NoSuchProcess:
            return None
        except (psutil.Error, OSError, ValueError, LookupError, AttributeError) as error:
            self._reader.problem(f"proc/{one.pid}", f"{type(error).__name__}: {error}")
            return values
        if again is None or again.start != one.start:
            return None
        if values.get("user.id") in users:
            values["user.name"] = users[str(values["user.id"])]
        score = self._reader.read_once(f"proc/{one.pid}/oom_score")
        if score:
            with contextlib.suppress(ParseError):
                values[f"{_PREFIX}.oom_score"] = integer(score)
        return values

    def _again(self, pid: int) -> Stat | None:
        try:
            return stat.parse(self._reader.read_once(f"proc/{pid}/stat") or b"")
        except ParseError as error:
            sound: Stat | None = error.partial
            return sound

    def _command_line(self, process: psutil.Process) -> dict[str, Value]:
        line = self.scrubbed(process.cmdline()) if self._lines else ""
        return {"process.command_line": line} if line else {}

    def scrubbed(self, arguments: Iterable[str]) -> str:
        """One line of at most 1,024 characters, without what ``scrub`` knows and the first groups of the patterns."""
        line = " ".join(scrub.scrubbed(arguments))
        for pattern in self._scrub:
            line = pattern.sub(_without_group, line)
        return line[:_LONGEST]

    def _container(self, one: Stat) -> dict[str, Value]:
        # Relative to a cgroup namespace of our own, a path may look like one of the host's
        if namespace.shared(self._reader, "cgroup") is False:
            self._reader.lacks["cgroups of processes"] = "this process has a cgroup namespace of its own"
            return {}
        found = cgroup_of(self._reader.read_once(f"proc/{one.pid}/cgroup") or b"")
        if found is None:
            return {}
        return membership(self._reader, *found)


def _columns(one: Stat) -> dict[str, Value]:
    columns = {
        "process.parent.pid": one.parent,
        _CPU.name: None if one.cpu is None else one.cpu * _NS_PER_TICK,
        f"{_PREFIX}.memory.rss.bytes": one.rss,
        f"{_PREFIX}.num_threads": one.threads,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _without_group(match: re.Match[str]) -> str:
    if not match.re.groups or not match[1]:
        return match[0]
    start, end = match.start(1) - match.start(), match.end(1) - match.start()
    return f"{match[0][:start]}{scrub.HIDDEN}{match[0][end:]}"


def _since_start(one: Stat, at_ns: int) -> float | None:
    """CPUs that it used on average since it started; the clock of rates counts from boot, as its start does."""
    if one.cpu is None or one.start is None:
        return None
    age_ns = at_ns - one.start * _NS_PER_TICK
    return one.cpu * _NS_PER_TICK / age_ns if age_ns >= _YOUNGEST_NS else None


@contextlib.contextmanager
def _psutil_below(reader: Reader) -> Iterator[None]:
    """Let psutil ask the host's proc. It knows no other way than a global, which others in this process rely on."""
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
