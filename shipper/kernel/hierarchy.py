"""Where the host's cgroups are: the mode, the directories of the hierarchies, and the tree of cgroups in all of them.

Three layouts of ``sys/fs/cgroup`` (https://systemd.io/CGROUP_DELEGATION/):

- v2: one cgroup2 file system, ``cgroup.controllers`` at its root.
- hybrid: a tmpfs with v1 hierarchies and cgroup2 in ``unified``; each controller is in one of them, pressure in v2.
- v1: the same without ``unified``.

Old distributions mount them elsewhere (``/cgroup/memory``, ``/dev/cgroup``): the mounts of pid 1 say where.
"""

import os
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from shipper.kernel import mountinfo
from shipper.kernel.every import Every
from shipper.kernel.source import Reader

CGROUP_ROOT: Final = "sys/fs/cgroup"
UNIFIED: Final = "unified"
# v1 hierarchies whose files are read at every tick; the others have the same cgroups
_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio")
_DEEPEST: Final = 64
_WHOLE_S: Final = 60
_LINKS: Final = 2  # of a directory without subdirectories


class Mode(StrEnum):
    """Which versions of cgroups the host uses."""

    """Which cgroup versions the host uses."""

    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"
    NONE = "none"


# Of the directories that have none below them, which are most: an empty dict of each would take 80 bytes
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(slots=True)
class Node:
    """A cgroup directory: inode numbers by hierarchy (one in v2) and the cgroups below it by name."""

    inodes: dict[str, int] = field(default_factory=dict)
    children: Mapping[str, "Node"] = field(default_factory=lambda: _NONE)

    def child(self, name: str) -> "Node":
        """The cgroup ``name`` below it, which is added if there was none."""
        if not isinstance(self.children, dict):
            self.children = {}
        child: Node = self.children.setdefault(name, Node())
        return child


@dataclass(frozen=True, slots=True)
class Layout:
    """The directory of each hierarchy by v1 controller (``unified`` for cgroup2), and the controllers in cgroup2.

    A controller is in one hierarchy: memory may be in cgroup2 and the others in v1 (``cgroup_no_v1=memory``, or a
    kernel without CONFIG_MEMCG_V1).
    """

    mode: Mode
    hierarchies: dict[str, str]
    unified: frozenset[str] = frozenset()

    def lacks(self) -> Iterator[str]:
        """Controllers that are in no hierarchy."""
        for of_v2, of_v1 in (("cpu", "cpu"), ("memory", "memory"), ("io", "blkio"), ("pids", "pids")):
            if self.mode is not Mode.NONE and of_v2 not in self.unified and of_v1 not in self.hierarchies:
                yield of_v2

    def has(self, controller: str, needs: str) -> bool:
        """Whether the host has the v1 ``controller``; if that is ``unified``, the controller ``needs`` in cgroup2."""
        if controller != UNIFIED or not needs or self.mode is Mode.V2:
            return controller in self.hierarchies
        return needs in self.unified


def detect(reader: Reader) -> Layout:
    """The layout of this host: from the directories below sys/fs/cgroup, else from the mounts of pid 1."""
    if reader.exists(f"{CGROUP_ROOT}/cgroup.controllers"):
        return Layout(Mode.V2, {UNIFIED: CGROUP_ROOT}, _controllers(reader, CGROUP_ROOT))
    mounts = _mounts(reader)
    of_v1 = {**_known(mounts, _CONTROLLERS), **mounted(reader, _CONTROLLERS)}
    unified = f"{CGROUP_ROOT}/{UNIFIED}"
    if not reader.exists(f"{unified}/cgroup.controllers"):
        unified = mounts.get(UNIFIED, "")
    if not unified or not reader.exists(f"{unified}/cgroup.controllers"):
        return Layout(Mode.V1 if of_v1 else Mode.NONE, of_v1)
    mode = Mode.HYBRID if of_v1 else Mode.V2
    return Layout(mode, {**of_v1, UNIFIED: unified}, _controllers(reader, unified))


def _controllers(reader: Reader, unified: str) -> frozenset[str]:
    return frozenset(map(os.fsdecode, (reader.read_once(f"{unified}/cgroup.controllers") or b"").split()))


def _known(mounts: Mapping[str, str], controllers: Container[str]) -> dict[str, str]:
    return {controller: directory for controller, directory in mounts.items() if controller in controllers}


def _mounts(reader: Reader) -> dict[str, str]:
    """Where pid 1 has mounted each controller and cgroup2; the shortest path of each."""
    shortest: dict[str, str] = {}
    for path, kind, options in mountinfo.of_type(reader.read_once("proc/1/mountinfo") or b"", b"cgroup"):
        point = os.fsdecode(path).strip("/")
        if not reader.exists(point):  # mounted where this process cannot see it
            continue
        for controller in (UNIFIED,) if kind == b"cgroup2" else map(os.fsdecode, options):
            if len(point) < len(shortest.get(controller, point + "/")):
                shortest[controller] = point
    return shortest


def rare(reader: Reader, controllers: Container[str]) -> dict[str, str]:
    """Directories of further v1 ``controllers``, which are not part of a Layout."""
    return {**_known(_mounts(reader), controllers), **mounted(reader, controllers)}


def mounted(reader: Reader, controllers: Container[str]) -> dict[str, str]:
    """Directories of v1 ``controllers`` below sys/fs/cgroup: ``cpu,cpuacct`` has both. Links are skipped."""
    return {
        controller: f"{CGROUP_ROOT}/{directory}"
        for directory in reader.names(CGROUP_ROOT)
        for controller in directory.split(",")
        if controller in controllers and reader.link(f"{CGROUP_ROOT}/{directory}") is None
    }


@dataclass(slots=True)
class _Directory:
    """A cgroup in one hierarchy, as it was last seen. Of one without others below it, only the inode number is kept."""

    inode: int = 0
    children: dict[str, "int | _Directory"] = field(default_factory=dict)


class Walker:
    """The tree of cgroups over time: only directories that changed are listed again.

    The directory of a cgroup has 2 links and one more for each cgroup below it (kernfs_refresh_inode in
    fs/kernfs/inode.c): if as many of the known ones still exist, none was added or removed. This check costs a tenth of
    a listing. In other file systems, which do not count links this way, each directory is listed.

    In v1 a cgroup is in several hierarchies and changes in all of them together. A cgroup without children is checked
    in one hierarchy only, and in all of them after a change there, after a failed read (``suspect``), and once a
    minute.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._hierarchies: dict[str, str] = {}
        self._seen: dict[str, _Directory] = {}
        self._tree = Node()
        self._changed = True
        self._look_at_all = Every(_WHOLE_S)

    def suspect(self) -> None:
        """Check all hierarchies at the next walk, because a file of a known cgroup is gone."""
        self._look_at_all.now()

    def walk(self, hierarchies: dict[str, str]) -> Node:
        """The tree; the same object as before if no cgroup was added or removed."""
        self._changed = hierarchies != self._hierarchies
        self._hierarchies = dict(hierarchies)
        self._seen = {directory: self._seen.get(directory, _Directory()) for directory in hierarchies.values()}
        now_ns = self._reader.now_ns()
        whole = self._look_at_all.due(now_ns)
        leading = hierarchies.get("cpuacct", next(iter(hierarchies.values()), ""))
        for directory in sorted(self._seen, key=leading.__ne__):
            whole |= self._changed
            self._begin(directory, leaves=whole or directory == leading)
        if whole:
            self._look_at_all.wait(now_ns, _WHOLE_S)
        if self._changed:
            self._tree = Node()
            for controller, directory in hierarchies.items():
                _graft(controller, self._seen[directory], self._tree)
        return self._tree

    def _begin(self, directory: str, *, leaves: bool) -> None:
        stat = self._reader.attempt(directory, lambda: self._reader.root.stat(directory))
        if stat:
            self._look(directory, stat, self._seen[directory], _DEEPEST, leaves=leaves)

    def _look(self, path: str, stat: os.stat_result, known: _Directory, levels: int, *, leaves: bool) -> None:
        """Update ``known``."""
        if known.inode != stat.st_ino:
            known.inode, known.children = stat.st_ino, {}
            self._changed = True
        names = [name for name, child in known.children.items() if leaves or isinstance(child, _Directory)]
        for name, status in self._stats(path, names):
            child = known.children[name]
            if isinstance(status, OSError):
                self._reader.refused(f"{path}/{name}", status)
                del known.children[name]
                self._changed = True
            elif status.st_ino != child or status.st_nlink != _LINKS:
                known.children[name] = self._looked(f"{path}/{name}", status, child, levels - 1, leaves=leaves)
        if stat.st_nlink != _LINKS + len(known.children) and levels:
            self._list(path, known, levels)

    def _looked(
        self, path: str, stat: os.stat_result, child: int | _Directory, levels: int, *, leaves: bool
    ) -> int | _Directory:
        """``child`` as it is now."""
        known = _Directory(child) if isinstance(child, int) else child
        self._look(path, stat, known, levels, leaves=leaves)
        return known if known.children else known.inode

    def _stats(self, path: str, names: Collection[str]) -> Iterator[tuple[str, os.stat_result | OSError]]:
        try:
            if names:
                yield from self._reader.root.stats(path, names)
        except OSError as error:
            self._reader.refused(path, error)

    def _list(self, path: str, known: _Directory, levels: int) -> None:
        names = {name for name, _ in self._reader.directories(path)}
        for name in known.children.keys() - names:
            del known.children[name]
            self._changed = True
        for name, status in self._stats(path, sorted(names - known.children.keys())):
            if isinstance(status, OSError):
                self._reader.refused(f"{path}/{name}", status)
                continue
            known.children[name] = self._looked(f"{path}/{name}", status, 0, levels - 1, leaves=True)
            self._changed = True


def _graft(controller: str, directory: _Directory, node: Node) -> None:
    for name, below in directory.children.items():
        child = node.child(name)
        if isinstance(below, int):
            child.inodes[controller] = below
        else:
            child.inodes[controller] = below.inode
            _graft(controller, below, child)
