"""Processes by state, and the documents of the busiest ones. Elastic's names; disk_sleep is our own.

``proc/PID/stat`` of all processes is read only once a minute, because it is expensive on hosts with many processes.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from shipper.collect.contract import Collect, Collector, Output, host_reading
from shipper.collect.process import busiest
from shipper.collect.process.busiest import Busiest, Options
from shipper.collect.process.stat import Stat, processes
from shipper.fields.dataset import HOST
from shipper.fields.field import gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_PREFIX: Final = "system.process.summary"
_STATES: Final = {
    "running": "that run or wait for a CPU",
    "sleeping": "that wait for an event",
    "disk_sleep": "in uninterruptible sleep, mostly for disk I/O",
    "idle": "of the kernel that are idle (since Linux 4.14)",
    "stopped": "stopped by a signal or a debugger",
    "zombie": "that ended and whose parent has not read their status",
    "dead": "being removed",
    "unknown": "in another state",
}

FIELDS: Final = (
    gauge(f"{_PREFIX}.total", "count", "Processes; read once a minute", "proc/PID"),
    *(
        gauge(f"{_PREFIX}.{state}", "count", f"Processes {which}; read once a minute", "proc/PID/stat 3rd")
        for state, which in _STATES.items()
    ),
)


def summary(stats: Iterable[Stat]) -> dict[str, Value]:
    """Number of processes in each state; empty if no process can be seen."""
    states = Counter(stat.state for stat in stats)
    counts = {f"{_PREFIX}.{state}": states[state] for state in _STATES}
    return {f"{_PREFIX}.total": states.total(), **counts} if states else {}


def start(reader: Reader, config: Config) -> Collect:
    """The host's summary, and the busiest processes if they are configured."""
    most = config.of(Options).processes if busiest.DATASET in config.collect.datasets else 0
    top = Busiest(reader, config, most)

    def collect() -> Iterable[Reading]:
        at_ns = reader.now_ns()
        stats = list(processes(reader))
        yield from host_reading(reader, summary(stats))
        if most:
            yield from top.readings(stats, at_ns)

    return collect


COLLECTOR: Final = Collector(
    "processes", start, {HOST: Output(FIELDS), busiest.DATASET: Output(busiest.FIELDS)}, every_s=60, options=(Options,)
)
