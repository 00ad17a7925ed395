"""An image, unit or container before and after a change: each image is a row or line of its own.

No panel is shifted in time: an image marks its own documents, also while hosts change one after the other. p50, p95 and
the usual variation are arithmetic over windows of time that only ``shipper compare`` does.
"""

from shipper.view.dashboards.boards.common import BOOT_MARK, IMAGE, IMAGE_MARK, KILL_MARK, START_MARK, UNIT, WORKLOADS
from shipper.view.dashboards.model import (
    CLUSTER,
    ENTITY,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Panel,
    Row,
    Split,
    avg,
    least,
    lines,
    most,
    table,
    unique,
)

_BY_IMAGE = "container.image.name"
_NEWEST = Split(_BY_IMAGE, 10, least(TIME, "first"))  # the same images in all charts, which share a search


def _course(title: str, help_: str, name: str) -> Panel:
    said = f"{help_}; mean per container, for the ten newest images."
    return lines(title, said, "cgroup", avg(name), split=_NEWEST, width=12)


def _of_each(title: str, help_: str, name: str) -> Panel:
    split = Split(ENTITY, 10)
    return lines(title, help_, "cgroup", avg(name), split=split, where=WORKLOADS, width=12)


_IMAGES = Row(
    "Images",
    (
        table(
            "Images before and after",
            "One row per image, the newest first. Numbers are per container and over the time range. `shipper compare` says whether a difference exceeds the usual variation, and has p50 and p95.",
            "cgroup",
            Split(_BY_IMAGE, 25, least(TIME, "first")),
            unique(ENTITY, "containers"),
            avg("cgroup.cpu.cores", "CPU"),
            most("cgroup.cpu.cores", "CPU, max"),
            avg("cgroup.cpu.throttled.pct", "throttled"),
            avg("cgroup.memory.working_set.bytes", "memory"),
            most("cgroup.memory.working_set.bytes", "memory, max"),
            most("cgroup.restarts.count", "restarts"),
            least(TIME, "first"),
            most(TIME, "last"),
            width=24,
        ),
        _course("CPU by image", "CPU usage in CPUs", "cgroup.cpu.cores"),
        _course("Memory by image", "Working set", "cgroup.memory.working_set.bytes"),
    ),
)  # fmt: skip

_MORE = Row(
    "Throttling, I/O and OOM kills by image",
    (
        _course(
            "Throttling by image", "Share of the quota's periods with throttling", "cgroup.cpu.throttled.pct"
        ),
        _course("Writes by image", "Bytes per second written to disks", "cgroup.io.write.bytes_per_s"),
        _course("Sent by image", "Bytes per second sent, for containers with their own network", "cgroup.network.out.bytes_per_s"),
        _course("OOM kills by image", "OOM kills per second", "cgroup.memory.events.oom_kill.count_per_s"),
    ),
    collapsed=True,
)  # fmt: skip

_UNITS = Row(
    "Containers and units",
    (
        _of_each(
            "CPU before and after",
            "CPU usage in CPUs, for the ten containers and services with the highest value.",
            "cgroup.cpu.cores",
        ),
        _of_each(
            "Memory before and after",
            "Working set, for the ten containers and services with the highest value.",
            "cgroup.memory.working_set.bytes",
        ),
    ),
    collapsed=True,
)

BOARD = Board(
    "shipper-compare",
    "Before and after",
    "What an image, unit or container uses before and after a change. Choose the unit or its images, and a time range around the change.",
    (NAMESPACE, CLUSTER, HOSTS, UNIT, IMAGE),
    (_IMAGES, _MORE, _UNITS),
    (BOOT_MARK, START_MARK, IMAGE_MARK, KILL_MARK),
    last="6h",
)
