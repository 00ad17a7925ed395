"""Mounted filesystems: ``proc/1/mountinfo`` and statvfs(3) below the host root, one document per device.

The mounts are those of pid 1, because ``self`` would list the container's own. ``kernel.mountinfo`` has the parser. The
file is long on hosts with many containers, and the kernel announces mounts and unmounts to poll(2): proc(5). It does not
announce that it made a filesystem read-only after an error, which is why the file is also read once a minute. statvfs(3)
does not show that either: inside a container, it says of all mounts that they are read-only, as the host root is.
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
from shipper.kernel.every import Every
from shipper.kernel.mountinfo import Mount
from shipper.kernel.parse import LARGEST, ParseError, name
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config
from shipper.settings.options import globs, option

DATASET = "filesystem"
_FILE = "proc/1/mountinfo"
_PREFIX = "system.filesystem"
_AGAIN_S = 60.0  # the file is read after this time even without a sign of change
_DEADLINE_S = 2.0  # for all mounts in one tick
_SHARE = 4  # one mount may use this fraction of the deadline
_MOST_TRIED = 4  # mounts of one device
# stat(2) shows the device number of the subvolume, mountinfo that of the filesystem
_OWN_NUMBERS = ("btrfs", "bcachefs")

FIELDS = (
    dimension(f"{_PREFIX}.mount_point", "Mount point on the host", f"{_FILE} 5th"),
    attribute(f"{_PREFIX}.device_name", "Device or source that is mounted", f"{_FILE} source"),
    attribute(f"{_PREFIX}.type", "Type of the filesystem, such as ext4 or xfs", f"{_FILE} type"),
    attribute(
        f"{_PREFIX}.read_only",
        "Whether it is mounted read-only; within a minute if the kernel made it so after an error",
        f"{_FILE} options",
        Type.BOOLEAN,
    ),
    attribute(
        f"{_PREFIX}.stuck", "Whether it did not respond in time, so that sizes are missing", "statvfs(3)", Type.BOOLEAN
    ),
    gauge(f"{_PREFIX}.total", "bytes", "Size of the filesystem", "statvfs f_blocks"),
    gauge(f"{_PREFIX}.free", "bytes", "Free space, including the part reserved for root", "statvfs f_bfree"),
    gauge(f"{_PREFIX}.available", "bytes", "Free space for users other than root", "statvfs f_bavail"),
    gauge(f"{_PREFIX}.used.bytes", "bytes", "Used space", "statvfs f_blocks - f_bfree"),
    real(
        f"{_PREFIX}.used.pct",
        "pct",
        "Usage as df shows it: used space as a share of the space that is not reserved for root",
        "used / (used + available)",
    ),
    gauge(f"{_PREFIX}.files", "count", "Inodes, if their number is fixed", "statvfs f_files"),
    gauge(f"{_PREFIX}.free_files", "count", "Free inodes", "statvfs f_ffree"),
    real(f"{_PREFIX}.used_files.pct", "pct", "Usage of inodes", "1 - f_ffree / f_files"),
)


def by_device(mounts: Iterable[Mount]) -> list[list[Mount]]:
    """The mounts of each device, best representative first: writable, whole, shortest path.

    A later mount hides an earlier one at the same place. If only parts of a filesystem are mounted (on Fedora CoreOS /etc,
    /var, and /sysroot, which is read-only), /etc and /usr come last.
    """
    visible = {mount.point: mount for mount in mounts}
    groups: dict[int, list[Mount]] = {}
    for mount in sorted(visible.values(), key=_rank):
        groups.setdefault(mount.device, []).append(mount)
    return sorted((group[:_MOST_TRIED] for group in groups.values()), key=lambda group: group[0].point)


def _rank(mount: Mount) -> tuple[bool, bool, bool, int, bytes]:
    part = mount.point.startswith((b"/etc", b"/usr"))
    return mount.read_only, not mount.whole, part, len(mount.point), mount.point


def sizes(vfs: os.statvfs_result) -> dict[str, Value]:
    """Fields from the answer of statvfs(3); empty if the filesystem has no size. An impossible number costs only its fields.

    If a quota is exceeded, the available space is negative, which looks like a huge unsigned number: it counts as 0.
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
    """One reading per device; a mount that does not respond costs only its own sizes."""
    point_excluded = matcher(config.of(Options).filesystem_exclude)
    type_excluded = matcher(config.of(Options).filesystem_types_exclude)
    crew: Crew[_Answer | OSError] = Crew(_DEADLINE_S / _SHARE, _DEADLINE_S)
    file, again = reader.file(_FILE), Every(_AGAIN_S)
    text: bytes | None = None
    groups: list[list[Mount]] = []

    def chosen(mounts: Iterable[Mount]) -> list[list[Mount]]:
        kept = (mount for mount in mounts if not type_excluded(mount.type) and not point_excluded(name(mount.point)))
        return by_device(kept)

    def collect() -> Iterable[Reading]:
        nonlocal text, groups
        if not again.due(reader.now_ns()) and text is not None and file.is_unchanged():
            return _readings(reader, crew, groups)
        data = reader.attempt(_FILE, file.read)
        if data is None:
            return []
        if data != text:
            try:
                groups, text = chosen(mountinfo.parse(data)), data
            except ParseError as error:
                reader.problem(_FILE, str(error))
                groups, text = chosen(error.partial or []), None
        return _readings(reader, crew, groups)

    return collect


def _readings(reader: Reader, crew: Crew[_Answer | OSError], groups: list[list[Mount]]) -> list[Reading]:
    """One per device: of the first mount that is a directory on this device. It is tried first the next time."""
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
    """Values of a mount; None if it cannot represent its device, which is a problem if it is the ``last`` one to try."""
    if outcome is None or outcome.error:
        reader.problem(name(mount.point), outcome.error if outcome else "not read: other mounts used up the deadline")
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
    """Whether the answer is from this mount: not from a bind-mounted file, or from below a newer or hidden mount."""
    same = answer.device == mount.device or mount.type in _OWN_NUMBERS
    return answer.directory and same and answer.has_size


def _note(reader: Reader, mount: Mount, error: OSError) -> None:
    def again() -> None:
        raise error

    reader.attempt(name(mount.point), again)


NEEDS = (Need("filesystems", (_FILE,), "the mounts of pid 1 cannot be read"),)

COLLECTOR = Collector("filesystem", start, {DATASET: Output(FIELDS)}, NEEDS, options=(Options,))
