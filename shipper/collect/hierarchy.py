"""Where the host's cgroups are: the mode, the hierarchies' directories, and the tree of cgroups they have in common.

Three layouts of ``sys/fs/cgroup`` (https://systemd.io/CGROUP_DELEGATION/):

- v2: one cgroup2 file system, ``cgroup.controllers`` at its root.
- hybrid: a tmpfs of v1 hierarchies and a cgroup2 one in ``unified``; controllers are in v1, pressure in v2.
- v1: the same without ``unified``.
"""

import os
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from shipper.collect.identity import Node
from shipper.source import Reader

CGROUP_ROOT: Final = "sys/fs/cgroup"
UNIFIED: Final = "unified"
# v1 hierarchies whose files we read; the others tell nothing more about which cgroups there are
_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio")
_DEEPEST: Final = 64
_WHOLE_NS: Final = 60_000_000_000
_LINKS: Final = 2  # of a directory that holds no others


class Mode(StrEnum):
    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"
    NONE = "none"


def detect(reader: Reader) -> tuple[Mode, dict[str, str]]:
    """The mode, and the directory of each hierarchy by controller (``unified`` for cgroup2)."""
    if reader.exists(f"{CGROUP_ROOT}/cgroup.controllers"):
        return Mode.V2, {UNIFIED: CGROUP_ROOT}
    found = mounted(reader, _CONTROLLERS)
    if reader.exists(f"{CGROUP_ROOT}/{UNIFIED}/cgroup.controllers"):
        return Mode.HYBRID, {**found, UNIFIED: f"{CGROUP_ROOT}/{UNIFIED}"}
    return (Mode.V1 if found else Mode.NONE), found


def mounted(reader: Reader, controllers: Container[str]) -> dict[str, str]:
    """Directories of the v1 hierarchies of ``controllers``: ``cpu,cpuacct`` holds both, and systemd's links are not it."""
    return {
        controller: f"{CGROUP_ROOT}/{name}"
        for name in reader.names(CGROUP_ROOT)
        for controller in name.split(",")
        if controller in controllers and reader.link(f"{CGROUP_ROOT}/{name}") is None
    }


def walk(reader: Reader, hierarchies: dict[str, str]) -> Node:
    """The cgroups of all hierarchies as one tree; a cgroup need not be in each of them."""
    return Walker(reader).walk(hierarchies)


@dataclass(slots=True)
class _Directory:
    """A cgroup in one hierarchy, as it was last seen."""

    inode: int = 0
    children: dict[str, "_Directory"] = field(default_factory=dict)


class Walker:
    """The tree of cgroups from tick to tick: only what changed is listed again.

    A cgroup's directory has 2 links and one for each cgroup below it (kernfs_refresh_inode in the kernel's
    fs/kernfs/inode.c): where that many of the known ones are still there, none came or went. Asking that costs a tenth
    of a listing. Other file systems have 1 link or none to tell by: there each directory is listed.

    In v1 a cgroup is in many hierarchies, and comes and goes in all together: those without others below them are looked
    at in one hierarchy alone, in all of them when something changed there, when a read failed (``suspect``), and once a
    minute.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._hierarchies: dict[str, str] = {}
        self._seen: dict[str, _Directory] = {}
        self._tree = Node()
        self._changed = True
        self._whole_at = 0

    def suspect(self) -> None:
        """Look at everything next time: a cgroup that should be there was not."""
        self._whole_at = 0

    def walk(self, hierarchies: dict[str, str]) -> Node:
        """The very Node of the call before where no cgroup came or went."""
        self._changed = hierarchies != self._hierarchies
        self._hierarchies = dict(hierarchies)
        self._seen = {directory: self._seen.get(directory, _Directory()) for directory in hierarchies.values()}
        now_ns = self._reader.now_ns()
        whole = now_ns >= self._whole_at
        leading = hierarchies.get("cpuacct", next(iter(hierarchies.values()), ""))
        for directory in sorted(self._seen, key=leading.__ne__):
            whole |= self._changed
            self._begin(directory, leaves=whole or directory == leading)
        if whole:
            self._whole_at = now_ns + _WHOLE_NS
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
        """Bring ``known`` up to date."""
        if known.inode != stat.st_ino:
            known.inode, known.children = stat.st_ino, {}
            self._changed = True
        names = [name for name, child in known.children.items() if leaves or child.children]
        for name, found in self._stats(path, names):
            child = known.children[name]
            if isinstance(found, OSError):
                self._reader.refused(f"{path}/{name}", found)
                del known.children[name]
                self._changed = True
            elif found.st_ino != child.inode or found.st_nlink != _LINKS or child.children:
                self._look(f"{path}/{name}", found, child, levels - 1, leaves=leaves)
        if stat.st_nlink != _LINKS + len(known.children) and levels:
            self._list(path, known, levels)

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
        for name, found in self._stats(path, sorted(names - known.children.keys())):
            if isinstance(found, OSError):
                self._reader.refused(f"{path}/{name}", found)
                continue
            child = known.children[name] = _Directory()
            self._look(f"{path}/{name}", found, child, levels - 1, leaves=True)
            self._changed = True


def _graft(controller: str, directory: _Directory, node: Node) -> None:
    for name, below in directory.children.items():
        child = node.children.setdefault(name, Node())
        child.inodes[controller] = below.inode
        _graft(controller, below, child)
