"""Per-second rates of counters: one pure function for all of them.

Grafana's Elasticsearch datasource cannot make a reset-aware rate from a counter, so it is made here, at the source. A
rate is only given where it is certainly right: same entity, same identity (inode, boot, start time), time has passed,
the counter has not gone back. Otherwise the field is absent, never zero and never a spike.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

from shipper.fields import Field

Value = int | float | str | bool | list[str] | dict[str, str]

# Below this the kernel's tick (10 ms at HZ=100) is too large a part of the time between two reads
SHORTEST_NS: Final = 50_000_000


@dataclass(slots=True)
class Reading:
    """What one collector read of one entity at one moment.

    ``entity`` tells it from others of its dataset (``sda``, ``/system.slice/sshd.service``; empty for the host itself),
    ``identity`` changes whenever its counters start anew, ``at_ns`` is Root.now_ns() beside the read of the counters.
    """

    entity: str
    at_ns: int
    values: dict[str, Value]
    identity: Hashable = None


def rates(now: Reading, before: Reading | None, counters: Iterable[Field]) -> dict[str, float]:
    """Rates of ``counters`` between two readings of one entity, under each counter's rate name, and their growth.

    A counter with slack that stepped back by no more than that is held: ``now.values`` gets the former value.
    """
    if before is None or before.identity != now.identity:
        return {}
    elapsed_ns = now.at_ns - before.at_ns
    if elapsed_ns < SHORTEST_NS:
        return {}
    values, former = now.values, before.values
    per_s = 1e9 / elapsed_ns
    result: dict[str, float] = {}
    for field in counters:
        name = field.name
        new, old = values.get(name), former.get(name)
        if type(new) is not int or type(old) is not int:  # most counters of a dataset are absent from most documents
            continue
        if new < old:
            if old - new > field.slack:
                continue
            values[name] = new = old
        # most counters stand still in most ticks
        result[field.rate] = (new - old) * per_s * field.rate_scale if new != old else 0.0
        if field.delta:
            result[field.delta] = new - old
    return result


def kept(reading: Reading, counters: Iterable[Field]) -> Reading:
    """What ``rates`` needs of ``reading`` at the next tick, and nothing else."""
    values = reading.values
    found = {field.name: values[field.name] for field in counters if field.name in values}
    return Reading(reading.entity, reading.at_ns, found, reading.identity)
