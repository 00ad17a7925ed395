"""A simulated fleet in which a resource of some hosts becomes short at a known tick, by a known container."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fleetdocs import Document, Fleet

from shipper.base.tick_times import timestamp
from shipper.deliver.document import Writer
from shipper.schema.datasets import DATASETS
from shipper.schema.stream_names import stream
from shipper.view.thresholds import THRESHOLDS

Values = dict[str, Any]
Fault = Callable[[Document, int], Values | None]  # a document, and how many ticks after the onset; what differs in it
_GIB: Final = 1 << 30


@dataclass(frozen=True)
class Ailing(Fleet):
    """``faults``: host → what differs in its documents from tick ``onset`` on."""

    faults: Mapping[int, Fault] = field(default_factory=dict)
    onset: int = 0

    def documents(self, hosts: Iterable[int] | None = None, ticks: range | None = None) -> Iterator[Document]:
        writers = {name: Writer(DATASETS[name].fields) for name in self.datasets}
        for one in super().documents(hosts, ticks):
            fault = self.faults.get(one.host) if one.tick >= self.onset else None
            differs = _calm(one.values) | ((fault(one, one.tick - self.onset) or {}) if fault else {})
            if not differs:
                yield one
                continue
            if killed := differs.pop("killed", None):
                yield self._kill(one, killed, writers["event"])
            values = {**one.values, **differs}
            yield replace(one, values=values, line=writers[one.dataset].write(values))

    def _kill(self, of: Document, victim: str, writer: Writer) -> Document:
        own = {name: of.values[name] for name in ("cgroup.path", "cgroup.entity", "container.id", "container.runtime")}
        values: Values = {
            **{name: of.values[name] for name in ("@timestamp", "host.name", "host.id", "labels")},
            "event.module": "system",
            "event.dataset": "shipper.event",
            "event.action": "oom_kill",
            "event.id": f"boot-{of.tick}",
            "event.start": timestamp(self.tick_ms(of.tick) - 3000),
            "message": f"Memory cgroup out of memory: Killed process 77 ({victim})",
            "event.oom.scope": "memcg",
            "event.oom.usage.bytes": 4 * _GIB,
            "event.oom.limit.bytes": 4 * _GIB,
            "event.oom.anon.bytes": 3 * _GIB,
            "event.oom.file.bytes": _GIB // 8,
            "event.oom.shmem.bytes": 0,
            "process.pid": 77,
            "process.name": victim,
            **own,
        }
        return Document("event", of.host, of.tick, False, stream("event", self.namespace), values, writer.write(values))


def _calm(values: Values) -> Values:
    """Keep all values below their thresholds: the captured host has busy moments of its own."""
    beyond = {name: steps for name, steps in THRESHOLDS.items() if not steps.falling and steps.level(values.get(name))}
    return {name: steps.warning / 2 for name, steps in beyond.items() if isinstance(values[name], float)}


def _is(one: Document, name: str) -> bool:
    return one.values.get("cgroup.name") == name


def cpu_hog(one: Document, _after: int) -> Values | None:
    if _is(one, "web-1"):
        return {"cgroup.cpu.cores": 12.0}
    if _is(one, "db-1"):
        return {"cgroup.pressure.cpu.some.avg10.pct": 0.5}
    busy = {"system.pressure.cpu.some.avg10.pct": 0.62, "system.load.norm.1": 3.1}
    return busy | {"system.cpu.total.norm.pct": 0.99, "system.cpu.total.pct": 15.8} if one.dataset == "host" else None


def memory_leak(one: Document, after: int) -> Values | None:
    if _is(one, "db-1"):
        grown = {"cgroup.memory.usage.bytes": 2 * _GIB + after * _GIB, "cgroup.pressure.memory.some.avg10.pct": 0.3}
        return grown | ({"killed": "postgres", "cgroup.memory.events.oom_kill.count_per_s": 0.1} if after == 25 else {})
    pressed = {"system.pressure.memory.some.avg10.pct": 0.45, "system.memory.actual.used.pct": 0.97}
    used = {"system.memory.used.bytes": (20 + after) * _GIB, "system.pressure.io.some.avg10.pct": 0.5}
    return pressed | used if one.dataset == "host" else None


def disk_writer(one: Document, _after: int) -> Values | None:
    if _is(one, "batch-1"):
        return {"cgroup.io.write.bytes_per_s": 400e6}
    if one.dataset == "disk" and one.values["system.diskio.name"] == "vdb":
        return {"system.diskio.queue.count": 60.0, "system.diskio.write.await.ms": 700.0, "system.diskio.util.pct": 1.0}
    waits = {"system.pressure.io.some.avg10.pct": 0.7, "system.diskio.total.write.bytes_per_s": 420e6}
    return waits | {"system.diskio.total.read.bytes_per_s": 1e6} if one.dataset == "host" else None


def full_filesystem(one: Document, _after: int) -> Values | None:
    full = one.dataset == "filesystem" and one.values["system.filesystem.mount_point"] == "/var"
    if _is(one, "queue-1"):
        return {"cgroup.io.write.bytes_per_s": 90e6}
    return {"system.filesystem.used.pct": 0.995} if full else None


def throttled(one: Document, _after: int) -> Values | None:
    return {"cgroup.cpu.throttled.pct": 0.9, "cgroup.cpu.limit.pct": 1.0} if _is(one, "api-1") else None


def packet_loss(one: Document, _after: int) -> Values | None:
    return {"system.tcp.retransmits.pct": 0.2} if one.dataset == "host" else None


def fork_storm(one: Document, after: int) -> Values | None:
    if _is(one, "cache-1"):
        return {"cgroup.pids.current": 20_000 + after}
    return {"system.threads.used.pct": 0.95, "system.threads.count": 30_400 + after} if one.dataset == "host" else None


def clock_step(one: Document, after: int) -> Values | None:
    """The clock was set just when the CPU became short."""
    if one.dataset == "agent" and after == 0:
        return {"agent.clock.step.ms": -90_000}
    return cpu_hog(one, after)
