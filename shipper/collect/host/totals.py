"""Counters summed over devices. The sum neither jumps when a disk is attached nor falls when one is removed.

Each tick adds the growth of the devices that were present in both reads. A plain sum would grow by the whole history of a
new disk: a spike that no rate function could tell from real work. Growth for which a device gets no rate is not added
either.
"""

from collections.abc import Iterable
from typing import Final

from shipper.fields.field import Field
from shipper.fields.rates import Reading


class Totals:
    """Totals of ``fields``. They begin as the plain sum: since boot if the shipper starts with the host."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self._fields: Final = tuple(fields)
        self._before: dict[str, Reading] | None = None
        self._totals: dict[str, int] = {}

    def add(self, readings: Iterable[Reading]) -> dict[str, int]:
        """Growth of each field since the last call, summed over ``readings``; empty at the first call."""
        now = {reading.entity: reading for reading in readings}
        before, self._before = self._before, now
        if before is None:
            self._totals = self._sums((reading, None) for reading in now.values())
            return {}
        pairs = ((reading, before[entity]) for entity, reading in now.items() if entity in before)
        added = self._sums((new, old) for new, old in pairs if new.identity == old.identity)
        for name, more in added.items():
            self._totals[name] = self._totals.get(name, 0) + more
        return added

    def values(self, prefix: str, below: str) -> dict[str, int]:
        """The totals so far, with ``<prefix>.read.bytes`` renamed to ``<below>.read.bytes``."""
        return {name.replace(prefix, below, 1): total for name, total in self._totals.items()}

    def _sums(self, pairs: Iterable[tuple[Reading, Reading | None]]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for now, before in pairs:
            for field in self._fields:
                name = field.name
                new, old = now.values.get(name), before.values.get(name) if before else 0
                if not isinstance(new, int) or not isinstance(old, int) or new < old:
                    continue
                if before is None or now.allows(field, new - old, now.at_ns - before.at_ns):
                    sums[name] = sums.get(name, 0) + new - old
        return sums
