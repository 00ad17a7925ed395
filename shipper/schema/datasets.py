"""All fields of all datasets, gathered from where they are declared. Mappings, tables and checks are made from this."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shipper.collect import COLLECTORS
from shipper.fields.aliases import ALIASES, PERIOD
from shipper.fields.dataset import AGENT, DECLARED, HOST, Declared
from shipper.fields.field import Alias, Field, Kind, Type, attribute, dimension, with_rates
from shipper.schema.agent_fields import FIELDS

# On every document. What does not change (OS, kernel, boot) stands on the host document only.
ENVELOPE: Final = (
    Field(
        "@timestamp",
        Type.DATE,
        Kind.ATTRIBUTE,
        "",
        "The tick: aligned to the period, the same on all its documents, UTC",
    ),
    dimension("host.name", "Name of the host, not of the container the shipper runs in", "etc/hostname"),
    dimension("host.id", "Machine id of the host", "etc/machine-id"),
    attribute("event.module", "system, or the module whose Kibana pages the document fills", ""),
    attribute("event.dataset", "Which kind of document: shipper.host, shipper.cgroup …", ""),
    attribute("labels", "The operator's own labels of this host", "configuration: host.labels", Type.FLATTENED),
)


@dataclass(frozen=True)
class Dataset:
    """One kind of document: its name, what one document stands for, every leaf it may have, and their other names."""

    name: str
    help: str
    module: str
    fields: tuple[Field, ...]
    default: bool = True
    aliases: tuple[Alias, ...] = ()
    cadence: str = "One document per tick and"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields if field.kind is Kind.DIMENSION)


# Also on the host document, where what does not change stands
_VERSION: Final = next(field for field in FIELDS if field.name == "agent.version")


_MINUTE: Final = "One document per minute (or per tick, where its period is longer) and"
# Dataset and name of each field that is read once a minute
MINUTELY: Final = frozenset((one.dataset, field.name) for one in COLLECTORS if one.pause_s for field in one.all_fields)


def _cadence(dataset: str) -> str:
    if dataset == "event":
        return "One document for"
    pauses = [collector.pause_s for collector in COLLECTORS if collector.dataset == dataset]
    return _MINUTE if pauses and all(pauses) else Dataset.cadence


def _dataset(declared: Declared) -> Dataset:
    name = declared.name
    own = {AGENT: with_rates(FIELDS), HOST: (_VERSION, PERIOD)}.get(name, ())
    collected = (field for collector in COLLECTORS if collector.dataset == name for field in collector.all_fields)
    fields = (*ENVELOPE, *own, *collected)
    return Dataset(
        name, declared.help, declared.module, fields, declared.default, ALIASES.get(name, ()), _cadence(name)
    )


DATASETS: Final = {name: _dataset(declared) for name, declared in DECLARED.items()}


def every_field() -> Iterator[tuple[Dataset, Field]]:
    for dataset in DATASETS.values():
        for field in dataset.fields:
            yield dataset, field
