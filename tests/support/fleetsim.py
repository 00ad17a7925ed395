"""One simulated entity – a host, a container, a disk – moved on in time from what was captured of a real one.

The captured readings give which leaves there are and how fast counters grow. Per tick an entity has one *level* in
0.01 … 0.99, a pure function of its seed and the tick: counters grow with it, gauges stand at it. Rates, growth and
shares are then made by the product's own code.
"""

import math
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from captured import CapturedRoot
from moments import HOSTS

from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.collect import COLLECTORS
from shipper.collect.contract import Derive, nothing
from shipper.collect.host import filesystem, memory
from shipper.deliver.ledger import DeliveryState, Ledger
from shipper.deliver.spool import Spool
from shipper.fields.field import Field
from shipper.fields.rates import Counters, Kept, Reading, Value
from shipper.kernel.source import Reader
from shipper.schema.agent_fields import FIELDS as AGENT_FIELDS
from shipper.schema.datasets import DATASETS
from shipper.settings.config import Collect, Config

Values = dict[str, Any]
CORES: Final = 16
MEMORY: Final = 64 << 30
_NS: Final = 1_000_000_000
_MASK: Final = (1 << 64) - 1
_WAVE_S: Final = 6 * 3600.0
# What happens to few: bad packets, kills, refusals. They do not grow by themselves
_RARE: Final = re.compile(
    r"error|dropped|drops|oom|kill|events|fail|fifo|frame|carrier|collision|compressed|corrupt|overflow|abort|"
    r"unreachable|no_routes|no_ports|discard|refault|scanned|reclaimed|lost|reset|orphan|missed|duplicate|rejected"
)
# Growth per second at full level where the captured host was idle, by unit
_IDLE: Final = {"bytes": 400_000, "count": 40, "ns": 200_000_000, "us": 20_000, "ms": 100}
_STATES: Final = {"user": 0.66, "system": 0.22, "iowait": 0.06, "softirq": 0.03, "nice": 0.02, "steal": 0.01}


def noise(seed: int, tick: int = 0) -> float:
    """0 … 1, the same for the same arguments."""
    x = (seed ^ (tick + 1) * 0x9E3779B97F4A7C15) & _MASK
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD & _MASK
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return (x ^ x >> 33) / 2**64


@dataclass(frozen=True)
class Kind:
    """What was captured of one entity: its values, and how fast each counter grew, per second."""

    dataset: str
    values: Values
    counters: tuple[Field, ...]
    derives: tuple[Derive, ...]
    per_s: dict[str, float] = field(default_factory=dict)

    @cached_property
    def counted(self) -> Counters:
        return Counters(self.counters)


@cache
def captured(host: str) -> dict[str, dict[str, Kind]]:
    """Dataset → entity → what was captured of it in tests/hosts/``host``, the host's collectors taken together."""
    found: dict[str, dict[str, Kind]] = {}
    with tempfile.TemporaryDirectory() as directory:
        root = CapturedRoot(HOSTS / host, Path(directory))
        config = Config(collect=Collect(datasets=tuple(DATASETS)))
        for collector in COLLECTORS:
            collect = collector.start(Reader(root), config)
            root.show(0)
            before = {(one.dataset, one.entity): one for one in collect()}
            root.show(1)
            for now in collect():
                output = collector.outputs[now.dataset]
                made = {field.rate for field in output.counters}
                values = {name: value for name, value in now.values.items() if name not in made}
                kind = Kind(now.dataset, values, output.counters, (output.derive,))
                kind.per_s.update(_speeds(now, before.get((now.dataset, now.entity)), output.counters))
                known = found.setdefault(now.dataset, {})
                known[now.entity] = joined(known[now.entity], kind) if now.entity in known else kind
    return found


def _speeds(now: Reading, before: Reading | None, counters: tuple[Field, ...]) -> dict[str, float]:
    """Growth per second at full level: four times that captured, or a unit's usual one where it was idle."""
    speeds = {}
    for one in counters:
        alone = Counters((replace(one, rate="speed", rate_scale=1.0, delta=""),))
        grown = alone.rates(now, alone.kept(before) if before else None)[0].get("speed", 0.0)
        if one.name in now.values and not _RARE.search(one.name):
            usual = _IDLE.get(one.unit, 0) * (0.3 + noise(zlib.crc32(one.name.encode())))
            speeds[one.name] = max(4 * grown, usual) * (0.4 if ".full." in one.name else 1.0)
    for state in [name for name in speeds if name.startswith("system.cpu.")]:
        del speeds[state]  # together they are the time that passed
    parts = [speeds.get(f"cgroup.cpu.{part}.ns") for part in ("user", "system")]
    return speeds if None in parts else {**speeds, "cgroup.cpu.usage.ns": sum(part or 0.0 for part in parts)}


def joined(one: Kind, other: Kind) -> Kind:
    """What either has; the other's values where both do."""
    return Kind(
        one.dataset,
        {**one.values, **other.values},
        tuple(dict.fromkeys((*one.counters, *other.counters))),
        tuple(dict.fromkeys(derive for derive in (*one.derives, *other.derives) if derive is not nothing)),
        {**one.per_s, **other.per_s},
    )


@cache
def agent() -> Kind:
    """The agent document of an agent that has just begun."""
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.load(Spool(directory, 1 << 20))
        made = SelfMetrics(ledger, DeliveryState(reachable=True, skew_ms=2)).values(Report(10_000, ticks=1))
    # Those are of this process, which is another one for each worker that makes documents
    made |= {"agent.memory.rss.bytes": 40 << 20, "agent.cpu.ns": 350_000_000}
    counters = tuple(one for one in AGENT_FIELDS if one.rate)
    return Kind("agent", made, counters, (), {"agent.cpu.ns": 20_000_000.0, "agent.delivery.requests.count": 0.1})


class Entity:
    """``at(tick)`` in rising order gives the values of its documents, rates and shares included."""

    def __init__(self, kind: Kind, own: Values, *, seed: int, period_s: int, key: str = "") -> None:
        self.kind, self.seed, self.key = kind, seed, key
        self._period_s = period_s
        self._values = {**kind.values, **own}
        self._begin = {one.name: self._values[one.name] for one in kind.counters if one.name in self._values}
        self._size = 0.25 + noise(seed)
        self._grow = [(name, speed * period_s * self._size) for name, speed in kind.per_s.items()]
        self._identity: Hashable = 0
        self._born = 0
        self._before: Kept | None = None
        self._former: Values = {}  # of that tick
        self._shape = SHAPES.get(kind.dataset, _nothing)

    def level(self, tick: int) -> float:
        wave = math.sin(2 * math.pi * (tick * self._period_s / _WAVE_S + noise(self.seed, -2)))
        return min(max(0.1 + 0.5 * noise(self.seed, -3) + 0.2 * wave + 0.2 * noise(self.seed, tick), 0.01), 0.99)

    def restart(self, tick: int, **own: Value) -> None:
        """From ``tick`` on its counters start anew, under another identity; ``own`` replaces values."""
        self._identity, self._born = tick, tick
        self._values |= {**dict.fromkeys(self._begin, 0), **own}

    def at(self, tick: int, **own: Value) -> Values:
        level = self.level(tick)
        values = self._values = {**self._values, **own}
        for name, speed in self._grow:
            values[name] += int(speed * level)
        self._shape(values, level, self, tick)
        reading = Reading(self.kind.dataset, self.key, tick * self._period_s * _NS, values, self._identity)
        grown, self._before = self.kind.counted.rates(reading, self._before)
        self._former = values
        found = {**values, **grown}
        inputs = _inputs(values) if self.kind.dataset == "cgroup" else {}
        for derive in self.kind.derives:
            found |= derive(found, inputs)
        return found

    def age_ms(self, tick: int) -> int:
        """Since its restart, or since three days before the first tick."""
        before = 0 if self._born else 3 * 86_400
        return ((tick - self._born) * self._period_s + before) * 1000

    def growth(self, name: str, values: Values) -> int | None:
        """Of a counter since the tick before; None where it began anew."""
        before = self._former.get(name) if self._before and self._before.identity == self._identity else None
        return values[name] - before if isinstance(before, int) else None

    @property
    def period_ns(self) -> int:
        return self._period_s * _NS


def _nothing(_values: Values, _level: float, _of: Entity, _tick: int) -> None:
    pass


def _inputs(values: Values) -> dict[str, int]:
    """What the derivation of a cgroup's fields needs beside its values."""
    return {"cores": CORES, "memory": MEMORY, "inactive_file": values["cgroup.memory.usage.bytes"] // 5}


def _pressure(values: Values, prefix: str, level: float) -> None:
    for resource, most in (("cpu", 0.5), ("memory", 0.2), ("io", 0.3)):
        for kind, part in (("some", 1.0), ("full", 0.4)):
            for span, calm in (("avg10", 1.0), ("avg60", 0.9), ("avg300", 0.8)):
                values[f"{prefix}.pressure.{resource}.{kind}.{span}.pct"] = round(most * part * calm * level**3, 4)


def _host(values: Values, level: float, of: Entity, tick: int) -> None:
    values["system.cpu.cores"] = CORES
    busy = 0
    for state, part in _STATES.items():
        grown = int(of.period_ns * CORES * 0.9 * level * part)
        values[f"system.cpu.{state}.ns"] += grown
        busy += grown
    values["system.cpu.idle.ns"] += of.period_ns * CORES - busy
    for minutes, calm in ((1, 1.0), (5, 0.9), (15, 0.8)):
        values[f"system.load.{minutes}"] = round(CORES * 1.5 * level * calm, 2)
    values["system.memory.total"] = MEMORY
    values["system.memory.free"] = int(MEMORY * (0.5 - 0.45 * level))
    values["system.memory.actual.free"] = int(MEMORY * (0.8 - 0.6 * level))
    values |= memory.used(values)
    values["system.uptime.duration.ms"] = of.age_ms(tick)
    for way, counted in (("ingress", "in"), ("egress", "out")):
        moved = of.growth(f"system.network.total.{counted}.bytes", values)
        values.pop(f"host.network.{way}.bytes", None)
        values |= {} if moved is None else {f"host.network.{way}.bytes": moved}
    _pressure(values, "system", level)


def _cgroup(values: Values, level: float, of: Entity, tick: int) -> None:
    limit = values.get("cgroup.memory.limit.bytes")
    used = int((limit or 1 << 30) * (0.1 + 0.8 * level * of._size / 1.25))
    values |= {
        "cgroup.memory.usage.bytes": used, "cgroup.memory.anon.bytes": used // 2,
        "cgroup.memory.file.bytes": used // 3, "cgroup.memory.kernel.bytes": used // 50,
        "cgroup.memory.peak.bytes": max(used, values.get("cgroup.memory.peak.bytes", 0)),
        "cgroup.pids.current": 2 + int(40 * level), "cgroup.uptime.ms": of.age_ms(tick),
        "cgroup.io.busiest.bytes_per_s": round(1e6 * level, 1),
    }  # fmt: skip
    if "cgroup.cpu.limit.cores" in values:
        values["cgroup.cpu.periods.count"] += of.period_ns // 100_000_000
        values["cgroup.cpu.throttled.count"] += int(of.period_ns // 100_000_000 * level**4 * of._size / 1.25)
    if "cgroup.memory.events.oom_kill.count" in values and noise(of.seed, -4) < 0.1 and noise(of.seed, tick) < 0.02:
        values["cgroup.memory.events.oom.count"] += 1
        values["cgroup.memory.events.oom_kill.count"] += 1
    _pressure(values, "cgroup", level)


def _filesystem(values: Values, level: float, of: Entity, tick: int) -> None:
    """It fills by a hundredth of its size in a day, from where its seed says."""
    size, files = 40 << 30 >> 12, 2_621_440
    share = min(0.2 + 0.6 * noise(of.seed) + 0.01 * tick * of._period_s / 86_400 + 0.01 * level, 1.0)
    free = size - int(size * share)
    answer = (4096, 4096, size, free, max(free - size // 20, 0), files, files - int(files * share / 2), 0, 0, 255)
    values |= filesystem.sizes(os.statvfs_result(answer))


def _process(values: Values, level: float, of: Entity, _tick: int) -> None:
    values["system.process.memory.rss.bytes"] = int(MEMORY * 0.05 * level * of._size)
    values["system.process.memory.rss.pct"] = 0.05 * level * of._size
    grown = of.growth("system.process.cpu.total.ns", values)
    values.pop("system.process.cpu.total.norm.pct", None)
    values |= {} if grown is None else {"system.process.cpu.total.norm.pct": grown / of.period_ns / CORES}


SHAPES: Final[dict[str, Callable[[Values, float, Entity, int], None]]] = {
    "host": _host, "cgroup": _cgroup, "filesystem": _filesystem, "process": _process,
}  # fmt: skip
