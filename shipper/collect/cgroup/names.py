"""Names of one cgroup over time: checked once a minute when known, else looked for at growing intervals."""

from typing import Final

from shipper.collect.cgroup.identity import CgroupKind, Identity
from shipper.collect.cgroup.runtime import unit_files
from shipper.collect.cgroup.runtime.containers import Names, NameSource, RuntimeFiles
from shipper.kernel.every import Every
from shipper.kernel.source import Reader

_FIRST_S: Final = 5
_SLOWEST_S: Final = 600
_AGAIN_S: Final = 60


class Naming:
    """What the file of the runtime or the unit says of a cgroup. ``values`` is a new dict after every change."""

    __slots__ = ("_every", "_identity", "_path", "_pause_s", "_source", "values")

    def __init__(self, path: str, identity: Identity) -> None:
        self.values: Names = {}
        self._path, self._identity = path, identity
        self._source: NameSource | None = None
        self._every = Every(_AGAIN_S)
        self._pause_s = _FIRST_S

    def refresh(self, reader: Reader, files: RuntimeFiles, now_ns: int) -> None:
        """Look for names if it is time."""
        if not self._every.due(now_ns):
            return
        known = self._source
        if known and files.is_current(self._path, known):
            return
        source = self._find(reader, files)
        if source:
            self._source, self.values = source, source.values
        else:
            self._every.wait(now_ns, self._pause_s)
            self._pause_s = min(2 * self._pause_s, _SLOWEST_S)

    def pid(self, reader: Reader, files: RuntimeFiles) -> int:
        """Pid of the container's first process according to the runtime, if it is still in this cgroup; else 0."""
        pid = files.first_pid(self._path, self._source) if self._source else 0
        if not pid:
            return 0
        # the path is relative to our own cgroup namespace, so only its end can be compared
        lines = (reader.read_once(f"proc/{pid}/cgroup") or b"").decode("utf-8", "surrogateescape").splitlines()
        own = self._path.rpartition("/")[2]
        return pid if any(own in line.split(":", 2)[-1].split("/") for line in lines) else 0

    def _find(self, reader: Reader, files: RuntimeFiles) -> NameSource | None:
        kind = self._identity.kind
        if kind in (CgroupKind.CONTAINER, CgroupKind.MACHINE):
            return files.find(self._identity, self._path)
        if kind is CgroupKind.POD and self._identity.runtime == "kubernetes":
            return files.find_pod(self._identity.id)
        if kind is CgroupKind.POD and self._identity.runtime == "podman":
            return files.find_podman_pod(self._identity.id, self._path)
        if kind is CgroupKind.SERVICE:
            file, described = unit_files.description(reader, self._path)
            return NameSource(file, files.stamp(file), {unit_files.FIELD.name: described}) if described else None
        self._pause_s = _SLOWEST_S
        return None
