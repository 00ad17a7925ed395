"""Per-second rates of counters: one pure function for all.

Grafana's Elasticsearch datasource cannot compute a rate that handles counter resets, so the agent computes it. A rate
is published only if it is certainly right: same entity, same identity (inode, boot, start time), time has passed, and
the counter has neither decreased nor grown more than is possible. Otherwise the field is absent, never zero and never a
spike.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shipper.fields.field import Field

Value = int | float | str | bool | list[str] | dict[str, str] | dict[str, float]

# In a shorter time the kernel's tick (10 ms at HZ=100) would matter too much
SHORTEST_NS: Final = 50_000_000
_NS_PER_S: Final = 1_000_000_000
# Growth per second below which no ceiling is checked, in any unit: most counters
_HARMLESS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Maximum growth of a counter per second. ``grace_s``: how much later than it happens growth may be counted."""

    per_s: float
    grace_s: float = 0.25

    def allows(self, grown: float, elapsed_ns: int) -> bool:
        """Whether a counter can have grown so much in the time."""
        # A delayed reader reads more than the time it recorded before explains
        return grown <= self.per_s * (1.1 * elapsed_ns / _NS_PER_S + self.grace_s)


def cpus(number: int) -> Ceiling:
    """The ceiling of CPU times in ns, on this number of CPUs."""
    return Ceiling(number * 1e9)


# By unit, for readings without own ceilings. Stall times are updated every 2 s (kernel/sched/psi.c)
_CEILINGS: Final = {"bytes": Ceiling(1e12), "count": Ceiling(1e10), "us": Ceiling(1e6, grace_s=2.5)}
_NO_CEILINGS: Final[Mapping[str, Ceiling]] = {}
_NO_INPUTS: Final[Mapping[str, int]] = {}


@dataclass(slots=True)
class Reading:
    """What one collector read of one entity of a dataset at one moment.

    ``entity`` is unique in its dataset (``sda``, ``/system.slice/sshd.service``; empty for the host), ``identity``
    changes when the counters restart, and ``at_ns`` is Root.now_ns() when the counters were read. ``values`` are
    published. ``most`` has the ceilings of counters, by name or unit. ``inputs`` are numbers that only the derivation
    of further fields needs; they are not published.
    """

    dataset: str
    entity: str
    at_ns: int
    values: dict[str, Value]
    identity: Hashable = None
    most: Mapping[str, Ceiling] = field(default_factory=lambda: _NO_CEILINGS)
    inputs: Mapping[str, int] = field(default_factory=lambda: _NO_INPUTS)

    def allows(self, counter: Field, grown: float, elapsed_ns: int) -> bool:
        """Whether the counter can have grown so much in the time."""
        most = self.most.get(counter.name) or self.most.get(counter.unit) or _CEILINGS.get(counter.unit)
        return most is None or most.allows(grown, elapsed_ns)


def rates(now: Reading, before: Reading | None, counters: Iterable[Field]) -> dict[str, float]:
    """Rates of ``counters`` between two readings of an entity, by the names of the rates, and their growth.

    A counter that stepped back by no more than its slack is held: ``now.values`` gets the former value.
    """
    if before is None or before.identity != now.identity:
        return {}
    elapsed_ns = now.at_ns - before.at_ns
    if elapsed_ns < SHORTEST_NS:
        return {}
    values: dict[str, Any] = now.values
    former: dict[str, Any] = before.values
    per_s = 1e9 / elapsed_ns
    harmless = _HARMLESS * elapsed_ns // _NS_PER_S
    result: dict[str, float] = {}
    for counter in counters:
        name = counter.name
        new, old = values.get(name), former.get(name)
        if new is None or old is None:  # most documents lack most counters of their dataset
            continue
        if new < old:
            if old - new > counter.slack:
                continue
            values[name] = new = old
        grown = new - old
        if grown > harmless and not now.allows(counter, grown, elapsed_ns):
            continue
        # most counters do not change in most ticks
        result[counter.rate] = grown * per_s * counter.rate_scale if grown else 0.0
        if counter.delta:
            result[counter.delta] = grown
    return result


def kept(reading: Reading, counters: Iterable[Field]) -> Reading:
    """What ``rates`` needs of ``reading`` at the next tick."""
    values = reading.values
    counted = {counter.name: values[counter.name] for counter in counters if counter.name in values}
    return Reading(reading.dataset, reading.entity, reading.at_ns, counted, reading.identity, reading.most)
