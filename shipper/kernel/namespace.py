"""Whether this process is in a namespace of the host, that is, of pid 1: some files show the reader's namespace.

``proc/sys/kernel/hostname`` shows the reader's UTS namespace and ``proc/sys/net`` its network namespace,
``proc/PID/cgroup`` is relative to its cgroup namespace, and ``proc/uptime`` is shifted by its time namespace, through
any mount of /proc. https://man7.org/linux/man-pages/man7/namespaces.7.html
"""

import os
import re
import socket
from typing import Final

from shipper.kernel.source import Reader, Root

_OWN = Reader(Root())
_KTHREADD: Final = re.compile(rb"2 \(kthreadd\) \w 0 ")


def of_pid(reader: Reader, pid: int, kind: str) -> str:
    """``net:[4026531840]``, the namespace of process ``pid``; empty if the process ended or may not be read."""
    try:
        return reader.root.link(f"proc/{pid}/ns/{kind}")
    except OSError:  # also EACCES, if a security module protects the process; that is not a problem at each tick
        return ""


def own(kind: str) -> str:
    """The namespace of this process; empty if the kernel has none of this kind."""
    try:
        return _OWN.root.link(f"proc/self/ns/{kind}")
    except OSError:
        return ""


def has_kthreadd(reader: Reader) -> bool:
    """Whether process 2 is kthreadd, the parent of the kernel's threads: only in the initial pid namespace."""
    return _KTHREADD.match(reader.read_once("proc/2/stat") or b"") is not None


def of_host(reader: Reader, kind: str) -> str:
    """The namespace of pid 1; empty if it is unknown.

    The link of a process with more capabilities than this one may not be read (ptrace(2)), nor that of a process that a
    security module protects. The kernel's threads are in the same namespaces. The list of sockets of pid 1 may always
    be read, and has a socket of this process if the network namespace is the same.
    """
    if link := of_pid(reader, 1, kind):
        return link
    if has_kthreadd(reader) and (link := of_pid(reader, 2, kind)):
        return link
    if kind == "net":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            inode = b"%d" % os.fstat(ours.fileno()).st_ino
            if inode in (reader.read_once("proc/1/net/unix") or b"").split():
                return own(kind)
    return ""


def shared(reader: Reader, kind: str) -> bool | None:
    """Whether this process is in the namespace of pid 1; None if unknown. In a captured tree it is."""
    if not reader.exists("proc/1/ns"):
        return True
    mine = own(kind)
    if not mine:  # a kernel without namespaces of this kind
        return True
    hosts = of_host(reader, kind)
    return hosts == mine if hosts else None


def own_processes(reader: Reader) -> bool:
    """Whether this process is in its own pid namespace: in the host's proc it has another number, or none."""
    return (reader.link("proc/self") or str(os.getpid())) != str(os.getpid())
