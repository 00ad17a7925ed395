"""The faults that ``shipper why`` must explain, and what it must say: one declaration for the tests and docs/why.md."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Fault:
    """``how``: how the fault is made. ``container``: of LIVE faults. ``signals``: fields beyond their thresholds.

    ``within_s``: from the beginning of the fault until the resource is short.
    """

    name: str
    how: str
    resource: str
    culprit: str
    container: str = ""
    signals: tuple[str, ...] = ()
    within_s: int = 4  # PSI is a mean over 10 s: after 1 s of full stall it reaches the threshold


def _waits(resource: str) -> tuple[str, ...]:
    return (f"cgroup.pressure.{resource}.some.avg10.pct",)


# Of tests/fault/test_why_faults.py
LIVE: Final = (
    Fault("CPU hog", "three busy loops per CPU, without a limit", "CPU", "the container", "hog", _waits("cpu")),
    Fault("noisy neighbour", "a busy loop beside them", "CPU", "the hog, without a limit", "steady", _waits("cpu")),
    Fault(
        "throttled neighbour",
        "a busy loop with a quota of a twentieth of a CPU",
        "CPU",
        "its own quota",
        "throttled",
        ("cgroup.cpu.throttled.pct",),
    ),
    Fault(
        "memory leak to OOM",
        "10 MiB more per second, up to a limit of 48 MiB",
        "memory",
        "the container",
        "leak",
        ("cgroup.memory.events.oom_kill.count_per_s",),
        within_s=9,
    ),
    Fault(
        "page cache thrash",
        "a file of 48 MiB read repeatedly, with a limit of 12 MiB",
        "memory",
        "its own limit",
        "thrash",
        ("cgroup.memory.refaults.file.count_per_s",),
    ),
    Fault(
        "disk writer",
        "direct writes, at most 4 MiB per second",
        "disk",
        "its own limit",
        "writer",
        _waits("io"),
    ),
    Fault(
        "fork storm",
        "new processes up to a limit of 40 tasks",
        "tasks",
        "the container",
        "forks",
        ("cgroup.pids.used.pct",),
    ),
)
