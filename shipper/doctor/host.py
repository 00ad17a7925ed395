"""Mistakes in the host's kernel and in the container that the shipper runs in, each with what mends it."""

import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from shipper.base.findings import Finding, note, ok, wrong
from shipper.collect.host import clock_sync
from shipper.kernel import mountinfo
from shipper.kernel.hierarchy import CGROUP_ROOT
from shipper.kernel.source import Reader, Root

_KERNEL_LINE: Final = "to the kernel's command line, then boot"
_NEEDED: Final[Mapping[str, int]] = {"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19}  # linux/capability.h
_UNCONFINED: Final = "unconfined"


def examine(root: Root, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Findings about the host below ``root`` and about this process."""
    host, own = Reader(root), Reader(Root())
    yield from pressure(host)
    yield from memory_controller(host)
    yield from clock(host)
    yield from capabilities(own.read_once("proc/self/status") or b"")
    yield from confinement(own.read_once("proc/self/attr/current") or b"")
    yield from mounts(own.read_once("proc/self/mountinfo") or b"", root.path, environ.get("container", ""))
    yield from agents(
        {pid: host.read_once(f"proc/{pid}/cmdline") or b"" for pid in host.names("proc") if pid.isdigit()}
    )


def pressure(host: Reader) -> Iterator[Finding]:
    """PSI needs Linux 4.20, and psi=1 where the distribution's default is off."""
    if host.exists("proc/pressure/cpu"):
        yield ok("pressure stall information is on")
    else:
        text = "pressure stall information is off: system.pressure.* and cgroup.pressure.* are absent"
        yield note(text, f"add psi=1 {_KERNEL_LINE}; the kernel must be 4.20 or newer")


def memory_controller(host: Reader) -> Iterator[Finding]:
    """Debian and Raspberry Pi OS had the controller off by default on some machines."""
    unified = (host.read_once(f"{CGROUP_ROOT}/cgroup.controllers") or b"").split()
    if b"memory" in unified or host.exists(f"{CGROUP_ROOT}/memory/memory.stat"):
        yield ok("the memory controller is on")
    elif host.exists(CGROUP_ROOT):
        text = "the memory controller is off: cgroup.memory.* is absent"
        yield wrong(text, f"add cgroup_enable=memory {_KERNEL_LINE}")


def clock(host: Reader) -> Iterator[Finding]:
    """Whether a time service keeps the clock right."""
    for reading in clock_sync.collect(host):
        if reading.values["system.clock.synchronised"]:
            yield ok("the clock is synchronised")
        else:
            text = "no time service synchronises the clock; documents from the future are rejected"
            yield note(text, "timedatectl set-ntp true")


def capabilities(status: bytes) -> Iterator[Finding]:
    """Whether this process may read other users' files. ``status``: proc/self/status."""
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith(b"CapEff:")), b"0")
    lacking = [name for name, bit in _NEEDED.items() if not int(effective, 16) >> bit & 1]
    if lacking:
        text = f"this process lacks {' and '.join(lacking)}: files of other users are left out"
        yield note(text, "run it as root, or as the units do: shipper units list")
    else:
        yield ok(f"this process has {' and '.join(_NEEDED)}")


def confinement(label: bytes) -> Iterator[Finding]:
    """Whether AppArmor or SELinux confines this process. ``label``: proc/self/attr/current."""
    profile = label.rstrip(b"\0\n").decode("utf-8", "backslashreplace")
    if profile.endswith(" (enforce)"):
        text = f"AppArmor's profile {profile.removesuffix(' (enforce)')} may forbid reading the host's processes"
        yield note(text, "start the container with --security-opt apparmor=unconfined")
    elif profile.split(":")[2:3] == ["container_t"]:
        text = "SELinux's type container_t forbids reading the host's files"
        yield wrong(text, "start the container with --security-opt label=disable")
    elif profile not in {"", _UNCONFINED, "kernel"}:
        yield note(f"this process runs under the label {profile}: denials are in the host's audit log")


def mounts(own: bytes, place: str, container: str) -> Iterator[Finding]:
    """Whether the host's root is bound as it should be. ``own``: proc/self/mountinfo."""
    bound = [mount for mount in mountinfo.sound(own) if mount.point == os.fsencode(place)][-1:]
    if place == "/" or not bound:
        return
    if bound[0].read_only:
        yield ok(f"the host's / is bound read-only to {place}")
    else:
        nspawn = container == "systemd-nspawn"
        flag = f"systemd-nspawn --bind-ro=/:{place}" if nspawn else f"docker run --volume /:{place}:ro,rslave"
        yield note(f"the host's / is writable below {place}", f"start the container with {flag}")


def agents(processes: Mapping[str, bytes]) -> Iterator[Finding]:
    """Whether several agents run on this host. ``processes``: proc/PID/cmdline by PID."""
    found = sorted(int(pid) for pid, line in processes.items() if _is_agent(line.split(b"\0")))
    if len(found) > 1:
        text = f"{len(found)} agents run on this host: processes {', '.join(map(str, found))}"
        yield wrong(text, "stop all but one: systemctl status PID names the unit of each")


def _is_agent(words: list[bytes]) -> bool:
    """``…/shipper run``, perhaps started by an interpreter, or ``python -m shipper run``."""
    names = [os.path.basename(word) for word in words]
    return any(one in {b"shipper", b"metrics-shipper"} and then == b"run" for one, then in pairwise(names[:5]))
