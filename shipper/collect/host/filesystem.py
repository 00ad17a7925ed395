"""Mounted filesystems: ``proc/1/mountinfo`` and statvfs below the host root, one document per device.

The mounts are those of pid 1, because ``self`` would list the container's own. ``kernel.mountinfo`` has the parser.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from shipper.base.isolate import Crew, Outcome
from shipper.collect.contract import Collect, Collector, Need, Output, matcher
from shipper.fields.field import Type, attribute, dimension, gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel import mountinfo
from shipper.kernel.mountinfo import Mount
from shipper.kernel.parse import LARGEST, ParseError, name
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config
from shipper.settings.options import globs, option

DATASET = "filesystem"
_FILE = "proc/1/mountinfo"
_PREFIX = "system.filesystem"
_DEADLINE_S = 2.0  # for all mounts of a tick
_SHARE = 4  # one may use this part of it
_MOST_TRIED = 4  # mounts of one device
# Subvolumes of btrfs have a device number each, mountinfo has the filesystem's
_OWN_NUMBERS = ("btrfs", "bcachefs")

FIELDS = (
    dimension(f"{_PREFIX}.mount_point", "Where it is mounted, as the host sees it", f"{_FILE} 5th"),
    attribute(f"{_PREFIX}.device_name", "What is mounted there", f"{_FILE} source"),
    attribute(f"{_PREFIX}.type", "Type: ext4, xfs", f"{_FILE} type"),
    attribute(f"{_PREFIX}.read_only", "Mounted read-only, or made so after an error", f"{_FILE} options", Type.BOOLEAN),
    attribute(f"{_PREFIX}.stuck", "It did not answer in time: no sizes", "statvfs(3)", Type.BOOLEAN),
    gauge(f"{_PREFIX}.total", "bytes", "Size", "statvfs f_blocks"),
    gauge(f"{_PREFIX}.free", "bytes", "Free, the part reserved for root included", "statvfs f_bfree"),
    gauge(f"{_PREFIX}.available", "bytes", "Free for users other than root", "statvfs f_bavail"),
    gauge(f"{_PREFIX}.used.bytes", "bytes", "In use", "statvfs f_blocks - f_bfree"),
    real(f"{_PREFIX}.used.pct", "pct", "In use, of what is not reserved for root: as df", "used / (used + available)"),
    gauge(f"{_PREFIX}.files", "count", "Inodes, where their number is fixed", "statvfs f_files"),
    gauge(f"{_PREFIX}.free_files", "count", "Inodes that are free", "statvfs f_ffree"),
    real(f"{_PREFIX}.used_files.pct", "pct", "Inodes in use", "1 - f_ffree / f_files"),
)


def by_device(mounts: Iterable[Mount]) -> list[list[Mount]]:
    """The mounts of each device, the one that best stands for it first: writable, whole, the shortest path.

    A later mount hides one at its own place. Of parts of a filesystem (Fedora CoreOS: /etc and /var, and /sysroot, which is
    read-only) /etc and /usr stand for it least.
    """
    visible = {mount.point: mount for mount in mounts}
    found: dict[int, list[Mount]] = {}
    for mount in sorted(visible.values(), key=_rank):
        found.setdefault(mount.device, []).append(mount)
    return sorted((group[:_MOST_TRIED] for group in found.values()), key=lambda group: group[0].point)


def _rank(mount: Mount) -> tuple[bool, bool, bool, int, bytes]:
    part = mount.point.startswith((b"/etc", b"/usr"))
    return mount.read_only, not mount.whole, part, len(mount.point), mount.point


def sizes(vfs: os.statvfs_result) -> dict[str, Value]:
    """Fields of what statvfs answered; empty where a filesystem has no size. A number that cannot be costs its own fields.

    Where a quota is exceeded, what is available is below zero: as an unsigned number, more than is free. It is none.
    """
    block, total, free, available = vfs.f_frsize, vfs.f_blocks, vfs.f_bfree, vfs.f_bavail
    values: dict[str, Value] = {}
    if total <= 0:
        return values
    if total * block <= LARGEST:
        values[f"{_PREFIX}.total"] = total * block
        if not 0 <= available <= total:
            available = 0
        if 0 <= free <= total:
            available = min(available, free)
            values[f"{_PREFIX}.free"] = free * block
            values[f"{_PREFIX}.used.bytes"] = (total - free) * block
            if total - free + available:
                values[f"{_PREFIX}.used.pct"] = (total - free) / (total - free + available)
        values[f"{_PREFIX}.available"] = available * block
    if 0 < vfs.f_files <= LARGEST and 0 <= vfs.f_ffree <= vfs.f_files:
        values[f"{_PREFIX}.files"] = vfs.f_files
        values[f"{_PREFIX}.free_files"] = vfs.f_ffree
        values[f"{_PREFIX}.used_files.pct"] = 1 - vfs.f_ffree / vfs.f_files
    return values


@dataclass(frozen=True, slots=True)
class _Answer:
    directory: bool
    device: int
    has_size: bool
    values: dict[str, Value]


def _ask(root: Root, path: str) -> _Answer | OSError:
    try:
        target = root.stat(path)
        vfs = root.statvfs(path)
        return _Answer(stat.S_ISDIR(target.st_mode), target.st_dev, vfs.f_blocks > 0, sizes(vfs))
    except OSError as error:
        return error


@dataclass(frozen=True)
class Options:
    """Options of the filesystem collector, in section ``collect``."""

    filesystem_exclude: tuple[str, ...] = option(
        (
            "/dev", "/dev/*", "/proc", "/proc/*", "/sys", "/sys/*", "/run/credentials/*", "/var/lib/docker/*",
            "/var/lib/containers/storage/*", "/var/lib/containerd/*", "/var/lib/kubelet/*", "/run/containerd/*",
        ),
        "Mount points to exclude",
        globs(),
    )  # fmt: skip
    filesystem_types_exclude: tuple[str, ...] = option(
        (
            "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
            "efivarfs", "erofs", "fuse.lxcfs", "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "overlay", "proc",
            "procfs", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs",
        ),
        "Filesystem types to exclude",
        globs(),
    )  # fmt: skip


def start(reader: Reader, config: Config) -> Collect:
    point_excluded = matcher(config.of(Options).filesystem_exclude)
    type_excluded = matcher(config.of(Options).filesystem_types_exclude)
    crew: Crew[_Answer | OSError] = Crew(_DEADLINE_S / _SHARE, _DEADLINE_S)
    text: bytes | None = None
    groups: list[list[Mount]] = []

    def chosen(found: Iterable[Mount]) -> list[list[Mount]]:
        kept = (mount for mount in found if not type_excluded(mount.type) and not point_excluded(name(mount.point)))
        return by_device(kept)

    def collect() -> Iterable[Reading]:
        nonlocal text, groups
        data = reader.read(_FILE)
        if data is None:
            return []
        if data != text:  # it changes rarely, and is long where containers are many
            try:
                groups, text = chosen(mountinfo.parse(data)), data
            except ParseError as error:
                reader.problem(_FILE, str(error))
                groups, text = chosen(error.partial or []), None
        return _readings(reader, crew, groups)

    return collect


def _readings(reader: Reader, crew: Crew[_Answer | OSError], groups: list[list[Mount]]) -> list[Reading]:
    """Of each device the first mount that answers as that device's directory; it is put first for the next time."""
    readings: list[Reading] = []
    left = list(groups)
    for turn in range(_MOST_TRIED):
        asked = [(os.fsdecode(group[turn].point), group) for group in left if turn < len(group)]
        left = []
        outcomes = crew.run([(path, partial(_ask, reader.root, path)) for path, _ in asked])
        for path, group in asked:
            values = _values(reader, group[turn], outcomes.get(path), last=turn + 1 == len(group))
            if values is None:
                left.append(group)
                continue
            readings.append(Reading(DATASET, path, reader.now_ns(), values, group[turn].device))
            group.insert(0, group.pop(turn))
    return sorted(readings, key=lambda reading: reading.entity)


def _values(
    reader: Reader, mount: Mount, outcome: Outcome[_Answer | OSError] | None, *, last: bool
) -> dict[str, Value] | None:
    """What to tell of a mount; None where it does not stand for its device, which is noted of the ``last`` one."""
    if outcome is None or outcome.error:
        reader.problem(name(mount.point), outcome.error if outcome else "not asked: the deadline was used up by others")
        return None
    answer = outcome.value
    if isinstance(answer, OSError):
        if last:
            _note(reader, mount, answer)
        return None
    if answer and not _is_meant(mount, answer):
        return None
    values: dict[str, Value] = {
        f"{_PREFIX}.mount_point": name(mount.point),
        f"{_PREFIX}.device_name": mount.source,
        f"{_PREFIX}.type": mount.type,
        f"{_PREFIX}.read_only": mount.read_only,
        f"{_PREFIX}.stuck": outcome.stuck,
    }
    return {**values, **answer.values} if answer else values


def _is_meant(mount: Mount, answer: _Answer) -> bool:
    """Not a file bound to its place, nor what lies below a mount that is younger than our view or hidden by another."""
    same = answer.device == mount.device or mount.type in _OWN_NUMBERS
    return answer.directory and same and answer.has_size


def _note(reader: Reader, mount: Mount, error: OSError) -> None:
    def again() -> None:
        raise error

    reader.attempt(name(mount.point), again)


NEEDS = (Need("filesystems", (_FILE,), "pid 1's mounts are not to be seen"),)

COLLECTOR = Collector("filesystem", start, {DATASET: Output(FIELDS)}, NEEDS, options=(Options,))
