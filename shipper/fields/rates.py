"""Per-second rates of counters: one pure function for all.

Grafana's Elasticsearch datasource cannot compute a rate that handles counter resets, so the agent computes it. A rate
is published only if it is certainly right: same entity, same identity (inode, boot, start time), time has passed, and
the counter has neither decreased nor grown more than is possible. Otherwise the field is absent, never zero and never a
spike.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from shipper.fields.field import Field

Value = int | float | str | bool | list[str] | dict[str, str] | dict[str, float]

# In a shorter time the kernel's tick (10 ms at HZ=100) would matter too much
SHORTEST_NS: Final = 50_000_000
_NS_PER_S: Final = 1_000_000_000
# Growth per second below which no ceiling is checked, in any unit: most counters
_HARMLESS: Final = 100_000
_MOST_SETS: Final = 512  # of names that readings of a dataset have


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


class Columns:
    """The counters that readings with the same names have. ``still``: their rates and growth if none changes."""

    __slots__ = ("counters", "names", "pick", "still")

    def __init__(self, counters: Iterable[Field]) -> None:
        self.counters = tuple(counters)
        self.names = tuple(counter.name for counter in self.counters)
        self.pick = _picked(self.names)
        self.still: dict[str, float] = {}
        for counter in self.counters:
            self.still[counter.rate] = 0.0
            if counter.delta:
                self.still[counter.delta] = 0


def _picked(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A function that returns the values of ``names``."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


@dataclass(slots=True)
class Kept:
    """What is needed of a reading for the rates of the next one; a row takes a third of a dict's memory."""

    at_ns: int
    identity: Hashable
    columns: Columns
    row: tuple[Any, ...]

    def of(self, columns: Columns) -> tuple[Any, ...]:
        """The values in the order of ``columns``; None for those that the reading did not have."""
        if columns is self.columns:
            return self.row
        return tuple(map(dict(zip(self.columns.names, self.row, strict=True)).get, columns.names))


class Counters:
    """The counters of a dataset, prepared for each set of names that its readings have."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self._fields = tuple(fields)
        self._columns: dict[tuple[str, ...], Columns] = {}

    def kept(self, reading: Reading) -> Kept:
        """What ``rates`` needs of ``reading`` at the next tick."""
        columns = self._of(reading.values)
        return Kept(reading.at_ns, reading.identity, columns, columns.pick(reading.values))

    def rates(self, now: Reading, before: Kept | None) -> tuple[dict[str, float], Kept]:
        """Rates between two readings of an entity, by the names of the rates, and their growth; what ``kept`` gives.

        A counter that stepped back by no more than its slack is held: ``now.values`` gets the former value.
        """
        kept = self.kept(now)
        if before is None or before.identity != now.identity:
            return {}, kept
        elapsed_ns = now.at_ns - before.at_ns
        if elapsed_ns < SHORTEST_NS:
            return {}, kept
        columns, former = kept.columns, before.of(kept.columns)
        result = columns.still.copy()
        per_s = 1e9 / elapsed_ns
        harmless = _HARMLESS * elapsed_ns // _NS_PER_S
        for counter, new, old in zip(columns.counters, kept.row, former, strict=True):
            if new == old:  # most counters do not change in most ticks
                continue
            if old is not None and new < old and old - new <= counter.slack:
                now.values[counter.name] = old
                kept.row = columns.pick(now.values)
            elif old is None or new < old or (new - old > harmless and not now.allows(counter, new - old, elapsed_ns)):
                del result[counter.rate]
                result.pop(counter.delta, None)
            else:
                result[counter.rate] = (new - old) * per_s * counter.rate_scale
                if counter.delta:
                    result[counter.delta] = new - old
        return result, kept

    def _of(self, values: Mapping[str, Value]) -> Columns:
        names = tuple(values)
        columns = self._columns.get(names)
        if columns is None:
            if len(self._columns) >= _MOST_SETS:
                self._columns.clear()
            columns = self._columns[names] = Columns(counter for counter in self._fields if counter.name in values)
        return columns
