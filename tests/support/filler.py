"""What few hosts have, added to every host: gauges that no captured host has, sensors, RAID arrays, CPUs, OOM kills."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from zlib import crc32

from fleetdocs import Document
from fleetsim import noise

from shipper.deliver.document import Writer
from shipper.fields.field import NUMBERS, Kind, Type
from shipper.schema.datasets import DATASETS, ENVELOPE
from shipper.schema.stream_names import late_stream, stream

_MOST: Final = {"pct": 0.9, "bytes": 1 << 30, "hz": 3e9, "per_s": 4, "bytes/s": 1e6, "celsius": 70, "rpm": 2000}
_KILLED_EVERY: Final = 10  # ticks
# Dataset → what names its entities, beside those that the simulated fleet has
_ENTITIES: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "core": tuple({"system.core.id": str(number)} for number in range(4)),
    "raid": ({"system.raid.name": "md0", "system.raid.status": "active"},),
    "sensor": ({"system.sensor.name": "coretemp/0"}, {"system.sensor.name": "nct6775/fan1"}),
    "filesystem": ({"system.filesystem.mount_point": "/mnt/nfs", "system.filesystem.read_only": True},
                   {"system.filesystem.mount_point": "/mnt/gone", "system.filesystem.stuck": True}),
}  # fmt: skip


class Filler:
    """Fills documents, and makes those of further entities after each host document."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._writers = {name: Writer(dataset.fields) for name, dataset in DATASETS.items()}
        self._gauges = {
            name: [field for field in dataset.fields if field.kind is Kind.GAUGE and field.type in NUMBERS]
            for name, dataset in DATASETS.items()
        }

    def write(self, document: Document, values: dict[str, Any]) -> Document:
        return replace(document, values=values, line=self._writers[document.dataset].write(values))

    def gauges(self, dataset: str, values: dict[str, Any], host: int, tick: int) -> dict[str, Any]:
        """``values`` with one for every gauge that is missing, of a size that suits its unit."""
        more = {
            field.name: _value(field.unit, field.type, noise(crc32(field.name.encode()) + host, tick))
            for field in self._gauges[dataset]
            if field.name not in values
        }
        return {**more, **values}

    def entities(self, host: Document) -> Iterator[Document]:
        """Documents of the further entities of the host whose document is ``host``."""
        for dataset, named in _ENTITIES.items():
            for one in named:
                yield self._made(host, dataset, self.gauges(dataset, one, host.host, host.tick))
        if host.tick % _KILLED_EVERY == 1:
            kill = {"event.action": "oom_kill", "process.name": "python3", "process.pid": 4711, "cgroup.path": "/x"}
            kill |= {"event.id": f"{host.host}-{host.tick}", "cgroup.entity": f"web-1@{host.values['host.name']}"}
            yield self._made(host, "event", self.gauges("event", kill, host.host, host.tick))

    def _made(self, host: Document, dataset: str, values: dict[str, Any]) -> Document:
        envelope = {field.name: host.values[field.name] for field in ENVELOPE if field.name in host.values}
        envelope |= {"event.module": DATASETS[dataset].module, "event.dataset": f"shipper.{dataset}"}
        index = (late_stream if host.late else stream)(dataset, self._namespace)
        made = Document(dataset, host.host, host.tick, host.late, index, {}, b"")
        return self.write(made, {**envelope, **values})


def _value(unit: str, type_: Type, share: float) -> float:
    value = _MOST.get(unit, 100) * (0.1 + 0.9 * share)
    return round(value) if type_ is Type.LONG else round(value, 4)
