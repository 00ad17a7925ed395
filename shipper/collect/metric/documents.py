"""Label sets → readings: one document each, with the rates of its counters."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final

from shipper.collect.cgroup.entities import entities, membership
from shipper.collect.cgroup.identity import deepest
from shipper.collect.metric.bounds import Series
from shipper.collect.metric.collector import NAME, SERIES
from shipper.fields import dynamic
from shipper.fields.dataset import METRIC
from shipper.fields.field import Declaration, Field, Kind, Type
from shipper.fields.rates import Counters, Kept, Reading, Value
from shipper.kernel.every import Every
from shipper.kernel.source import Reader

_HASH_BYTES: Final = 8
_INODE: Final = "in-"
_LOOK_AGAIN_S: Final = 60
_UNIFIED: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_NOWHERE: Final = Declaration("", 0)
_MOST_SETS: Final = 512  # of counters that label sets have


class Documents:
    """The readings of one source. It keeps the counters of the previous ones for the rates."""

    def __init__(self, reader: Reader, name: str, unit: str) -> None:
        """``unit``: the container or systemd unit that all numbers belong to; empty if there is none."""
        self._reader = reader
        self._name, self._unit = name, unit
        self._before: dict[str, Kept] = {}
        self._inodes: dict[int, str] = {}
        self._look = Every(_LOOK_AGAIN_S)

    def readings(
        self, gathered: Iterable[Series], about: Mapping[str, Value], at_ns: int, found: str = ""
    ) -> Iterator[Reading]:
        """A reading for each label set, and for the empty one, which also says what is known ``about`` the source.

        ``found``: the cgroup that the source belongs to, unless the configuration says it.
        """
        latest: dict[str, Kept] = {}
        own = self._unit or found
        of_itself = _key("", own)
        memberships: dict[str, dict[str, Value]] = {}
        pending: dict[str, Value] | None = dict(about)
        for series in gathered:
            unit = series.unit or own
            if unit not in memberships:
                memberships[unit] = self._membership(unit)
            key = _key(series.labels, unit)
            values = self._values(key, series, latest) | memberships[unit]
            if key == of_itself and pending is not None:
                values, pending = values | pending, None
            yield Reading(METRIC, f"{self._name} {key}", series.at_ns, values)
        if pending is not None:
            values = {NAME: self._name, SERIES: of_itself, **self._membership(own), **pending}
            yield Reading(METRIC, f"{self._name} {of_itself}", at_ns, values)
        self._before = latest

    def _values(self, key: str, series: Series, latest: dict[str, Kept]) -> dict[str, Value]:
        now = Reading(METRIC, key, series.at_ns, {**series.values})
        grown, latest[key] = _counted(frozenset(series.counters)).rates(now, self._before.get(key))
        names = series.values | {rate: value for rate, value in grown.items() if rate not in series.values}
        values: dict[str, Value] = {NAME: self._name, SERIES: key, dynamic.METRICS: names}
        if series.labels:
            values[dynamic.LABELS] = dict(series.labels)
        if hints := dynamic.hints(series.values, series.counters):
            values[dynamic.HINTS] = hints
        return values

    def _membership(self, unit: str) -> dict[str, Value]:
        if not unit:
            return {}
        path = unit if unit.startswith("/") else self._by_inode(unit) or entities(self._reader).path(unit)
        if not path:
            return {}
        return membership(self._reader, *(deepest(path.strip("/").split("/")) or (path, None)))

    def _by_inode(self, unit: str) -> str | None:
        """The cgroup with the inode number that a DogStatsD client sends if it does not see the id of its container."""
        number = unit.removeprefix(_INODE)
        if number == unit or not number.isdigit():
            return None
        if int(number) not in self._inodes and self._look.due(self._reader.now_ns()):
            self._inodes = dict(self._cgroups())
        return self._inodes.get(int(number))

    def _cgroups(self) -> Iterator[tuple[int, str]]:
        """Inode and path of each known cgroup, in the hierarchy of v2."""
        for path in entities(self._reader).paths():
            for top in _UNIFIED:
                with suppress(OSError):
                    yield self._reader.root.stat(f"{top}{path}").st_ino, path


def _key(labels: object, unit: str) -> str:
    """Hash of a label set and the unit that it belongs to."""
    text = json.dumps([labels or [], unit], ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).hexdigest()


@lru_cache(maxsize=_MOST_SETS)
def _counted(names: frozenset[str]) -> Counters:
    return Counters(map(_counter, sorted(names)))


def _counter(name: str) -> Field:
    rate = name + dynamic.RATE
    return Field(name, Type.DOUBLE, Kind.COUNTER, "", "", rate=rate, declared=_NOWHERE)
