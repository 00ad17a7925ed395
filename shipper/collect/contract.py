"""What a collector is: fields of one or more datasets, and a function that reads them through its own Reader."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shipper.fields.dataset import HOST
from shipper.fields.field import Field, with_rates
from shipper.fields.rates import Ceiling, Reading, Value
from shipper.kernel.source import Reader
from shipper.settings.config import Config

Collect = Callable[[], Iterable[Reading]]
Start = Callable[[Reader, Config], Collect]
Derive = Callable[[dict[str, Value], Mapping[str, int]], dict[str, Value]]
"""Values of a document with its rates, and ``Reading.inputs`` → further values. It may take a rate out of the first."""


def nothing(_values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """``derive`` of an output whose fields are all read."""
    return {}


@dataclass(frozen=True, slots=True)
class Need:
    """``what`` is absent where none of ``files`` is there; ``why`` that may be, for a person."""

    what: str
    files: tuple[str, ...]
    why: str

    def reason(self, reader: Reader) -> str:
        """Why it is absent; empty where it is not."""
        if any(reader.exists(file) for file in self.files):
            return ""
        top = self.files[0].partition("/")[0]
        return self.why if reader.names(top) else f"{top} is not mounted below the host root"


@dataclass(frozen=True, eq=False)
class Output:
    """What a collector adds to the documents of one dataset; ``derive`` computes those of ``fields`` that are not read."""

    fields: tuple[Field, ...]
    derive: Derive = nothing

    @cached_property
    def counters(self) -> tuple[Field, ...]:
        """The fields that have a rate."""
        return tuple(field for field in self.fields if field.rate)

    @cached_property
    def all_fields(self) -> tuple[Field, ...]:
        """``fields``, each counter followed by its rate and growth."""
        return with_rates(self.fields)


@dataclass(frozen=True, eq=False)
class Collector:
    """One subsystem of the kernel.

    ``start(reader, config)`` gives the function that is called at every tick, or every ``every_s`` seconds where the
    files are dear and the values slow; what it must remember between calls lives in there. Each Reading names one of the
    datasets of ``outputs``. ``needs`` tell why fields may be absent. ``options`` are the dataclasses of its options, whose
    values ``config.of`` gives.
    """

    name: str
    start: Start
    outputs: Mapping[str, Output]
    needs: tuple[Need, ...] = ()
    every_s: int = 0
    options: tuple[Any, ...] = ()

    def absent(self, reader: Reader) -> dict[str, str]:
        """What is absent on this host for good, and why."""
        needed = {need.what: reason for need in self.needs if (reason := need.reason(reader))}
        return {**needed, **reader.lacks, **reader.denied}


def plain(collect: Callable[[Reader], Iterable[Reading]]) -> Start:
    """``start`` of a collector that remembers nothing and has no settings."""
    return lambda reader, _config: lambda: collect(reader)


def host_reading(
    reader: Reader, values: dict[str, Value] | None, most: Mapping[str, Ceiling] | None = None
) -> list[Reading]:
    """The one reading of a collector that speaks of the host itself; none where nothing could be read."""
    return [Reading(HOST, "", reader.now_ns(), values, most=most or {})] if values else []


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name matches one of ``globs``; ``*`` stands for slashes too."""
    patterns = [re.compile(fnmatch.translate(glob)) for glob in globs]
    return lambda name: any(pattern.match(name) for pattern in patterns)
