"""What a cgroup is, told from its path alone: no runtime socket, no guess.

One table of names; the deepest component with a name of its own wins. A cgroup that other cgroups of the table lie in is an
``aggregate``: its usage contains theirs. Cgroups within a workload that have no name of their own (``payload`` and
``supervisor`` of systemd-nspawn, ``init.scope``, ``worker-3``) fold into it, unless the workload is an aggregate: then they
are published as scopes, so that *the documents that are not aggregates are a partition*: a sum over them counts every
task once. (cgroup v2 has no tasks in inner cgroups; v1 may.)

Where the names come from: moby daemon/oci_linux.go, kubelet pod_container_manager_linux.go, containerd pkg/cri, cri-o
internal/config/cgmgr, podman container_internal_linux.go, systemd nspawn-cgroup.c and machine.c, lxc cgfsng.c.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from shipper.fields import constant

ENTITY: Final = constant(
    "cgroup.entity",
    "Name of a cgroup for people, unique in the fleet: web-1@node-3, pod/container@node-3, ssh.service@node-3",
    "cgroup.name, else the path; host.name",
)


class CgroupKind(StrEnum):
    CONTAINER = "container"
    SERVICE = "service"
    MACHINE = "machine"
    SCOPE = "scope"
    SLICE = "slice"
    POD = "pod"


@dataclass(slots=True)
class Node:
    """A cgroup directory: inode numbers by hierarchy (one in v2) and the cgroups below it by name."""

    inodes: dict[str, int] = field(default_factory=dict)
    children: dict[str, "Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """``id`` and ``runtime`` are empty where the path does not tell them."""

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


def _rules(kind: CgroupKind, *patterns: tuple[str, str]) -> list[_Rule]:
    return [_Rule(re.compile(pattern), kind, runtime) for pattern, runtime in patterns]


# Matched against "parent/name", whole; the first that fits decides.
_RULES: Final = [
    *_rules(
        CgroupKind.CONTAINER,
        (rf".*/docker-{_HEX}\.scope", "docker"),
        (rf"docker/{_HEX}", "docker"),
        (rf".*/cri-containerd-{_HEX}\.scope", "containerd"),
        (rf"k8s\.io/{_HEX}", "containerd"),
        (r"default/(?P<id>[A-Za-z0-9][A-Za-z0-9._-]{0,75})", "containerd"),  # ctr: the id is a name that people give
        (rf".*/nerdctl-{_HEX}\.scope", "containerd"),
        (rf".*/crio-{_HEX}(\.scope)?", "cri-o"),
        (rf".*/libpod-(payload-)?{_HEX}(\.scope)?", "podman"),
        (r".*/lxc\.payload\.(?P<id>.+)", "lxc"),
        (r"lxc/(?P<id>.+)", "lxc"),
        (rf".*/{_HEX}", ""),
    ),
    *_rules(
        CgroupKind.MACHINE,
        (r".*/machine-(?P<id>(qemu|lxc)\\x2d.+)\.scope", "libvirt"),
        (r".*/(?P<id>.+)\.libvirt-(qemu|lxc)", "libvirt"),
        (r".*/machine-(?P<id>.+)\.scope", "systemd-nspawn"),
        (r".*/systemd-nspawn@(?P<id>.+)\.service", "systemd-nspawn"),
        (r"machine\.slice/(?!libpod-|crio-)(?P<id>.+)\.scope", "systemd-nspawn"),
    ),
    *_rules(
        CgroupKind.POD,
        (r".*/kubepods(-[a-z]+)?-pod(?P<id>[0-9A-Fa-f_]+)\.slice", "kubernetes"),
        (r"(kubepods|burstable|besteffort|guaranteed)/pod(?P<id>[0-9A-Fa-f-]+)", "kubernetes"),
    ),
    *_rules(
        CgroupKind.SLICE,
        (r".*\.slice", ""),
        (r"/(docker|kubepods|libpod_parent|machine|lxc|user|system|default|k8s\.io)", ""),
    ),
    *_rules(CgroupKind.SERVICE, (r".*\.service", "")),
]
_SCOPE: Final = re.compile(r".+\.scope")
_HOLDS_NO_TASKS: Final = (".mount", ".automount", ".swap", ".socket", ".device", ".target", ".timer", ".path")
_HOLDERS: Final = (CgroupKind.SLICE, CgroupKind.POD)
_SHORT: Final = 12
_LONG_ID: Final = re.compile(r"[0-9a-f]{64}")
_OF_LIBVIRT: Final = re.compile(r"^(qemu|lxc)-\d+-")  # virSystemdMakeMachineName in libvirt's util/virsystemd.c


def unescape(name: str) -> str:
    r"""Systemd's ``\x2d`` → ``-``; bytes beyond ASCII are UTF-8 (https://systemd.io: systemd-escape(1))."""
    raw = re.sub(
        rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogateescape")
    )
    return raw.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4096)  # entries of containers that are gone are the price of a change costing little
def recognise(parent: str, name: str) -> Identity | None:
    """The identity that a cgroup's own name gives it; None where it has none of its own."""
    for rule in _RULES:
        match = rule.pattern.fullmatch(f"{parent}/{name}")
        if match:
            return _identity(rule, match, name)
    if _SCOPE.fullmatch(name) and name != "init.scope":
        return Identity(CgroupKind.SCOPE, name)
    return None


def _identity(rule: _Rule, match: re.Match[str], name: str) -> Identity:
    id_ = match.groupdict().get("id", "") or ""
    if rule.kind is CgroupKind.CONTAINER:
        return Identity(rule.kind, id_[:_SHORT] if _LONG_ID.fullmatch(id_) else id_, runtime=rule.runtime, id=id_)
    if rule.kind is CgroupKind.MACHINE:
        machine = unescape(id_)
        name = _OF_LIBVIRT.sub("", machine) if rule.runtime == "libvirt" else machine
        return Identity(rule.kind, name, runtime=rule.runtime, id=machine)
    if rule.kind is CgroupKind.POD:
        return Identity(rule.kind, id_.replace("_", "-"), True, rule.runtime, id_.replace("_", "-"))  # noqa: FBT003
    return Identity(rule.kind, name, aggregate=rule.kind is CgroupKind.SLICE)


def identify(root: Node) -> Iterator[tuple[str, Node, Identity]]:
    """Path (``/system.slice/sshd.service``), node and identity of every cgroup that is published; parents first."""
    for name, node in root.children.items():
        yield from _below("", "", name, node, folding=False)


def _below(path: str, parent: str, name: str, node: Node, *, folding: bool) -> Iterator[tuple[str, Node, Identity]]:
    """``folding``: a cgroup without a name of its own is part of the workload around it."""
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
        fold_below = False
    elif identity.kind in _HOLDERS:
        fold_below = False
    else:
        fold_below = not inner
        if inner:
            identity = Identity(identity.kind, identity.name, True, identity.runtime, identity.id)  # noqa: FBT003
    yield here, node, identity
    for child_name, child in node.children.items():
        yield from _below(here, name, child_name, child, folding=fold_below)


def _holds_named(node: Node, name: str, parent: str) -> bool:
    return recognise(parent, name) is not None or any(
        _holds_named(child, child_name, name) for child_name, child in node.children.items()
    )
