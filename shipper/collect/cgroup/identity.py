"""What a cgroup is, from its path alone: without the socket of a runtime.

There is one table of names; the deepest component that matches it wins. *The documents that are not aggregates are a
partition*: a sum over them counts every task once. (cgroup v2 has no tasks in inner cgroups; v1 may.)

- A container or machine counts as a whole. Named cgroups in it (services, pods, containers of a nested docker) are published
  as ``aggregate``, because the usage of the container includes theirs.
- A slice, pod or service that contains named cgroups is an ``aggregate``: its usage includes theirs.
- Cgroups in a workload without a name of their own (``payload`` and ``supervisor`` of systemd-nspawn, ``init.scope``,
  ``worker-3``) have no document of their own, unless the workload is a service that is an aggregate: then they are scopes.

Sources of the names: moby daemon/oci_linux.go, kubelet pod_container_manager_linux.go, containerd pkg/cri, cri-o
internal/config/cgmgr, podman container_internal_linux.go, systemd nspawn-cgroup.c and machine.c, lxc cgfsng.c.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from shipper.kernel.hierarchy import Node


class CgroupKind(StrEnum):
    """What runs in a cgroup."""

    CONTAINER = "container"
    SERVICE = "service"
    MACHINE = "machine"
    SCOPE = "scope"
    SLICE = "slice"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a path says of a cgroup; ``id`` and ``runtime`` are empty if it does not say them."""

    kind: CgroupKind
    name: str
    aggregate: bool = False
    runtime: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    kind: CgroupKind
    runtime: str = ""


_HEX: Final = r"(?P<id>[0-9a-f]{64})"
_UUID: Final = r"[0-9A-Fa-f]{8}(?:[-_][0-9A-Fa-f]{4}){3}[-_][0-9A-Fa-f]{12}"
# Prefix of an id → runtime. If a cgroup manager does not use systemd but gets runc's form for systemd, the name is
# <slice>:<prefix>:<id>
_PREFIXES: Final = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "k8s.io": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
}


def _rules(kind: CgroupKind, *patterns: tuple[str, str]) -> list[_Rule]:
    return [_Rule(re.compile(pattern), kind, runtime) for pattern, runtime in patterns]


# Each must match all of "parent/name"; the first match decides.
_RULES: Final = [
    *_rules(
        CgroupKind.POD,
        (rf"libpod_parent/{_HEX}", "podman"),
        (rf".*libpod_pod_{_HEX}\.slice", "podman"),
    ),
    *_rules(
        CgroupKind.CONTAINER,
        *((rf"[^/]*/{prefix}-{_HEX}(\.scope)?", runtime) for prefix, runtime in _PREFIXES.items()),
        *((rf"[^/]*/[^/:]*:{prefix}:{_HEX}", runtime) for prefix, runtime in _PREFIXES.items()),
        (rf"docker/{_HEX}", "docker"),
        (r"buildkit/(?P<id>[0-9a-z]{25})", "docker"),
        (rf"k8s\.io/{_HEX}", "containerd"),
        (r"default/(?P<id>[A-Za-z0-9][A-Za-z0-9._-]{0,75})", "containerd"),  # ctr: the id is a chosen name
        (r"[0-9a-f]{32}/(?P<id>[0-9a-f]{32}-[0-9]+)", "containerd"),  # ECS on Fargate: task/container
        (rf".*/libpod-payload-{_HEX}", "podman"),
        (r".*/buildah-(?P<id>buildah[0-9]+)\.scope", "podman"),
        (r".*/lxc\.payload\.(?P<id>.+)", "lxc"),
        (r"(lxc|lxc\.payload)/(?P<id>.+)", "lxc"),
        (rf"(nomad|share|reserve)(\.slice)?/(?P<id>{_UUID}\.(?P<name>.+?))(\.scope)?", "nomad"),
        (r"garden/(?P<id>[0-9a-z-]+)", "garden"),
        # 64 hexadecimal digits at the end are a container of an unknown runtime
        (rf"[^/]*/((?!.*conmon).*[^0-9a-f])?{_HEX}(\.scope)?", ""),
    ),
    *_rules(
        CgroupKind.MACHINE,
        (r".*/machine-(?P<id>(qemu|lxc)\\x2d.+)\.scope", "libvirt"),
        (r".*/(?P<id>.+)\.libvirt-(qemu|lxc)", "libvirt"),
        (r"qemu/(?P<id>.+)", "libvirt"),  # /libvirt/qemu/NAME before 1.0.5
        (r"qemu\.slice/(?P<id>[0-9]+)\.scope", "qemu"),  # Proxmox
        (r".*/machine-(?P<id>.+)\.scope", "systemd-nspawn"),
        (r".*/systemd-nspawn@(?P<id>.+)\.service", "systemd-nspawn"),
        (r"machine\.slice/(?!(libpod|crio|runc|crun|run|buildah|podman)-)(?P<id>.+)\.scope", "systemd-nspawn"),
    ),
    *_rules(
        CgroupKind.POD,
        (r"[^/]*/([^/]*-)?kubepods(-[a-z]+)?-pod(?P<id>[0-9A-Fa-f_]+)\.slice", "kubernetes"),
        (r"(kubepods|burstable|besteffort|guaranteed)/pod(?P<id>[0-9A-Fa-f-]+)", "kubernetes"),
    ),
    *_rules(
        CgroupKind.SLICE,
        (r".*\.slice", ""),
        (
            r"/(docker|kubepods|libpod_parent|machine|lxc(\.payload|\.monitor)?|user|system|default|k8s\.io|nomad|garden)",
            "",
        ),
    ),
    *_rules(CgroupKind.SERVICE, (r".*\.service", "")),
]
_POD_OF: Final = re.compile(rf"pod({_UUID}|[0-9a-f]{{32}})(?:\.slice)?[/:]")
_LIKE_AN_ID: Final = re.compile(rf"[0-9a-f]{{32}}|{_UUID}")
# units of systemd-run, and monitors of containers
_NOT_LIKE_ONE: Final = re.compile(r"run-.*|.*conmon.*|.*\.service|.*\.slice")
_SCOPE: Final = re.compile(r".+\.scope")
_HOLDS_NO_TASKS: Final = (".mount", ".automount", ".swap", ".socket", ".device", ".target", ".timer", ".path")
_HOLDERS: Final = (CgroupKind.SLICE, CgroupKind.POD)
# Counted as a whole, even if systemd, docker or pods (KinD) run in them
WHOLE: Final = (CgroupKind.CONTAINER, CgroupKind.MACHINE)
_SHORT: Final = 12
_LONG_ID: Final = re.compile(r"[0-9a-f]{64}")
_OF_LIBVIRT: Final = re.compile(r"^(qemu|lxc)-\d+-")  # virSystemdMakeMachineName in libvirt's util/virsystemd.c


def unescape(name: str) -> str:
    r"""Systemd's ``\x2d`` → ``-``; other bytes are UTF-8 (systemd-escape(1))."""
    raw = re.sub(
        rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogateescape")
    )
    return raw.decode("utf-8", "surrogateescape")


_MOST_FOUND: Final = 16_384


class _Recognised:
    """What ``recognise`` found, which makes a change of the tree cheap: of the cgroups in it, and of those asked for since."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Identity | None] = {}
        self._former: dict[tuple[str, str], Identity | None] = {}

    @contextmanager
    def whole_tree(self) -> Iterator[None]:
        """What is not asked for meanwhile is forgotten."""
        self._former, self._found = self._found, {}
        yield
        self._former = {}

    def of(self, parent: str, name: str) -> Identity | None:
        """The identity."""
        key = (parent, name)
        if key in self._found:
            return self._found[key]
        identity = self._former[key] if key in self._former else _recognise(parent, name)
        if len(self._found) >= _MOST_FOUND:
            self._found.clear()
        self._found[key] = identity
        return identity


_RECOGNISED: Final = _Recognised()


def recognise(parent: str, name: str) -> Identity | None:
    """The identity that the name of a cgroup and its parent give; None if they give none."""
    return _RECOGNISED.of(parent, name)


def _recognise(parent: str, name: str) -> Identity | None:
    for rule in _RULES:
        match = rule.pattern.fullmatch(f"{parent}/{name}")
        if match:
            return _identity(rule, match, name)
    if _SCOPE.fullmatch(name) and name != "init.scope":
        return Identity(CgroupKind.SCOPE, name)
    return None


def _identity(rule: _Rule, match: re.Match[str], name: str) -> Identity:
    groups = match.groupdict()
    id_ = groups.get("id") or ""
    short = id_[:_SHORT] if _LONG_ID.fullmatch(id_) else id_
    if rule.kind is CgroupKind.CONTAINER:
        return Identity(rule.kind, groups.get("name") or short, runtime=rule.runtime, id=id_)
    if rule.kind is CgroupKind.MACHINE:
        machine = unescape(id_)
        name = _OF_LIBVIRT.sub("", machine) if rule.runtime == "libvirt" else machine
        return Identity(rule.kind, name, runtime=rule.runtime, id=machine)
    if rule.kind is CgroupKind.POD:
        name = short.replace("_", "-")
        return Identity(rule.kind, name, aggregate=True, runtime=rule.runtime, id=id_.replace("_", "-"))
    return Identity(rule.kind, name, aggregate=rule.kind is CgroupKind.SLICE)


def pod_uid(path: str) -> str:
    """UID of the innermost Kubernetes pod that the cgroup ``path`` lies in; empty if in none."""
    uids = _POD_OF.findall(path)
    return uids[-1].replace("_", "-") if uids else ""


def looks_like_a_container(name: str, kind: CgroupKind) -> bool:
    """Whether the name of a cgroup without a rule has an id in it, as runtimes give."""
    if kind is not CgroupKind.SCOPE or _NOT_LIKE_ONE.fullmatch(name):
        return False
    return _LIKE_AN_ID.search(name) is not None


def identify(root: Node) -> Iterator[tuple[str, Node, Identity]]:
    """Path (``/system.slice/sshd.service``), node and identity of every cgroup to publish, parents first."""
    with _RECOGNISED.whole_tree():
        for name, node in root.children.items():
            yield from _below("", "", name, node, folding=False, within=False)


def _below(
    path: str, parent: str, name: str, node: Node, *, folding: bool, within: bool
) -> Iterator[tuple[str, Node, Identity]]:
    """``folding``: a cgroup without a name is part of the workload around it. ``within``: it is in a container."""
    if name.endswith(_HOLDS_NO_TASKS):
        return
    here = f"{path}/{name}"
    identity = recognise(parent, name)
    inner = any(_holds_named(child, child_name, name) for child_name, child in node.children.items())
    if identity is None:
        if folding and not inner:
            return
        holder = inner or (bool(node.children) and not folding)
        identity = Identity(CgroupKind.SLICE if holder else CgroupKind.SCOPE, name, aggregate=holder)
        fold_below = within
    elif identity.kind in _HOLDERS:
        fold_below = within
    else:
        whole = identity.kind in WHOLE
        fold_below = whole or within or not inner
        identity = _summed(identity, aggregate=inner and not whole)
    yield here, node, _summed(identity, aggregate=True) if within else identity
    within = within or identity.kind in WHOLE
    for child_name, child in node.children.items():
        yield from _below(here, name, child_name, child, folding=fold_below, within=within)


def _summed(identity: Identity, *, aggregate: bool) -> Identity:
    return identity if identity.aggregate == aggregate else replace(identity, aggregate=aggregate)


def _holds_named(node: Node, name: str, parent: str) -> bool:
    return recognise(parent, name) is not None or any(
        _holds_named(child, child_name, name) for child_name, child in node.children.items()
    )


def deepest(parts: list[str]) -> tuple[str, Identity] | None:
    """Path and identity of the deepest named cgroup on a path that is not a slice or pod; None if there is none."""
    for depth in range(len(parts), 0, -1):
        identity = recognise(parts[depth - 2] if depth > 1 else "", parts[depth - 1])
        if identity and not identity.aggregate:
            return "/" + "/".join(parts[:depth]), identity
    return None
