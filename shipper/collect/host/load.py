"""Load averages: ``proc/loadavg``, ``0.20 0.18 0.12 1/80 11206`` (averages, runnable/all threads, last pid).

https://docs.kernel.org/filesystems/proc.html
"""

from collections.abc import Iterable, Mapping
from typing import Final

from shipper.collect.contract import Collector, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import ParseError, columns, decimal, integer, shown, whole
from shipper.kernel.source import Reader

_FILE = "proc/loadavg"
# Average → the same per logical CPU
_NORMS: Final = {
    "system.load.1": "system.load.norm.1",
    "system.load.5": "system.load.norm.5",
    "system.load.15": "system.load.norm.15",
}

FIELDS = (
    real("system.load.1", "load", "Load average over 1 minute", f"{_FILE} 1st"),
    real("system.load.5", "load", "Load average over 5 minutes", f"{_FILE} 2nd"),
    real("system.load.15", "load", "Load average over 15 minutes", f"{_FILE} 3rd"),
    *(
        real(norm, "load", f"{average} per logical CPU", f"{average} / system.cpu.cores")
        for average, norm in _NORMS.items()
    ),
    gauge(
        "system.threads.runnable.count", "count", "Threads that run or wait for a CPU", f"{_FILE} 4th, before the slash"
    ),
    gauge("system.threads.count", "count", "Threads on the host", f"{_FILE} 4th, after the slash"),
)


def parse(text: bytes) -> dict[str, Value]:
    """Averages and threads. Raises ParseError."""
    words = whole(text).split()
    if len(words) != 5:  # noqa: PLR2004
        raise ParseError(f"not five words: {shown(text)}")
    runnable, _, total = words[3].partition(b"/")
    threads = (("system.threads.runnable.count", runnable), ("system.threads.count", total))
    values: dict[str, Value] = {}
    bad = ""
    for named, convert in ((zip(_NORMS, words, strict=False), decimal), (threads, integer)):
        try:
            values |= columns(named, convert)
        except ParseError as error:
            bad = bad or str(error)
            values |= error.partial
    if bad:
        raise ParseError(f"{bad}: {shown(text)}", values or None)
    return values


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    return host_reading(reader, reader.parse(_FILE, parse))


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Averages per logical CPU; ``cpu`` adds the number of CPUs."""
    cores = values.get("system.cpu.cores")
    if not isinstance(cores, int) or cores < 1:
        return {}
    loads = ((norm, values.get(average)) for average, norm in _NORMS.items())
    return {norm: load / cores for norm, load in loads if isinstance(load, float)}


COLLECTOR = Collector("load", plain(collect), {HOST: Output(FIELDS, derive)})
