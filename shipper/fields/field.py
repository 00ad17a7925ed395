"""What a field is: one declaration from which mappings, tables, rates and dashboard checks are made.

Fields are declared beside the collector that fills them and gathered by ``registry``. Three rules hold for all: the
unit is in the last segment of the name (Elastic's older names excepted, where it stands in the help), *absent is not
zero*, and a counter is kept raw with its rate beside it.
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
    """Elasticsearch types, only those that every build of the server has."""

    KEYWORD = "keyword"
    LONG = "long"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    DATE = "date"
    FLATTENED = "flattened"
    IP = "ip"


class Kind(StrEnum):
    """The role of a field, which decides its mapping and which aggregations make sense."""

    GAUGE = "gauge"  # a level: averages and maxima make sense
    COUNTER = "counter"  # only ever grows until its source restarts: only differences make sense
    DIMENSION = "dimension"  # part of the identity of the document's entity
    NAME = "name"  # never changes within a series: a dimension too where the server takes so many (8.13)
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
    """Where a field is declared: the file of the code and the line."""

    file: str
    line: int

    @property
    def path(self) -> str:
        """The file from the folder that holds the package: ``shipper/collect/host/cpu.py``."""
        return os.path.relpath(self.file, _FOLDER)


def _declaration() -> Declaration:
    """Of the code outside this module that makes a field now."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 – the call site is what is asked for
    while frame and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return Declaration(frame.f_code.co_filename, frame.f_lineno) if frame else Declaration("", 0)


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf of a document.

    ``source`` names the kernel file and key the value comes from. A counter's rate is published as ``rate`` after
    multiplication with ``rate_scale`` (a CPU time in ns per second × 1e-9 is in cores). ``slack`` is how far a
    counter may step back without having been reset: the kernel's iowait and idle times do so by a few ticks
    (https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat); it is held then.
    ``delta`` names a gauge of what was added since the document before, for those counters where Elastic has one.
    ``declared`` is the line that makes it.
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
        unit = self.rate.rpartition(".")[2]
        unit = unit if unit in ("pct", "cores") else _RATE_UNITS[self.unit]
        help_ = f"Rate of {self.name}"
        return Field(self.rate, Type.DOUBLE, Kind.GAUGE, unit, help_, self.source, declared=self.declared)

    def delta_field(self) -> "Field":
        help_ = f"Growth of {self.name} since the document before"
        return Field(self.delta, Type.LONG, Kind.GAUGE, self.unit, help_, self.source, declared=self.declared)


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name under which searches find the field ``target``; no document carries it."""

    name: str
    target: str
    help: str


def gauge(name: str, unit: str, help_: str, source: str, type_: Type = Type.LONG) -> Field:
    """A field whose value is a level, an integer unless ``type_`` says otherwise."""
    return Field(name, type_, Kind.GAUGE, unit, help_, source)


def real(name: str, unit: str, help_: str, source: str) -> Field:
    """A gauge with a fraction."""
    return gauge(name, unit, help_, source, Type.DOUBLE)


def counter(name: str, unit: str, help_: str, source: str, delta: str = "") -> Field:
    """A field that only grows until its source restarts, with its rate per second."""
    return Field(name, Type.LONG, Kind.COUNTER, unit, help_, source, rate=f"{name}_per_s", delta=delta)


def cpu_time(name: str, help_: str, source: str, rate: str = "", slack: int = 0) -> Field:
    """A CPU time ``….ns``; its rate, ``….pct`` unless named, is in CPUs (so up to the number of cores)."""
    rate = rate or name.removesuffix("ns") + "pct"
    return Field(name, Type.LONG, Kind.COUNTER, "ns", help_, source, rate=rate, rate_scale=1e-9, slack=slack)


def dimension(name: str, help_: str, source: str = "") -> Field:
    """A field that identifies the document's entity."""
    return Field(name, Type.KEYWORD, Kind.DIMENSION, "", help_, source)


def constant(name: str, help_: str, source: str = "") -> Field:
    """A name of the entity that never changes within its series: PromQL, ``TS`` and Discover can split by it."""
    return Field(name, Type.KEYWORD, Kind.NAME, "", help_, source)


def host_label(name: str) -> Field:
    """One of the operator's labels of the host that is a field of its own (``index.label_fields``)."""
    return constant(f"host.labels.{name}", f"The operator's label {name} of this host", "configuration: host.labels")


def attribute(name: str, help_: str, source: str = "", type_: Type = Type.KEYWORD) -> Field:
    """A field that describes the document's entity."""
    return Field(name, type_, Kind.ATTRIBUTE, "", help_, source)


def with_rates(fields: Iterable[Field]) -> tuple[Field, ...]:
    """``fields``, each counter followed by the gauges of its rate and growth."""
    return tuple(one for field in fields for one in _with_rate(field))


def _with_rate(field: Field) -> list[Field]:
    rate = [field.rate_field()] if field.rate else []
    return [field, *rate, field.delta_field()] if field.delta else [field, *rate]
