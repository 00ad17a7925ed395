"""What every source gives: numbers with their names, their labels and how they may be used."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One number.

    ``at_ns``: when it was made, on the clock of the rates; 0: when its batch was read. ``unit``: the container or systemd
    unit that it belongs to, or its cgroup, if the source knows it.
    """

    name: str
    labels: Labels
    value: float
    counter: bool = False
    at_ns: int = 0
    unit: str = ""


@dataclass(slots=True)
class Batch:
    """What one reading of a source gives.

    ``at_ns``: when it was read. ``values``: fields of the source itself. ``problems``: what cannot be read, and why; it is
    complete when ``samples`` has ended. ``dropped``: what the source itself left out so far. ``unit``:
    the cgroup that all samples belong to, if the source knows it.
    """

    samples: Iterable[Sample]
    at_ns: int
    values: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    dropped: int = 0
    unit: str = ""
