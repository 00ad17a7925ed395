"""The datasets by name, and what one document of each describes. ``schema.datasets`` adds their fields."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Declared:
    """One kind of document. ``module`` is its ``event.module``; ``default``: collected unless configured otherwise."""

    name: str
    help: str
    module: str = "system"
    default: bool = True


HOST: Final = "host"
CGROUP: Final = "cgroup"
AGENT: Final = "agent"
METRIC: Final = "metric"

DECLARED: Final[dict[str, Declared]] = {
    dataset.name: dataset
    for dataset in (
        Declared(HOST, "the host as a whole"),
        Declared("core", "a logical CPU", default=False),
        Declared("disk", "a block device"),
        Declared("filesystem", "a mounted filesystem, once per device"),
        Declared("network", "a network interface"),
        Declared("process", "one of the processes that use most CPU or memory"),
        Declared("raid", "a software RAID array"),
        Declared("sensor", "a temperature, fan, voltage, current or power sensor"),
        Declared("event", "an OOM kill, from the kernel's log", "shipper"),
        Declared(CGROUP, "a container, service, machine, scope, pod or slice", "shipper"),
        Declared(METRIC, "a label set of a source of the user's own numbers", "shipper"),
        Declared(AGENT, "the shipper itself: what it delivered, what it cost, what went wrong", "shipper"),
    )
}


def declare(name: str, help_: str) -> str:
    """A dataset of another package's collector; returns its name. Raises ValueError if it exists."""
    if name in DECLARED or not name.isascii() or not name.isalpha() or not name.islower():
        raise ValueError(f"dataset {name} exists, or its name is not of lower-case letters")
    DECLARED[name] = Declared(name, help_, "shipper")
    return name
