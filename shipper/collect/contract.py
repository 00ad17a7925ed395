"""What a collector is: fields, and a function that reads them through its own Reader."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shipper.fields.field import Field, with_rates
from shipper.fields.rates import Ceiling, Reading, Value
from shipper.kernel.source import Reader
from shipper.settings.config import Config

Collect = Callable[[], Iterable[Reading]]
Derive = Callable[[dict[str, Value]], dict[str, Value]]


def nothing(_values: dict[str, Value]) -> dict[str, Value]:
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


@dataclass(frozen=True)
class Collector:
    """One subsystem of the kernel.

    ``start(reader, config)`` gives the function that is called at every tick; what it must remember between ticks lives in
    there. ``options`` are the
    dataclasses of its options, whose values ``config.of`` gives. ``needs`` tell why its fields may be absent. ``derive`` computes further fields from a reading's values with their rates added (pure). A collector with a
    ``pause_s`` is called no more often than that: its files are dear, its values slow.
    """

    name: str
    dataset: str
    fields: tuple[Field, ...]
    start: Callable[[Reader, Config], Collect]
    derive: Derive = nothing
    pause_s: int = 0
    needs: tuple[Need, ...] = ()
    options: tuple[Any, ...] = ()

    def absent(self, reader: Reader) -> dict[str, str]:
        """What is absent on this host for good, and why."""
        needed = {need.what: reason for need in self.needs if (reason := need.reason(reader))}
        return {**needed, **reader.lacks, **reader.denied}

    @cached_property
    def counters(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.rate)

    @property
    def all_fields(self) -> tuple[Field, ...]:
        return with_rates(self.fields)


def plain(collect: Callable[[Reader], Iterable[Reading]]) -> Callable[[Reader, Config], Collect]:
    """``start`` of a collector that remembers nothing and has no settings."""
    return lambda reader, _config: lambda: collect(reader)


def host_reading(
    reader: Reader, values: dict[str, Value] | None, most: Mapping[str, Ceiling] | None = None
) -> list[Reading]:
    """The one reading of a collector that speaks of the host itself; none where nothing could be read."""
    return [Reading("", reader.now_ns(), values, most=most or {})] if values else []


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name matches one of ``globs``; ``*`` stands for slashes too."""
    patterns = [re.compile(fnmatch.translate(glob)) for glob in globs]
    return lambda name: any(pattern.match(name) for pattern in patterns)
