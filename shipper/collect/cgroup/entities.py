"""What documents of processes and events say of the cgroup they belong to."""

from collections.abc import Iterable
from typing import Final

from shipper.collect.cgroup.identity import CgroupKind, Identity
from shipper.fields.field import constant
from shipper.fields.rates import Value
from shipper.kernel.source import Reader

ENTITY: Final = constant(
    "cgroup.entity",
    "Readable name of the cgroup, unique in the fleet: web-1@node-3, pod/container@node-3, ssh.service@node-3",
    "cgroup.name, else the path; host.name",
)

_SHORT_ID: Final = 12  # of a container, as docker shows it


class Entities:
    """``cgroup.entity`` by path, of the cgroups in this turn of their collector and in the previous one.

    The cgroup of a killed process may be gone when the event is read.
    """

    def __init__(self) -> None:
        self._names: dict[str, Value] = {}
        self._before: dict[str, Value] = {}

    def begin(self) -> None:
        """A turn begins."""
        self._names, self._before = {}, self._names

    def add(self, path: str, name: Value) -> None:
        """The cgroup ``path`` has this name."""
        self._names[path] = name

    def name(self, path: str) -> Value | None:
        """The name of the cgroup ``path``; None if it is not known."""
        return self._names.get(path) or self._before.get(path)

    def paths(self) -> Iterable[str]:
        """The paths of all cgroups that are known."""
        return self._names.keys()

    def path(self, unit: str) -> str | None:
        """The path of a cgroup by the name or id of its container, or by its systemd unit; None if it is not known."""
        for path, name in self._names.items():
            last = path.rpartition("/")[2]
            if unit == last or str(name).rpartition("@")[0] == unit or (len(unit) >= _SHORT_ID and unit in last):
                return path
        return None


def entities(reader: Reader) -> Entities:
    """The names of the host's cgroups."""
    return reader.root.shared(Entities)


def membership(reader: Reader, path: str, identity: Identity | None) -> dict[str, Value]:
    """Fields of the cgroup ``path``; also of the container or machine if ``identity`` is one."""
    values: dict[str, Value] = {"cgroup.path": path}
    if identity and identity.kind in (CgroupKind.CONTAINER, CgroupKind.MACHINE):
        values["container.id"] = identity.id
        if identity.runtime:
            values["container.runtime"] = identity.runtime
    name = entities(reader).name(path)
    return {**values, ENTITY.name: name} if name else values
