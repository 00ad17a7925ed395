"""A simulated fleet: documents of H hosts × C containers × a time range, by the product's own code from captured ones.

    fleet = Fleet(hosts=3, containers=8, ticks=1440, period_s=60)         # 3 hosts × 24 h
    fleet = Fleet(hosts=300, containers=30, ticks=360, period_s=10)       # 300 hosts × 1 h
    for document in fleet.documents():      # in time order; .values has dotted names and plain values, as they are sent
        document.dataset, document.late, document.index, document.values["system.load.1"], document.line
    for body in fleet.bulk(hosts=range(0, 10)):                            # bulk-ready bytes of some of the hosts
        body.data, body.documents

The same arguments give the same documents, whatever ``hosts`` is asked for: expected values of a test are computed
straight from ``documents()``. Hosts, containers and devices differ in level and size: ``fleetsim`` says how they move.

Odd cases, all by index of the host and by tick: ``names`` of the first hosts, ``gone`` (host → first tick without
documents), ``reboots`` (host → tick: counters anew, another boot id), ``late`` (host → range of ticks whose documents
are for the late stream), ``deploys`` (service → tick: its containers are new ones from then on, of image 2.0).

Loading into a real Elasticsearch: ``fleetload``.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from fleetsim import Entity, Kind, Values, agent, captured, joined, noise

from shipper import __version__
from shipper.agent.tick import HostIdentity
from shipper.base.tick_times import timestamp
from shipper.collect.cgroup.member import _entity
from shipper.deliver.document import Writer
from shipper.fields import lean
from shipper.fields.aliases import PERIOD
from shipper.schema.datasets import DATASETS
from shipper.schema.stream_names import late_stream, stream

ODD_NAMES: Final = ('node"c', "node b/1", "nöde-☂", "[red]node[/red]")
SERVICES: Final = ("web", "api", "db", "cache", "queue", "batch")
_MOST_BYTES: Final = 4 << 20
_PROCESSES: Final = 3
_PROCESS_PAUSE_S: Final = 60
_BASE: Final = "debian-12-v2-systemd"
_DISKLESS: Final = "debian-12-hybrid"  # it has interfaces that are summed
_SLICE: Final = "/system.slice"


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it is shipped: ``values`` under dotted names, ``line`` its JSON."""

    dataset: str
    host: int
    tick: int
    late: bool
    index: str
    values: Values
    line: bytes


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes
    documents: int


@dataclass(frozen=True)
class Fleet:
    hosts: int = 3
    containers: int = 8
    services: int = 3
    ticks: int = 60
    period_s: int = 60
    start_ms: int = 0  # of the first tick; 0: such that the last one is just over
    seed: int = 1
    namespace: str = "default"
    detail: str = lean.FULL
    datasets: tuple[str, ...] = tuple(name for name, one in DATASETS.items() if one.default)
    names: Sequence[str] = ()
    gone: Mapping[int, int] = field(default_factory=dict)
    reboots: Mapping[int, int] = field(default_factory=dict)
    late: Mapping[int, range] = field(default_factory=dict)
    deploys: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.start_ms:  # here, not when it is asked for: other processes get the same
            now = int(time.time()) // self.period_s * self.period_s
            object.__setattr__(self, "start_ms", (now - self.ticks * self.period_s) * 1000)

    def tick_ms(self, tick: int) -> int:
        return self.start_ms + tick * self.period_s * 1000

    def host_name(self, host: int) -> str:
        return self.names[host] if host < len(self.names) else f"node-{host:03d}"

    def documents(self, hosts: Iterable[int] | None = None, ticks: range | None = None) -> Iterator[Document]:
        """Of ``hosts`` (all) and ``ticks`` (all; must begin at 0), tick by tick; the agent's last of each host's."""
        made = [_Host(self, host) for host in (range(self.hosts) if hosts is None else hosts)]
        for tick in ticks or range(self.ticks):
            for host in made:
                yield from host.documents(tick)

    def bulk(
        self,
        hosts: Iterable[int] | None = None,
        most_bytes: int = _MOST_BYTES,
        seen: Callable[[Document, int], None] | None = None,
    ) -> Iterator[Body]:
        """The same as bodies of bulk requests, none much above ``most_bytes``; ``seen`` gets each and its time, ms."""
        lines: list[bytes] = []
        size = 0
        actions: dict[str, bytes] = {}
        for one in self.documents(hosts):
            if seen:
                seen(one, self.tick_ms(one.tick))
            action = actions.setdefault(one.index, b'{"create":{"_index":"%b"}}\n' % one.index.encode())
            lines += (action, one.line, b"\n")
            size += len(action) + len(one.line)
            if size >= most_bytes:
                yield Body(b"".join(lines), len(lines) // 3)
                lines, size = [], 0
        if lines:
            yield Body(b"".join(lines), len(lines) // 3)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Host:
    """All entities of one host."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet, self._number = fleet, number
        self.name = fleet.host_name(number)
        labels = {"cluster": "blue" if number % 3 else "green", "rack": f"r{number % 4}"}
        self._identity = HostIdentity(self.name, _digest(self.name)[:32], labels)
        self._seed = int(_digest(fleet.seed, self.name)[:15], 16)
        self._writers = {name: Writer(DATASETS[name].fields) for name in fleet.datasets}
        self._left_out = {name: lean.left_out(DATASETS[name].fields, fleet.detail) for name in fleet.datasets}
        self._entities = [one for one in self._all() if one.kind.dataset in fleet.datasets]
        self._collected = 0

    def _entity(self, kind: Kind, key: str, **own: Any) -> Entity:
        seed = int(_digest(self._seed, kind.dataset, key)[:15], 16)
        return Entity(kind, own, seed=seed, period_s=self._fleet.period_s, key=key)

    def _all(self) -> Iterator[Entity]:
        base, other = captured(_BASE), captured(_DISKLESS)
        host = joined(other["host"][""], base["host"][""])
        period = {PERIOD.name: self._fleet.period_s * 1000}
        yield self._entity(host, "", **{"agent.version": __version__, **period, **self._booted(0)})
        for disk in ("vda", "vdb"):
            yield self._entity(base["disk"]["vda"], disk, **{"system.diskio.name": disk})
        for point in ("/", "/var"):
            mount = {"system.filesystem.mount_point": point, "system.filesystem.device_name": "/dev/vda"}
            yield self._entity(base["filesystem"]["/"], point, **mount)
        yield self._entity(other["network"]["eth0"], "eth0")
        cgroups = base["cgroup"]
        for path in (_SLICE, *[path for path in sorted(cgroups) if path.endswith(".service")][: self._fleet.services]):
            yield self._entity(cgroups[path], path, **self._named({**cgroups[path].values}))
        container = max(
            (one for one in cgroups.values() if "container.id" in one.values), key=lambda one: len(one.values)
        )
        for number in range(self._fleet.containers):
            own = self._container(container.values, number, 0)
            kind = _without(container, own)
            yield self._entity(kind, str(number), **own)
        for number in range(min(_PROCESSES, self._fleet.containers)):
            yield self._process(next(iter(base["process"].values())), number)

    def _booted(self, tick: int) -> Values:
        return {"host.boot.id": _digest(self.name, "boot", tick)[:32], "host.ip": [f"192.0.2.{self._number % 250 + 1}"]}

    def _named(self, values: Values) -> Values:
        return {"cgroup.entity": f"{_entity(values['cgroup.path'], values)}@{self.name}"}

    def _container(self, base: Values, number: int, tick: int) -> Values:
        """What names the container; a new one, of a new image, where ``tick`` is not 0."""
        service = SERVICES[number % len(SERVICES)]
        id_ = _digest(self.name, number, tick)
        name = f"{service}-{number // len(SERVICES) + 1}"
        own: Values = {
            "container.id": id_, "container.name": name, "cgroup.name": name, "container.runtime": "docker",
            "container.image.name": f"shop/{service}:{'2.0' if tick else '1.2'}",
            "container.labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": service},
            "cgroup.path": f"{_SLICE}/docker-{id_}.scope", PERIOD.name: self._fleet.period_s * 1000,
            "cgroup.memory.limit.bytes": (256 << 20) << number % 3, "cgroup.cpu.limit.cores": 0.5 * 2 ** (number % 3),
        }  # fmt: skip
        own["cgroup.memory.limit.effective.bytes"] = own["cgroup.memory.limit.bytes"]
        if number % 4 == 3:
            pod = f"{service}-{id_[:5]}"
            own |= {"container.runtime": "containerd", "kubernetes.namespace": "shop", "kubernetes.pod.name": pod}
            own |= {"kubernetes.pod.uid": id_[:32], "kubernetes.container.name": name}
            own["cgroup.path"] = f"/kubepods.slice/kubepods-pod{id_[:32]}.slice/cri-containerd-{id_}.scope"
        if number % 5 == 4:
            own |= dict.fromkeys(_LIMITS, None)
        return own | self._named({**base, **own})

    def _process(self, kind: Kind, number: int) -> Entity:
        own = self._container({}, number, 0)
        key = f"{1000 + number}-{number}"
        names = {name: own[name] for name in ("cgroup.path", "cgroup.entity", "container.id", "container.runtime")}
        process = {"process.entity_id": key, "process.pid": 1000 + number, "process.name": SERVICES[number]}
        return self._entity(kind, key, **names, **process)

    def documents(self, tick: int) -> Iterator[Document]:
        fleet = self._fleet
        if tick >= fleet.gone.get(self._number, fleet.ticks):
            return
        self._events(tick)
        pause = max(_PROCESS_PAUSE_S // fleet.period_s, 1)
        before = self._collected
        for entity in self._entities:
            if entity.kind.dataset != "process" or tick % pause == 0:
                self._collected += 1
                values = entity.at(tick)
                values |= self._firsts(entity, tick)
                yield self._document(entity, tick, values)
        if "agent" in fleet.datasets:
            self._collected += 1
            yield self._document(
                self._agent, tick, self._agent.at(tick, **self._ledger(before, tick), **self._goodbye(tick))
            )

    def _firsts(self, entity: Entity, tick: int) -> Values:
        """What only the first document after a boot, or of a container, says."""
        rebooted = self._fleet.reboots.get(self._number) == tick
        if entity.kind.dataset == "host" and rebooted:
            return {"system.boot.first": True}
        if entity.kind.dataset != "cgroup" or "container.name" not in entity.kind.values:
            return {}
        deployed = self._fleet.deploys.get(SERVICES[int(entity.key) % len(SERVICES)]) == tick
        changed: Values = {"container.image.changed": True} if deployed else {}
        return {"cgroup.first": True, **changed} if rebooted or deployed else {}

    @cached_property
    def _agent(self) -> Entity:
        return self._entity(
            agent(), "", **{"agent.period.ms": self._fleet.period_s * 1000, "agent.detail": self._fleet.detail}
        )

    def _goodbye(self, tick: int) -> Values:
        """Of every second host that goes, the shipper was stopped."""
        fleet = self._fleet
        stops = self._number % 2 == 1 and tick + 1 == fleet.gone.get(self._number)
        return {"agent.stopped": True} if stops else {}

    def _ticks(self, tick: int) -> int:
        """How many ticks the shipper has made since the last boot, this one included."""
        booted = self._fleet.reboots.get(self._number, 0)
        return tick + 1 - (booted if tick >= booted else 0)

    def _ledger(self, before: int, tick: int) -> Values:
        """All documents before this tick are stored or late; this tick's wait."""
        late = len([one for one in self._fleet.late.get(self._number, range(0)) if one < tick])
        per_tick = before // max(tick, 1)
        ledger = "agent.ledger"
        ended = {f"{ledger}.late.count": late * per_tick, f"{ledger}.stored.count": before - late * per_tick}
        waiting = self._collected - before
        return {**ended, f"{ledger}.collected.count": self._collected, f"{ledger}.spooled.count": waiting,
                "agent.spool.bytes": waiting * 1500, "agent.tick.count": self._ticks(tick),
                "agent.delivery.latency.ms": 8 + int(40 * noise(self._seed, tick)),
                "agent.tick.duration.us": 20_000 + int(20_000 * noise(self._seed, tick))}  # fmt: skip

    def _events(self, tick: int) -> None:
        fleet = self._fleet
        if fleet.reboots.get(self._number) == tick:
            for entity in self._entities:
                entity.restart(tick, **(self._booted(tick) if entity.kind.dataset == "host" else {}))
        deployed = {service for service, at in fleet.deploys.items() if at == tick}
        for entity in self._entities if deployed else ():
            if "container.name" in entity.kind.values and SERVICES[int(entity.key) % len(SERVICES)] in deployed:
                own = self._container(entity.kind.values, int(entity.key), tick)
                entity.restart(tick, **{name: value for name, value in own.items() if value is not None})

    def _document(self, entity: Entity, tick: int, values: Values) -> Document:
        dataset, late = entity.kind.dataset, tick in self._fleet.late.get(self._number, ())
        at = timestamp(self._fleet.tick_ms(tick))
        values = {"@timestamp": at, **self._identity.envelope(DATASETS[dataset]), **values}
        values = {name: value for name, value in values.items() if name not in self._left_out[dataset]}
        index = (late_stream if late else stream)(dataset, self._fleet.namespace)
        return Document(dataset, self._number, tick, late, index, values, self._writers[dataset].write(values))


_LIMITS: Final = ("cgroup.memory.limit.bytes", "cgroup.memory.limit.effective.bytes", "cgroup.cpu.limit.cores")


def _without(kind: Kind, own: Values) -> Kind:
    """``kind`` without the leaves that are None in ``own``, which are taken out of there too."""
    absent = [name for name, value in own.items() if value is None]
    for name in absent:
        del own[name]
    left = {name: value for name, value in kind.values.items() if name not in absent}
    return Kind(kind.dataset, left, kind.counters, kind.derives, kind.per_s)
