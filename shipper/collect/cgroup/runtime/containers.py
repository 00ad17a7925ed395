"""Names, images and labels of containers, from the runtimes' files below the host root; no runtime is called.

- docker: ``<data root>/containers/<id>/config.v2.json`` (moby container/container.go)
- containerd (CRI, nerdctl, ctr): ``<state>/io.containerd.runtime.v2.task/<namespace>/<id>/config.json``, the OCI
  bundle, whose annotations have what its client knows (containerd pkg/cri/annotations, nerdctl pkg/labels)
- CRI-O and podman: ``<storage>/<driver>-containers/containers.json`` (containers/storage) and the OCI bundle in
  ``<driver>-containers/<id>/userdata/config.json`` below the storage's root or its run root. The labels of
  podman's containers and the names of its pods are in ``podman_database``
- kubelet, whatever the runtime: the names of ``var/log/containers/<pod>_<namespace>_<container>-<id>.log`` and
  ``var/log/pods/<namespace>_<pod>_<uid>``
- systemd-machined: ``run/systemd/machines/<name>``

What a container writes about itself is untrusted: texts are cut and made printable, other types are dropped, and an id that
is not a file name is not used. Files in a user's home are read through ``foreign``.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from shipper.base.text import visible
from shipper.collect.cgroup.identity import Identity, pod_uid
from shipper.collect.cgroup.runtime import docker_state, foreign, podman_database
from shipper.collect.contract import matcher
from shipper.fields.field import Field, Type, attribute, constant
from shipper.fields.rates import Value
from shipper.kernel import accounts
from shipper.kernel.source import Reader
from shipper.settings.config import Config
from shipper.settings.options import absolute_paths, globs, option

_OF_RUNTIME: Final = "the runtime's own files"
FIELDS: Final[tuple[Field, ...]] = (
    constant("container.image.name", "Image of the container", _OF_RUNTIME),
    attribute(
        "container.labels",
        "Labels of the container that collect.labels allows; the field labels holds those of the host",
        _OF_RUNTIME,
        Type.FLATTENED,
    ),
    constant("kubernetes.namespace", "Namespace of the pod", f"{_OF_RUNTIME}; var/log/pods"),
    constant("kubernetes.pod.name", "Name of the pod", f"{_OF_RUNTIME}; var/log/pods"),
    constant("kubernetes.pod.uid", "UID of the pod", "the path; the runtime's own files"),
    constant("kubernetes.container.name", "Name of the container in its pod", f"{_OF_RUNTIME}; var/log/containers"),
    *docker_state.FIELDS,
)

Stamp = tuple[int, int, int]
Owned = tuple[str, int | None]
"""A directory, and the id of the user who owns it; None for the system."""
Names = dict[str, Value]

T = TypeVar("T")

_TEXT: Final = 512
_MOST_LABELS: Final = 64
_LARGEST: Final = 4 << 20  # bytes of a file about thousands of containers
_LARGEST_DATABASE: Final = 16 << 20
_MOST_NAMES: Final = 4096
_MOST_ENTRIES: Final = 16_384
_TASKS: Final = "io.containerd.runtime.v2.task"
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}")
_LOG: Final = re.compile(r"([^_]+)_([^_]+)_(.+)-([0-9a-f]{64})\.log")
_PAUSE: Final = "POD"  # kubelet's name for the container that holds the namespaces of a pod
# Keys of annotations and labels; the first that exists counts
_KUBERNETES: Final = {
    "kubernetes.namespace": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    "kubernetes.pod.name": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    "kubernetes.pod.uid": ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
    "kubernetes.container.name": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
}
_IMAGES: Final = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image")
_TYPES: Final = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType", "io.kubernetes.docker.type")


def text(value: object) -> str:
    """``value`` as printable text of at most 512 characters; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    return visible(value[:_TEXT])


def is_file_name(name: str) -> bool:
    """Whether the id of a container can be used as a file name."""
    return _FILE_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class NameSource:
    """Names, and the file that they are from; it is read again when its ``stamp`` changes."""

    file: str
    stamp: Stamp | None
    values: Names
    pid: int = 0  # of the container's first process, if the file has it
    pid_file: str = ""  # else the file that has it


@dataclass(frozen=True)
class Options:
    """Options of the files of runtimes, in section ``collect``."""

    labels: tuple[str, ...] = option(
        (
            "com.docker.compose.project",
            "com.docker.compose.service",
            "com.docker.swarm.service.name",
            "com.hashicorp.nomad.*",
            "app.kubernetes.io/*",
            "org.opencontainers.image.version",
        ),
        "Labels and annotations of containers to keep, in container.labels",
        globs(),
    )
    docker_roots: tuple[str, ...] = option(
        ("/var/lib/docker",),
        "Docker's data roots; data-root in /etc/docker/daemon.json is used, too",
        absolute_paths(),
    )
    containerd_states: tuple[str, ...] = option(
        ("/run/containerd", "/run/k3s/containerd"), "State directories of containerd", absolute_paths()
    )
    storage_roots: tuple[str, ...] = option(
        ("/var/lib/containers/storage",),
        "Storage roots of podman and CRI-O; those of users are found, too",
        absolute_paths(),
    )


class RuntimeFiles:
    """The files of all runtimes on a host. Directory listings and shared files are cached until they change."""

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader = reader
        self._foreign = foreign.Foreign(reader)
        self._docker = config.of(Options).docker_roots
        self._containerd = config.of(Options).containerd_states
        self._storage = config.of(Options).storage_roots
        self._allowed = matcher(config.of(Options).labels)
        self._shared: dict[str, tuple[Stamp | None, Any]] = {}
        self._sources: dict[str, tuple[Callable[[Identity, str], NameSource | None], ...]] = {
            "docker": (self._of_docker,),
            "containerd": (self._of_containerd, self._of_kubelet),
            "cri-o": (self._of_storage, self._of_kubelet),
            "podman": (self._of_storage,),
            "systemd-nspawn": (self._of_machine,),
            "libvirt": (self._of_machine,),
            "": (self._of_docker, self._of_containerd, self._of_storage, self._of_kubelet),
        }

    def begin(self) -> None:
        """A tick begins."""
        self._foreign.begin()

    def find(self, identity: Identity, path: str) -> NameSource | None:
        """Names of the container or machine in cgroup ``path``; None if none are known yet."""
        if not is_file_name(identity.id):
            return None
        return self._guarded(path, lambda: self._find(identity, path), None)

    def is_current(self, path: str, source: NameSource) -> bool:
        """Whether the file with the names of cgroup ``path`` is unchanged."""
        if not source.file:
            return False
        return self._guarded(path, lambda: self.stamp(source.file) == source.stamp, True)  # noqa: FBT003

    def first_pid(self, path: str, source: NameSource) -> int:
        """Pid of the container's first process according to the runtime; 0 if the runtime does not say it."""
        if source.pid or not source.pid_file:
            return source.pid
        digits = self._guarded(path, lambda: self._read(source.pid_file, foreign.owner(path)) or b"", b"").strip()
        return int(digits) if digits.isdigit() and len(digits) < 10 else 0  # noqa: PLR2004

    def _guarded(self, path: str, call: Callable[[], T], default: T) -> T:
        uid = foreign.owner(path)
        return call() if uid is None else self._foreign.ask(uid, call, default)

    def _find(self, identity: Identity, path: str) -> NameSource | None:
        for look in self._sources.get(identity.runtime, ()):
            source = look(identity, path)
            if source:
                if uid := pod_uid(path):
                    source.values.setdefault("kubernetes.pod.uid", uid)
                return source
        return None

    def find_podman_pod(self, id_: str, path: str) -> NameSource | None:
        """Name of a podman pod, from podman's database; None if it is not there."""

        def find() -> NameSource | None:
            for root, uid in self._storages(path):
                for file in self._databases(root):
                    if name := text(self._in_database(file, uid, id_).get("name")):
                        return NameSource(file, self.stamp(file), {"cgroup.name": name})
            return None

        return self._guarded(path, find, None)

    def find_pod(self, uid: str) -> NameSource | None:
        """Namespace and name of a Kubernetes pod, from the directories of its logs; None if there are none."""
        for name in self._names("var/log/pods"):
            namespace, _, rest = name.partition("_")
            pod, _, known = rest.rpartition("_")
            if known == uid and pod:
                values: Names = {"kubernetes.namespace": text(namespace), "kubernetes.pod.name": text(pod)}
                return NameSource("", None, values)
        return None

    def stamp(self, file: str) -> Stamp | None:
        """Differs after each change of the file; None if it is absent."""
        stat = self._reader.attempt(file, lambda: self._reader.root.stat(file))
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None

    def _of_docker(self, identity: Identity, path: str) -> NameSource | None:
        system = (*self._docker, *self._configured_docker())
        for root, uid in (*_owned_by_system(system), *self._homes(path, ".local/share/docker")):
            file = f"{root.lstrip('/')}/containers/{identity.id}/config.v2.json"
            stamp = self.stamp(file)
            content = self._object(file, uid) if stamp else None
            if content is not None:
                config = _mapping(content.get("Config"))
                labels = _mapping(config.get("Labels"))
                name = text(content.get("Name")).lstrip("/")
                image = text(config.get("Image"))
                pid = _mapping(content.get("State")).get("Pid")
                values = self._values("docker", name, image, labels) | docker_state.values(content)
                return NameSource(file, stamp, values, pid if isinstance(pid, int) else 0)
        return None

    def _of_containerd(self, identity: Identity, _path: str) -> NameSource | None:
        for state in self._containerd:
            tasks = f"{state.lstrip('/')}/{_TASKS}"
            for namespace in self._names(tasks):
                file = f"{tasks}/{namespace}/{identity.id}/config.json"
                stamp = self.stamp(file)
                content = self._object(file) if stamp else None
                if content is not None:
                    annotations = _mapping(content.get("annotations"))
                    name = text(annotations.get("nerdctl/name"))
                    pid_file = f"{tasks}/{namespace}/{identity.id}/init.pid"
                    return NameSource(file, stamp, self._values("containerd", name, "", annotations), pid_file=pid_file)
        return None

    def _of_storage(self, identity: Identity, path: str) -> NameSource | None:
        for root, uid in self._storages(path):
            base = root.lstrip("/")
            for driver in self._names(base):
                if not driver.endswith("-containers"):
                    continue
                file = f"{base}/{driver}/containers.json"
                entry = self._keep(file, partial(self._storage_entries, uid)).get(identity.id)
                if entry:
                    bundle = self._bundle(base, driver, identity.id, path)
                    pid_file = f"{_run_root(path)}/{driver}/{identity.id}/userdata/pidfile"
                    values = self._stored(entry, bundle, self._labels(base, uid, identity.id), identity.runtime)
                    return NameSource(file, self.stamp(file), values, pid_file=pid_file)
        return None

    def _storages(self, path: str) -> list[Owned]:
        return [*_owned_by_system(self._storage), *self._homes(path, ".local/share/containers/storage")]

    def _databases(self, root: str) -> Iterable[str]:
        return (f"{root.lstrip('/')}/{name}" for name in podman_database.FILES)

    def _labels(self, root: str, uid: int | None, id_: str) -> Mapping[str, Any]:
        labels = (_mapping(self._in_database(file, uid, id_).get("labels")) for file in self._databases(root))
        return next(filter(None, labels), {})

    def _in_database(self, file: str, uid: int | None, id_: str) -> Mapping[str, Any]:
        """What podman's database says of a container or pod."""
        configs: podman_database.Configs = self._keep(file, partial(self._database, uid))
        return configs.get(id_, {})

    def _database(self, uid: int | None, file: str) -> podman_database.Configs:
        data = self._read(file, uid, _LARGEST_DATABASE if uid is None else _LARGEST)
        return (self._reader.parsed(file, data, podman_database.parse) if data else None) or {}

    def _stored(
        self, entry: Mapping[str, Any], bundle: Mapping[str, Any], own_labels: Mapping[str, Any], runtime: str
    ) -> Names:
        annotations = _mapping(bundle.get("annotations"))
        own = _mapping(_parsed(entry.get("metadata")))
        names = entry.get("names")
        # podman rename changes the list of names, not the metadata
        name = text(names[0] if isinstance(names, list) and names else "") or text(own.get("name"))
        labels = {**annotations, **_mapping(_parsed(annotations.get("io.kubernetes.cri-o.Labels"))), **own_labels}
        manager = "podman" if annotations.get("io.container.manager") == "libpod" else "cri-o"
        return self._values(runtime or manager, name, text(own.get("image-name")), labels)

    def _bundle(self, base: str, driver: str, id_: str, path: str) -> Mapping[str, Any]:
        for place in (base, _run_root(path)):
            file = f"{place}/{driver}/{id_}/userdata/config.json"
            if self.stamp(file):
                return self._object(file, foreign.owner(path)) or {}
        return {}

    def _of_kubelet(self, identity: Identity, _path: str) -> NameSource | None:
        for name in self._names("var/log/containers"):
            match = _LOG.fullmatch(name) if identity.id in name else None
            if match and match[4] == identity.id:
                pod, namespace, container = map(text, match.groups()[:3])
                values: Names = {
                    "container.name": container,
                    "kubernetes.namespace": namespace,
                    "kubernetes.pod.name": pod,
                    "kubernetes.container.name": container,
                }
                return NameSource("", None, values)
        return None

    def _of_machine(self, identity: Identity, _path: str) -> NameSource | None:
        """Lines ``NAME=…``, ``ROOT=/var/lib/machines/debian``: the name of the directory tree is used as image."""
        file = f"run/systemd/machines/{identity.id}"
        stamp = self.stamp(file)
        data = self._read(file) if stamp else None
        if data is None:
            return None
        pairs = dict(line.split("=", 1) for line in data.decode("utf-8", "replace").splitlines() if "=" in line)
        image = text(os.path.basename(pairs.get("ROOT", "").strip('"').rstrip("/")))
        leader = pairs.get("LEADER", "")
        pid = int(leader) if leader.isdigit() and len(leader) < 10 else 0  # noqa: PLR2004
        return NameSource(file, stamp, {"container.image.name": image} if image else {}, pid)

    def _values(self, runtime: str, name: str, image: str, labels: Mapping[str, Any]) -> Names:
        values: Names = {"container.runtime": runtime}
        for field, keys in _KUBERNETES.items():
            if value := _first(labels, keys):
                values[field] = value
        if _first(labels, _TYPES) in ("sandbox", "podsandbox"):
            values["kubernetes.container.name"] = _PAUSE
        if name := text(values.get("kubernetes.container.name")) or name:
            values["container.name"] = name
        if image := _first(labels, _IMAGES) or image:
            values["container.image.name"] = image
        allowed = self._allowed_labels(labels)
        return {**values, "container.labels": allowed} if allowed else values

    def _allowed_labels(self, labels: Mapping[str, Any]) -> dict[str, str]:
        shown = {
            text(key): text(value) for key, value in labels.items() if isinstance(value, str) and self._allowed(key)
        }
        return dict(sorted(shown.items())[:_MOST_LABELS])

    def _storage_entries(self, uid: int | None, file: str) -> dict[str, Mapping[str, Any]]:
        entries = self._json(file, uid, _LARGEST if uid is None else foreign.LARGEST)
        listed = (_mapping(entry) for entry in entries[:_MOST_ENTRIES]) if isinstance(entries, list) else ()
        return {text(entry.get("id")): {key: entry.get(key) for key in ("names", "metadata")} for entry in listed}

    def _configured_docker(self) -> Iterable[str]:
        def data_root(file: str) -> list[str]:
            root = text(_mapping(self._json(file)).get("data-root"))
            return [root] if root.startswith("/") else []

        return self._keep("etc/docker/daemon.json", data_root) or ()

    def _homes(self, path: str, below: str) -> list[Owned]:
        """Directory ``below`` the home of the user in whose slice ``path`` is: rootless runtimes keep their files there."""
        uid = foreign.owner(path)
        home = self._keep("etc/passwd", self._passwd).get(str(uid)) if uid is not None else None
        return [(f"{home}/{below}", uid)] if home else []

    def _passwd(self, file: str) -> dict[str, str]:
        users = accounts.parse(self._reader.read_once(file) or b"")
        return {user.id: user.home for user in users if user.home.startswith("/")}

    def _names(self, directory: str) -> list[str]:
        names: list[str] = self._keep(directory, lambda path: self._reader.names(path, _MOST_NAMES)) or []
        return names

    def _keep(self, file: str, make: Callable[[str], Any]) -> Any:
        """``make(file)``, cached until the file or directory changes; an empty dict if it is absent."""
        stamp = self.stamp(file)
        if stamp is None:
            self._shared.pop(file, None)
            return {}
        known = self._shared.get(file)
        if known is None or known[0] != stamp:
            known = self._shared[file] = (stamp, make(file))
        return known[1]

    def _object(self, file: str, uid: int | None = None) -> dict[str, Any] | None:
        content = self._json(file, uid)
        return content if isinstance(content, dict) else None

    def _read(self, file: str, uid: int | None = None, most: int = foreign.LARGEST) -> bytes | None:
        return self._reader.read_owned(file, uid, most)

    def _json(self, file: str, uid: int | None = None, most: int = foreign.LARGEST) -> Any:
        data = self._read(file, uid, most)
        if data is None:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):  # a half-written file is read again later
            self._reader.problem(file, "not JSON")
            return None


def _run_root(path: str) -> str:
    """Where podman and CRI-O keep files that last until the next boot."""
    uid = foreign.owner(path)
    return "run/containers/storage" if uid is None else f"run/user/{uid}/containers"


def _owned_by_system(roots: Iterable[str]) -> list[Owned]:
    return [(root, None) for root in roots]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(value: object) -> object:
    """JSON inside JSON, as containers/storage and CRI-O write it."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def _first(table: Mapping[str, Any], keys: Iterable[str]) -> str:
    return next((value for key in keys if (value := text(table.get(key)))), "")
