"""A simulated fleet without faults, to which a test of alert rules adds faults.

    Calm(hosts=5, ticks=475, breaches=(Breach("host", 1, range(370, 405), {"system.cpu.total.norm.pct": 0.99}),))

A breach replaces values in the documents of one entity during some ticks; ``None`` takes a field out. ``silent``: host
→ ticks without documents; ``missing``: documents of one entity that are not sent. ``extra``: documents of datasets that
the fleet does not have, of an entity on each host.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from fleetdocs import Document, Fleet, _Host
from fleetsim import Entity

from shipper.base.tick_times import timestamp
from shipper.deliver.document import Writer
from shipper.schema.datasets import DATASETS
from shipper.schema.stream_names import stream

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Breach:
    """``values``: a function of the tick if they change; ``entity``: what the document has, empty for any."""

    dataset: str
    host: int
    ticks: range
    values: Values | Callable[[int], Values] = field(default_factory=dict)
    entity: Values = field(default_factory=dict)

    def applies(self, document: Document) -> bool:
        return (
            (document.dataset, document.host) == (self.dataset, self.host)
            and document.tick in self.ticks
            and self.entity.items() <= document.values.items()
        )

    def at(self, tick: int) -> Values:
        return self.values(tick) if callable(self.values) else self.values


_THROTTLED = ("cgroup.cpu.throttled.count", "cgroup.cpu.periods.count")


@cache
def _writer(dataset: str) -> Writer:
    return Writer(DATASETS[dataset].fields)


def _level(of: Entity, tick: int) -> float:
    return 0.55 * Entity.level(of, tick)


@dataclass(frozen=True)
class Calm(Fleet):
    breaches: tuple[Breach, ...] = ()
    silent: Mapping[int, Sequence[int]] = field(default_factory=dict)
    missing: tuple[Breach, ...] = ()
    extra: Mapping[str, Values] = field(default_factory=dict)

    def documents(self, hosts: Iterable[int] | None = None, ticks: range | None = None) -> Iterator[Document]:
        made = [_Host(self, host) for host in (range(self.hosts) if hosts is None else hosts)]
        for host in made:
            for entity in (*host._entities, host._agent):
                entity.level = partial(_level, entity)  # type: ignore[method-assign]
                for values in (entity._values, entity._begin):  # of now, and after a restart
                    values.pop("cgroup.memory.events.oom_kill.count", None)
                # They would also grow faster than the periods
                entity._grow = [(name, speed) for name, speed in entity._grow if name not in _THROTTLED]
        for tick in ticks or range(self.ticks):
            for host in (host for host in made if tick not in self.silent.get(host._number, ())):
                for one in (*host.documents(tick), *self._extra(host, tick)):
                    if not any(breach.applies(one) for breach in self.missing):
                        yield self._changed(one)

    def _extra(self, host: _Host, tick: int) -> Iterator[Document]:
        for dataset, values in self.extra.items():
            whole = {
                "@timestamp": timestamp(self.tick_ms(tick)),
                **host._identity.envelope(DATASETS[dataset]),
                **values,
            }
            index = stream(dataset, self.namespace)
            yield Document(dataset, host._number, tick, False, index, whole, _writer(dataset).write(whole))

    def _changed(self, one: Document) -> Document:
        found = [breach for breach in self.breaches if breach.applies(one)]
        if not found:
            return one
        values = dict(one.values)
        for breach in found:
            values |= breach.at(one.tick)
        values = {name: value for name, value in values.items() if value is not None}
        return replace(one, values=values, line=_writer(one.dataset).write(values))
