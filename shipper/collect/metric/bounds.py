"""How much a source may give: so many label sets in a tick, and so many names while the agent runs.

The number of names is what costs a server most: each becomes a field of its mapping. What is beyond a bound is counted,
and the problem names an example.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shipper.base.text import dimension, utf8
from shipper.collect.contract import matcher
from shipper.collect.metric.samples import Labels, Sample
from shipper.settings.sources import Source

_MOST_LABELS: Final = 32  # of one sample
_LONGEST_NAME: Final = 200
_REMEMBERED: Final = 4096
_UNUSUAL: Final = re.compile(r"[^\w:.-]|\.(?=\.)", re.ASCII)
_EXCLUDED: Final = ""


@dataclass(slots=True)
class Series:
    """The numbers of one label set. ``unit``: the container or systemd unit that they belong to."""

    labels: Labels
    unit: str
    at_ns: int
    values: dict[str, float] = field(default_factory=dict)
    counters: set[str] = field(default_factory=set)


class Bounds:
    """The bounds of one source. ``dropped``: samples left out so far."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._accepted, self._refused = matcher(source.accept), matcher(source.drop)
        self._names: set[str] = set()
        self._known: dict[str, str | None] = {}
        self._labelings: dict[Labels, Labels | None] = {}
        self.dropped = 0
        self.samples = 0
        self._beyond: dict[str, tuple[int, str]] = {}

    def gather(self, samples: Iterable[Sample], at_ns: int) -> list[Series]:
        """The ``samples`` that are within the bounds, by label set."""
        found: dict[tuple[str, Labels], Series] = {}
        self._beyond, self.samples = {}, 0
        for sample in samples:
            name = self._name(sample.name)
            if name == _EXCLUDED:
                continue
            labels = self._labeling(sample.labels)
            if name is None or labels is None:
                self._drop("max_names", sample.name)
                continue
            key = sample.unit, labels
            series = found.get(key)
            if series is None:
                if len(found) >= self._source.max_series:
                    self._drop("max_series", sample.name)
                    continue
                series = found[key] = Series(labels, sample.unit, sample.at_ns or at_ns)
            series.values[name] = sample.value
            self.samples += 1
            if sample.counter:
                series.counters.add(name)
        return list(found.values())

    @property
    def problem(self) -> str:
        """What the last call of ``gather`` left out; empty if nothing."""
        return "; ".join(
            f"{count} samples are beyond {option} = {getattr(self._source, option)}, such as {example}"
            for option, (count, example) in self._beyond.items()
        )

    def _drop(self, option: str, name: str) -> None:
        count, example = self._beyond.get(option, (0, utf8(name)[:_LONGEST_NAME]))
        self._beyond[option] = count + 1, example
        self.dropped += 1

    def _name(self, name: str) -> str | None:
        """The name as a field can have it; _EXCLUDED if it is not wanted, None if it is one too many."""
        if name in self._known:
            return self._known[name]
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        wanted = self._accepted(name) and not self._refused(name)
        result = self._known[name] = self._admit(name) if wanted else _EXCLUDED
        return result

    def _labeling(self, labels: Labels) -> Labels | None:
        """The labels sorted, with names that fields can have; None if there are too many."""
        if labels in self._labelings:
            return self._labelings[labels]
        if len(self._labelings) >= self._source.max_series:
            self._labelings.clear()
        result = self._labelings[labels] = self._sorted(labels)
        return result

    def _sorted(self, labels: Labels) -> Labels | None:
        if len(labels) > _MOST_LABELS:
            return None
        named = {self._admit(name): dimension(utf8(value)) for name, value in labels if value}
        return None if None in named else tuple(sorted((name, value) for name, value in named.items() if name))

    def _admit(self, name: str) -> str | None:
        """``name`` as a field can have it, if it is known or one more may be."""
        clean = _UNUSUAL.sub("_", name).strip(".")[:_LONGEST_NAME].rstrip(".")
        if clean not in self._names:
            if len(self._names) >= self._source.max_names:
                return None
            self._names.add(clean)
        return clean
