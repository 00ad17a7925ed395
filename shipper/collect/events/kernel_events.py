"""Messages of the kernel's log: counts on the host document, and one document per OOM kill.

On cgroup v1 the count of OOM kills is lost with the cgroup: a container that is killed and recreated again and again would
show none. The log has all of them. ``kernel_log`` has the patterns that are counted, ``oom`` the lines of an OOM kill.
"""

from collections.abc import Iterable
from typing import Final

from shipper.base.tick_times import timestamp
from shipper.collect.cgroup.entities import ENTITY, membership
from shipper.collect.cgroup.identity import deepest
from shipper.collect.contract import Collect, Collector, Output
from shipper.collect.events import kernel_log
from shipper.collect.events.oom import Kill
from shipper.fields.dataset import HOST
from shipper.fields.field import Field, Kind, Type, attribute, constant, dimension, gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel.source import Reader
from shipper.settings.config import Config

DATASET: Final = "event"
_LACKING: Final = "kernel log (system.kernel.log, events)"
_OOM: Final = "event.oom"
_SIZES: Final = {
    "usage": "Memory usage of the cgroup whose limit was reached",
    "limit": "The limit that was reached; absent if the host ran out of memory",
    "anon": "Anonymous memory of the process",
    "file": "Files mapped into the process",
    "shmem": "Shared memory of the process",
}

FIELDS: Final[tuple[Field, ...]] = (
    dimension("event.id", "Boot id and number of the record in the kernel's log", kernel_log.FILE),
    attribute("event.action", "Always oom_kill", kernel_log.FILE),
    attribute(
        "event.start", "When the kernel logged it; @timestamp is the tick that read it", kernel_log.FILE, Type.DATE
    ),
    attribute("message", "Text of the record", kernel_log.FILE),
    attribute(
        f"{_OOM}.scope", "memcg if a cgroup reached its limit; host if the host ran out of memory", kernel_log.FILE
    ),
    attribute(f"{_OOM}.cgroup", "The cgroup whose limit was reached", f"{kernel_log.FILE} oom_memcg"),
    *(gauge(f"{_OOM}.{name}.bytes", "bytes", help_, kernel_log.FILE) for name, help_ in _SIZES.items()),
    Field("process.pid", Type.LONG, Kind.ATTRIBUTE, "", "Process id of the killed process", kernel_log.FILE),
    attribute("process.name", "Name of the killed process, at most 15 bytes", kernel_log.FILE),
    dimension("cgroup.path", "Cgroup of the killed process", f"{kernel_log.FILE} task_memcg"),
    ENTITY,
    constant("container.id", "Container or machine of the killed process", f"{kernel_log.FILE} task_memcg"),
    constant("container.runtime", "Runtime of that container", f"{kernel_log.FILE} task_memcg"),
)


def start(reader: Reader, config: Config) -> Collect:
    """The counts, and one reading per OOM kill since the previous call."""
    log = kernel_log.of(reader, config.spool.directory)
    begun = False

    def collect() -> Iterable[Reading]:
        nonlocal begun
        readable = log.read(reader)
        reader.lacks = {_LACKING: log.lacking} if log.lacking else {}
        if readable:
            yield Reading(HOST, "", reader.now_ns(), log.values(), log.identity)
        if begun:  # no document is made of what the first turn gives
            for kill in log.take():
                yield _reading(reader, *kill)
        begun = True

    return collect


def _reading(reader: Reader, id_: str, message: str, at_ns: int, kill: Kill) -> Reading:
    sizes = {"usage": kill.usage, "limit": kill.limit, "anon": kill.anon, "file": kill.file, "shmem": kill.shmem}
    values: dict[str, Value] = {
        "event.id": id_,
        "event.action": "oom_kill",
        "event.start": timestamp(at_ns // 1_000_000),
        "message": message,
        f"{_OOM}.scope": kill.scope,
        "process.pid": kill.pid,
        "process.name": kill.name,
        **({f"{_OOM}.cgroup": kill.limited} if kill.limited else {}),
        **{f"{_OOM}.{name}.bytes": size for name, size in sizes.items() if size >= 0},
        **_of_cgroup(reader, kill.cgroup),
    }
    return Reading(DATASET, id_, reader.now_ns(), values)


def _of_cgroup(reader: Reader, path: str) -> dict[str, Value]:
    if not path:
        return {}
    return membership(reader, *(deepest(path.strip("/").split("/")) or (path, None)))


COLLECTOR: Final = Collector("kernel_log", start, {HOST: Output(kernel_log.FIELDS), DATASET: Output(FIELDS)})
