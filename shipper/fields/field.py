"""What a field is: one declaration for mappings, tables, rates and the checks of dashboards.

Fields are declared beside the collector that fills them; ``schema.datasets`` gathers them. Three rules hold for all:
the unit is the last segment of the name (except for some names of Elastic, whose help says it), *absent is not zero*,
and a counter is published raw, with its rate beside it.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Final

_FOLDER: Final = Path(__file__).parents[2]


class Type(StrEnum):
    """Types of Elasticsearch that every build of the server has."""

    KEYWORD = "keyword"
    LONG = "long"
    FLOAT = "float"  # holds the seven digits that documents have
    DOUBLE = "double"  # numbers of the user
    BOOLEAN = "boolean"
    DATE = "date"
    FLATTENED = "flattened"
    IP = "ip"
    OBJECT = "object"  # whose leaves have names of the user: fields/dynamic.py


NUMBERS: Final = frozenset({Type.LONG, Type.FLOAT, Type.DOUBLE})


class Kind(StrEnum):
    """How the values of a field may be used."""

    """The role of a field, which decides its mapping and which aggregations make sense."""

    GAUGE = "gauge"  # a level: averages and maxima are meaningful
    COUNTER = "counter"  # grows until its source restarts: only differences are meaningful
    DIMENSION = "dimension"  # part of the identity of the entity
    NAME = "name"  # never changes within a series: also a dimension if the server allows so many (8.13)
    ATTRIBUTE = "attribute"  # describes the entity


UNITS: Final = {
    "": "no unit",
    "bytes": "bytes",
    "count": "number of things or events",
    "pct": "fraction, 0 to 1",
    "ns": "nanoseconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "per_s": "per second",
    "bytes/s": "bytes per second",
    "us/s": "microseconds per second",
    "ms/s": "milliseconds per second",
    "cores": "logical CPUs",
    "mbit/s": "megabits per second",
    "bits": "bits",
    "hz": "cycles per second",
    "celsius": "degrees Celsius",
    "rpm": "revolutions per minute",
    "volts": "volts",
    "watts": "watts",
    "amperes": "amperes",
    "ppm": "parts per million",
    "load": "runnable and uninterruptible tasks",
}
_RATE_UNITS: Final = {"bytes": "bytes/s", "us": "us/s", "ms": "ms/s", "count": "per_s"}


@dataclass(frozen=True, slots=True)
class Declaration:
    """Where a field is declared: file and line of the code."""

    file: str
    line: int

    @property
    def path(self) -> str:
        """The file, relative to the folder of the package: ``shipper/collect/host/cpu.py``."""
        return os.path.relpath(self.file, _FOLDER)


def _declaration() -> Declaration:
    """The position of the code outside this module that declares a field."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 – the call site is what is asked for
    while frame and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return Declaration(frame.f_code.co_filename, frame.f_lineno) if frame else Declaration("", 0)


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of a document.

    ``source`` names the kernel file and key of the value. The rate of a counter is published as ``rate``, multiplied by
    ``rate_scale`` (CPU time in ns per second × 1e-9 is in cores). ``slack`` is how far a counter may step back without
    a reset, as iowait and idle times do by a few ticks; its value is held then
    (https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat). ``delta`` names a
    gauge of the growth since the previous document, for counters for which Elastic has one. ``declared`` is the line of
    code that declares the field.
    """

    name: str
    type: Type
    kind: Kind
    unit: str
    help: str
    source: str = ""
    rate: str = ""
    rate_scale: float = 1.0
    slack: int = 0
    delta: str = ""
    declared: Declaration = field(default_factory=_declaration, compare=False, repr=False)

    def rate_field(self) -> "Field":
        """The gauge of the rate of this counter."""
        unit = self.rate.rpartition(".")[2]
        unit = unit if unit in ("pct", "cores") else _RATE_UNITS[self.unit]
        help_ = f"Rate of {self.name}"
        return Field(self.rate, Type.FLOAT, Kind.GAUGE, unit, help_, self.source, declared=self.declared)

    def delta_field(self) -> "Field":
        """The gauge of the growth of this counter."""
        help_ = f"Growth of {self.name} since the previous document"
        return Field(self.delta, Type.LONG, Kind.GAUGE, self.unit, help_, self.source, declared=self.declared)


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name by which searches find the field ``target``; documents do not have it."""

    name: str
    target: str
    help: str


def gauge(name: str, unit: str, help_: str, source: str, type_: Type = Type.LONG) -> Field:
    """A level, by default a whole number."""
    """A field whose value is a level, an integer unless ``type_`` says otherwise."""
    return Field(name, type_, Kind.GAUGE, unit, help_, source)


def real(name: str, unit: str, help_: str, source: str) -> Field:
    """A level with a fraction."""
    return gauge(name, unit, help_, source, Type.FLOAT)


def counter(name: str, unit: str, help_: str, source: str, delta: str = "") -> Field:
    """A counter, with the rate ``<name>_per_s``."""
    """A field that only grows until its source restarts, with its rate per second."""
    return Field(name, Type.LONG, Kind.COUNTER, unit, help_, source, rate=f"{name}_per_s", delta=delta)


def cpu_time(name: str, help_: str, source: str, rate: str = "", slack: int = 0) -> Field:
    """A CPU time ``….ns``; its rate (``….pct`` by default) is in CPUs, so up to the number of CPUs."""
    rate = rate or name.removesuffix("ns") + "pct"
    return Field(name, Type.LONG, Kind.COUNTER, "ns", help_, source, rate=rate, rate_scale=1e-9, slack=slack)


def dimension(name: str, help_: str, source: str = "") -> Field:
    """A part of the identity of the entity."""
    """A field that identifies the document's entity."""
    return Field(name, Type.KEYWORD, Kind.DIMENSION, "", help_, source)


def constant(name: str, help_: str, source: str = "") -> Field:
    """A name of the entity that does not change within its series: PromQL, ``TS`` and Discover can split by it."""
    return Field(name, Type.KEYWORD, Kind.NAME, "", help_, source)


def host_label(name: str) -> Field:
    """A label of the host that is a field of its own (``index.label_fields``)."""
    return constant(
        f"host.labels.{name}", f"Label {name} of this host, set by the operator", "configuration: host.labels"
    )


def attribute(name: str, help_: str, source: str = "", type_: Type = Type.KEYWORD) -> Field:
    """A description of the entity, by default a keyword."""
    """A field that describes the document's entity."""
    return Field(name, type_, Kind.ATTRIBUTE, "", help_, source)


def with_rates(fields: Iterable[Field]) -> tuple[Field, ...]:
    """``fields``, each counter followed by the gauges of its rate and growth."""
    return tuple(published for field in fields for published in _with_rate(field))


def _with_rate(field: Field) -> list[Field]:
    rate = [field.rate_field()] if field.rate else []
    return [field, *rate, field.delta_field()] if field.delta else [field, *rate]
