"""Sums over devices that come and go, as counters: they neither jump when a disk is attached nor fall when it goes.

What is added at each tick is what the devices seen in both reads have counted between them. A sum over the devices of the
moment would grow by a new disk's whole history: a spike that no rate and no ``counter_rate`` could tell from work done.
Growth that a device's own rate is refused for is not added either.
"""

from collections.abc import Iterable
from typing import Final

from shipper.fields.field import Field
from shipper.fields.rates import Reading


class Totals:
    """Totals of ``fields``. They begin as the plain sum, so from boot where the shipper starts with the host."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self._fields: Final = tuple(fields)
        self._before: dict[str, Reading] | None = None
        self._totals: dict[str, int] = {}

    def add(self, readings: Iterable[Reading]) -> dict[str, int]:
        """What the devices have counted since the last call, by field: nothing at the first one."""
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
        """The totals so far, ``<prefix>.read.bytes`` renamed to ``<below>.read.bytes``."""
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
