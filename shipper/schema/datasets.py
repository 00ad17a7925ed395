"""All fields of all datasets, gathered from their declarations. Mappings, tables and checks are generated from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shipper.collect import COLLECTORS
from shipper.fields.aliases import ALIASES, PERIOD
from shipper.fields.dataset import AGENT, DECLARED, HOST, Declared
from shipper.fields.field import Alias, Field, Kind, Type, attribute, dimension, with_rates
from shipper.schema.agent_fields import FIELDS

# On every document. What does not change (OS, kernel, boot) is on the host document only.
ENVELOPE: Final = (
    Field(
        "@timestamp",
        Type.DATE,
        Kind.ATTRIBUTE,
        "",
        "Time of the tick in UTC: aligned to the period, the same on all documents of a tick",
    ),
    dimension("host.name", "Name of the host, not of the container that the shipper runs in", "etc/hostname"),
    dimension("host.id", "Machine id of the host", "etc/machine-id"),
    attribute("event.module", "system, or the module whose Kibana pages show the document", ""),
    attribute("event.dataset", "Kind of document: shipper.host, shipper.cgroup …", ""),
    attribute("labels", "Labels that the operator gave this host", "configuration: host.labels", Type.FLATTENED),
)


@dataclass(frozen=True)
class Dataset:
    """One kind of document: its name, what one document describes, all its fields, and their aliases."""

    name: str
    help: str
    module: str
    fields: tuple[Field, ...]
    default: bool = True
    aliases: tuple[Alias, ...] = ()
    constants: tuple[Field, ...] = ()
    cadence: str = "One document per tick and"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields if field.kind is Kind.DIMENSION)


_AGENT: Final = {field.name: field for field in FIELDS}
# What does not change while the agent runs; the version is also on the host document
_CONSTANTS: Final = {HOST: (_AGENT["agent.version"], PERIOD), AGENT: (_AGENT["agent.detail"],)}


_MINUTE: Final = "One document per minute (or per tick, if the period is longer) and"
# Dataset and name of each field that is read once a minute
_SLOW: Final = [collector for collector in COLLECTORS if collector.every_s]
MINUTELY: Final = frozenset(
    (dataset, field.name)
    for collector in _SLOW
    for dataset, output in collector.outputs.items()
    for field in output.all_fields
) | {(AGENT, f"agent.collectors.{collector.name}.us") for collector in _SLOW}


def _cadence(dataset: str) -> str:
    if dataset == "event":
        return "One document for"
    pauses = [collector.every_s for collector in COLLECTORS if dataset in collector.outputs]
    return _MINUTE if pauses and all(pauses) else Dataset.cadence


def _dataset(declared: Declared) -> Dataset:
    name = declared.name
    constants = _CONSTANTS.get(name, ())
    own = with_rates(FIELDS) if name == AGENT else constants
    outputs = [collector.outputs[name] for collector in COLLECTORS if name in collector.outputs]
    return Dataset(
        name,
        declared.help,
        declared.module,
        (*ENVELOPE, *own, *(field for output in outputs for field in output.all_fields)),
        declared.default,
        ALIASES.get(name, ()),
        constants,
        _cadence(name),
    )


DATASETS: Final = {name: _dataset(declared) for name, declared in DECLARED.items()}


def every_field() -> Iterator[tuple[Dataset, Field]]:
    """Every field of every dataset, with its dataset."""
    for dataset in DATASETS.values():
        for field in dataset.fields:
            yield dataset, field
