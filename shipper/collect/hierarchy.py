"""Where the host's cgroups are: the mode, the hierarchies' directories, and the tree of cgroups they have in common.

Three layouts of ``sys/fs/cgroup`` (https://systemd.io/CGROUP_DELEGATION/):

- v2: one cgroup2 file system, ``cgroup.controllers`` at its root.
- hybrid: a tmpfs of v1 hierarchies and a cgroup2 one in ``unified``; controllers are in v1, pressure in v2.
- v1: the same without ``unified``.
"""

from enum import StrEnum
from typing import Final

from shipper.collect.identity import Node
from shipper.source import Reader

CGROUP_ROOT: Final = "sys/fs/cgroup"
UNIFIED: Final = "unified"
# v1 hierarchies whose files we read; the others tell nothing more about which cgroups there are
_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio")
_DEEPEST: Final = 64


class Mode(StrEnum):
    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"
    NONE = "none"


def detect(reader: Reader) -> tuple[Mode, dict[str, str]]:
    """The mode, and the directory of each hierarchy by controller (``unified`` for cgroup2)."""
    if reader.exists(f"{CGROUP_ROOT}/cgroup.controllers"):
        return Mode.V2, {UNIFIED: CGROUP_ROOT}
    # "cpu,cpuacct" holds both; where systemd made links of those names too, the directory itself is enough
    found = {
        controller: f"{CGROUP_ROOT}/{name}"
        for name in reader.names(CGROUP_ROOT)
        for controller in name.split(",")
        if controller in _CONTROLLERS
    }
    if reader.exists(f"{CGROUP_ROOT}/{UNIFIED}/cgroup.controllers"):
        return Mode.HYBRID, {**found, UNIFIED: f"{CGROUP_ROOT}/{UNIFIED}"}
    return (Mode.V1 if found else Mode.NONE), found


def walk(reader: Reader, hierarchies: dict[str, str]) -> Node:
    """The cgroups of all hierarchies as one tree; a cgroup need not be in each of them."""
    root = Node()
    for controller, directory in hierarchies.items():
        _walk(reader, controller, directory, root, _DEEPEST)
    return root


def _walk(reader: Reader, controller: str, directory: str, node: Node, levels: int) -> None:
    for name, inode in reader.directories(directory):
        child = node.children.setdefault(name, Node())
        child.inodes[controller] = inode
        if levels:
            _walk(reader, controller, f"{directory}/{name}", child, levels - 1)
