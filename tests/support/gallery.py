"""The faults that ``shipper why`` and ``compare`` must explain: one declaration for the tests and docs/why.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Fault:
    """``how``: how the fault is made. ``container``: of LIVE faults. ``signals``: fields beyond their thresholds.

    ``within_s``: from the beginning of the fault until the resource is short. ``documents``: where they come from.
    """

    name: str
    how: str
    resource: str
    culprit: str
    container: str = ""
    signals: tuple[str, ...] = ()
    within_s: int = 6  # PSI is a mean over 10 s: after 1 s of full stall it reaches the threshold
    documents: str = "real"


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
# Of tests/fault/test_alert_faults.py, and of tests/es/test_why.py, whose documents are simulated
OTHERS: Final = (
    Fault("full filesystem", "a filesystem on a loop device filled", "filesystem", "the mount point"),
    Fault("new image twice as hungry", "a container replaced by one of a new image", "CPU, memory more", "the image"),
    Fault("container that sleeps", "beside all these", "nothing", "–"),
    Fault("CPU hog on a host", "12 of 16 CPUs by one container", "CPU", "the container", documents="simulated"),
    Fault("memory leak on a host", "1 GiB more per period", "memory", "the container", documents="simulated"),
    Fault("disk writer on a host", "400 MB/s by one container", "disk", "the container", documents="simulated"),
    Fault("fork storm on a host", "20,000 tasks in one container", "tasks", "the container", documents="simulated"),
    Fault("packet loss", "a fifth of the TCP segments sent again", "network", "unknown", documents="simulated"),
    Fault(
        "clock step",
        "90 s back, then a CPU hog",
        "CPU, after the step",
        "the container",
        documents="simulated",
    ),
    Fault("ten quiet hosts", "below all thresholds", "nothing", "–", documents="simulated"),
)


def table() -> Iterator[str]:
    """The table for people."""
    yield "| fault | made by | verdict | culprit | documents |"
    yield "|---|---|---|---|---|"
    for one in (*LIVE, *OTHERS):
        yield f"| {one.name} | {one.how} | {one.resource} | {one.culprit} | {one.documents} |"
