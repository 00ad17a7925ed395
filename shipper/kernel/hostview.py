"""Whether the host root shows the host: its identity, and findings that are ok, a note, or wrong with the reason.

These prove a wrong view, from inside a container or a namespace:

- process namespace: ``proc/1/ns/pid`` is not the kernel's initial one (its inode is fixed, include/linux/proc_ns.h),
  or, if that may not be read, process 2 is not kthreadd, which exists only there;
- mounts: the device of the host root is not that of ``/`` in the mounts of pid 1;
- cgroups: only cgroups below the root have ``cgroup.events`` (v2), only the root has ``release_agent`` (v1).

In a captured tree, where ``proc`` is not a mount, the files count as they are.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shipper.base.errors import HostViewError
from shipper.base.findings import Finding, Level, note, ok, wrong
from shipper.kernel import hostname, mountinfo, namespace
from shipper.kernel.hierarchy import CGROUP_ROOT, UNIFIED, Mode, detect
from shipper.kernel.hostname import HostName
from shipper.kernel.mountinfo import Mount
from shipper.kernel.parse import first_line
from shipper.kernel.source import Reader, Root

_INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")
_ID_LENGTH: Final = 32
# Kind of namespace → what is missing if this process is in its own
_LOST: Final = {
    "cgroup": "processes are published without their cgroup",
    "time": "uptime and start times of processes are missing",
}
# st_dev of a subvolume differs from the device in mountinfo
_OWN_DEVICE_NUMBERS: Final = frozenset({"btrfs", "bcachefs"})


@dataclass(frozen=True, slots=True)
class HostView:
    """Identity of the host, and what of it can be seen. ``boot_id`` and ``init`` are empty if they cannot be read."""

    name: str
    id: str
    boot_id: str
    init: str
    cgroup_mode: Mode
    container: str
    findings: tuple[Finding, ...]


def examine(root: Root, name: str = "", environ: Mapping[str, str] = os.environ) -> HostView:
    """Examine the host below ``root``. ``name`` is the configured host name, ``environ`` that of this process."""
    reader = Reader(root)
    named = HostName(name, "") if name else hostname.find(reader)
    host_name = named.name
    host_id, source = _host_id(reader, host_name)
    mode = detect(reader).mode
    container = environ.get("container", "")
    findings = (
        *_of_name(named),
        *_of_id(host_id, source),
        *_of_processes(reader),
        *_of_mounts(reader),
        *_of_propagation(reader),
        *_of_network(reader),
        *_of_namespaces(reader),
        *_of_cgroups(reader, mode),
        *_of_container(root, container),
    )
    boot_id = _word(reader, "proc/sys/kernel/random/boot_id")
    return HostView(host_name, host_id, boot_id, _word(reader, "proc/1/comm"), mode, container, findings)


def require(view: HostView) -> None:
    """Raises HostViewError, with all that is wrong in one line."""
    reasons = [finding.text for finding in view.findings if finding.level is Level.WRONG]
    if reasons:
        raise HostViewError(f"this is not the host: {'; '.join(reasons)}; to start anyway, set host.verify to false")


def _word(reader: Reader, path: str) -> str:
    """First line of a file; empty if it cannot be read."""
    return first_line(reader.read_once(path) or b"")


def _host_id(reader: Reader, name: str) -> tuple[str, str]:
    """The id, and the file it is from. There always is one, which stays the same after restarts."""
    machine = _word(reader, "etc/machine-id")
    if _MACHINE_ID.fullmatch(machine):
        return machine, "etc/machine-id"
    uuid = _word(reader, "sys/class/dmi/id/product_uuid").lower().replace("-", "")
    if _MACHINE_ID.fullmatch(uuid):
        return uuid, "sys/class/dmi/id/product_uuid"
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_ID_LENGTH], "the host name"


def _of_name(named: HostName) -> Iterator[Finding]:
    name = named.name
    if name and not named.source:
        yield ok(f'host name "{name}", as configured')
    elif not name:
        yield wrong("no host name in etc/hostname; set host.name")
    elif named.containers:
        yield wrong(
            f'host name "{name}" is only that of this container; set host.name, or share the UTS namespace of the host'
        )
    elif hostname.RANDOM.fullmatch(name):
        yield wrong(f'host name "{name}" looks like the id of a container; set host.name if it is right')
    elif hostname.says_nothing(name):
        yield note(f'host name "{name}" does not identify a host; set host.name')
    else:
        yield ok(f'host name "{name}" from {named.source}')


def _of_namespaces(reader: Reader) -> Iterator[Finding]:
    """What is missing because this process is in a namespace of its own."""
    for kind, lost in _LOST.items():
        if namespace.shared(reader, kind) is False:
            yield note(f"this process is in its own {kind} namespace: {lost}")


def _of_id(host_id: str, source: str) -> Iterator[Finding]:
    known = source == "etc/machine-id"
    rest = "" if known else "; there is no usable etc/machine-id"
    yield (ok if known else note)(f"host id {host_id} from {source}{rest}")


def _of_processes(reader: Reader) -> Iterator[Finding]:
    missing = [path for path in ("proc/stat", "proc/1/comm") if reader.read_once(path) is None]
    hidden = _hidepid(reader)
    if missing == ["proc/1/comm"] and hidden:
        yield wrong(
            f"proc is mounted with hidepid={hidden}, which hides the host's processes; run as root, with "
            "CAP_SYS_PTRACE, or in the group that the mount's gid= names"
        )
        return
    if missing:
        where = reader.root.path
        yield wrong(f"no {missing[0]} below {where}; bind the host's / there, or set collect.host_root")
        return
    if _captured(reader):
        yield note("proc is not mounted below the host root; the files are those of a captured tree")
        return
    link = reader.link("proc/1/ns/pid")
    initial = link == _INITIAL_PID_NAMESPACE if link else namespace.has_kthreadd(reader)
    if initial:
        yield ok(f"pid 1 is the host's: {_word(reader, 'proc/1/comm')}")
    else:
        yield wrong("proc shows the processes of a container, not those of the host")


def _own_mounts(place: str) -> list[Mount]:
    """What this process sees mounted on ``place``, the one on top last."""
    text = Reader(Root()).read_once("proc/self/mountinfo") or b""
    return [mount for mount in mountinfo.sound(text) if mount.point == os.fsencode(place)]


def _hidepid(reader: Reader) -> str:
    """The value of proc's mount option that hides other users' processes; empty if none does (proc(5))."""
    options = [mount.options for mount in _own_mounts(reader.root.absolute("proc"))][-1:]
    values = (re.fullmatch(rb"hidepid=(?!0|off)(\w+)", option) for option in options[0]) if options else ()
    return next((value[1].decode() for value in values if value), "")


def _of_propagation(reader: Reader) -> Iterator[Finding]:
    """Mounts that come later are seen only where the bind of the host's root follows them (mount_namespaces(7))."""
    mounts = _own_mounts(reader.root.path) if reader.root.path != "/" else []
    if mounts and not any(field.startswith((b"master:", b"shared:")) for field in mounts[-1].propagation):
        yield note(
            f"later mounts of the host will not be visible below {reader.root.path}; "
            "run `mount --make-rshared /` on the host, and bind with rslave"
        )


def _captured(reader: Reader) -> bool:
    proc = reader.attempt("proc", lambda: reader.root.stat("proc"))
    root = reader.attempt("/", lambda: reader.root.stat(""))
    return proc is not None and root is not None and proc.st_dev == root.st_dev


def _of_mounts(reader: Reader) -> Iterator[Finding]:
    mounts = mountinfo.sound(reader.read_once("proc/1/mountinfo") or b"")
    root = next((mount for mount in reversed([*mounts]) if mount.point == b"/"), None)  # the last one lies on top
    here = reader.attempt("/", lambda: reader.root.stat(""))
    if root is None:
        yield note("proc/1/mountinfo cannot be read; filesystems will be missing")
    elif here is None or _captured(reader) or root.type in _OWN_DEVICE_NUMBERS:
        return
    elif root.device == here.st_dev:
        yield ok(f"the host root {reader.root.path} is the / of pid 1")
    else:
        text = f"the host root {reader.root.path} is not the / of pid 1; bind the host's / and set collect.host_root"
        yield wrong(text)


def _of_network(reader: Reader) -> Iterator[Finding]:
    if reader.read_once("proc/1/net/dev") is None:
        yield note("proc/1/net/dev cannot be read; network metrics will be missing")
        return
    other = " (this process is in its own network namespace)" if namespace.shared(reader, "net") is False else ""
    yield ok(f"network of the host from proc/1/net{other}")


def _of_cgroups(reader: Reader, mode: Mode) -> Iterator[Finding]:
    if mode is Mode.NONE:
        yield note(f"no cgroups in {CGROUP_ROOT}; containers and services will be missing")
    elif _is_below_root(reader):
        yield wrong(f"{CGROUP_ROOT} shows only the cgroups of a container")
    else:
        yield ok(f"cgroups {mode}, from the root cgroup")


def _is_below_root(reader: Reader) -> bool:
    if any(reader.exists(f"{CGROUP_ROOT}/{part}cgroup.events") for part in ("", f"{UNIFIED}/")):
        return True
    memory = f"{CGROUP_ROOT}/memory"
    return reader.exists(f"{memory}/notify_on_release") and not reader.exists(f"{memory}/release_agent")


def _of_container(root: Root, container: str) -> Iterator[Finding]:
    if container and root.path == "/":
        yield wrong(f"runs inside {container}; set collect.host_root to the path where the host's / is bound")
    elif container:
        yield ok(f"runs inside {container}, host root {root.path}")
