"""What a document says of the cgroup that a process or an event belongs to, by the cgroup's path."""

from typing import Final

from shipper.collect.cgroup.identity import CgroupKind, Identity
from shipper.fields.field import constant
from shipper.fields.rates import Value
from shipper.kernel.source import Reader

ENTITY: Final = constant(
    "cgroup.entity",
    "Name of a cgroup for people, unique in the fleet: web-1@node-3, pod/container@node-3, ssh.service@node-3",
    "cgroup.name, else the path; host.name",
)


class Entities:
    """``cgroup.entity`` by path, of the cgroups of this turn of their collector and of the turn before.

    What was killed may be gone by the time that its event is read.
    """

    def __init__(self) -> None:
        self._names: dict[str, Value] = {}
        self._before: dict[str, Value] = {}

    def begin(self) -> None:
        """A turn begins."""
        self._names, self._before = {}, self._names

    def add(self, path: str, name: Value) -> None:
        self._names[path] = name

    def name(self, path: str) -> Value | None:
        return self._names.get(path) or self._before.get(path)


def entities(reader: Reader) -> Entities:
    """Those of the host."""
    return reader.root.shared(Entities)


def membership(reader: Reader, path: str, identity: Identity | None) -> dict[str, Value]:
    """Fields that name the cgroup ``path``, and the container or machine that ``identity`` says it is."""
    values: dict[str, Value] = {"cgroup.path": path}
    if identity and identity.kind in (CgroupKind.CONTAINER, CgroupKind.MACHINE):
        values["container.id"] = identity.id
        if identity.runtime:
            values["container.runtime"] = identity.runtime
    name = entities(reader).name(path)
    return {**values, ENTITY.name: name} if name else values
