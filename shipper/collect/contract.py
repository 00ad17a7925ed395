"""What a collector is: fields of one or more datasets, and a function that reads their values through its own Reader."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from shipper.fields.dataset import HOST
from shipper.fields.field import Field, with_rates
from shipper.fields.rates import Ceiling, Counters, Reading, Value
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_MOST_MATCHED = 256

Collect = Callable[[], Iterable[Reading]]
Start = Callable[[Reader, Config], Collect]
Derive = Callable[[dict[str, Value], Mapping[str, int]], dict[str, Value]]
"""Values of a document with its rates, and ``Reading.inputs`` → further values. It may remove a value from the first."""


def nothing(_values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """``derive`` of an output that has only fields that are read."""
    return {}


def always(_config: Config) -> bool:
    """``used`` of a collector that needs no configuration."""
    return True


@dataclass(frozen=True, slots=True)
class Need:
    """The fields ``what`` are absent if none of ``files`` exists; ``why`` says the likely reason."""

    what: str
    files: tuple[str, ...]
    why: str

    def reason(self, reader: Reader) -> str:
        """Why it is absent; empty if it is not."""
        if any(reader.exists(file) for file in self.files):
            return ""
        top = self.files[0].partition("/")[0]
        return self.why if reader.names(top) else f"{top} is not mounted below the host root"


@dataclass(frozen=True, eq=False)
class Output:
    """What a collector adds to the documents of a dataset; ``derive`` computes those of ``fields`` that are not read."""

    fields: tuple[Field, ...]
    derive: Derive = nothing

    @cached_property
    def counters(self) -> tuple[Field, ...]:
        """The fields that have a rate."""
        return tuple(field for field in self.fields if field.rate)

    @cached_property
    def counted(self) -> Counters:
        """``counters``, prepared for readings."""
        return Counters(self.counters)

    @cached_property
    def all_fields(self) -> tuple[Field, ...]:
        """``fields``, each counter followed by its rate and growth."""
        return with_rates(self.fields)


@dataclass(frozen=True, eq=False)
class Collector:
    """One subsystem of the kernel.

    ``start(reader, config)`` returns the function that is called at every tick, or every ``every_s`` seconds if the files
    are expensive to read and change slowly; the function keeps the state between calls. Each of its readings names a
    dataset of ``outputs``. ``needs`` say why fields may be absent. ``options`` are dataclasses of options; ``config.of``
    returns their values. ``used``: whether the configuration gives it something to read.
    """

    name: str
    start: Start
    outputs: Mapping[str, Output]
    needs: tuple[Need, ...] = ()
    every_s: int = 0
    options: tuple[Any, ...] = ()
    used: Callable[[Config], bool] = always

    def absent(self, reader: Reader) -> dict[str, str]:
        """What is absent on this host, and why."""
        needed = {need.what: reason for need in self.needs if (reason := need.reason(reader))}
        return {**needed, **reader.lacks, **reader.denied}


def plain(collect: Callable[[Reader], Iterable[Reading]]) -> Start:
    """``start`` of a collector without state and options."""
    return lambda reader, _config: lambda: collect(reader)


def host_reading(
    reader: Reader, values: dict[str, Value] | None, most: Mapping[str, Ceiling] | None = None
) -> list[Reading]:
    """The reading of a collector of the host itself; empty if nothing could be read."""
    return [Reading(HOST, "", reader.now_ns(), values, most=most or {})] if values else []


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """A function that tells whether a name matches one of ``globs``; ``*`` also matches slashes."""
    patterns = [re.compile(fnmatch.translate(glob)) for glob in globs]
    return lambda name: any(pattern.match(name) for pattern in patterns)


def matcher_of_few(globs: Iterable[str]) -> Callable[[str], bool]:
    """``matcher`` that remembers its answers, for the names of devices or interfaces: they are the same at most ticks."""
    return lru_cache(maxsize=_MOST_MATCHED)(matcher(globs))
