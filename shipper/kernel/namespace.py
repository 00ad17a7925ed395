"""Whether a file that belongs to the reader's namespace tells of the host: whether pid 1 is in the same namespace.

``proc/sys/kernel/hostname`` is of the reader's UTS namespace, ``proc/sys/net`` of its network, ``proc/PID/cgroup``
relative to its cgroup namespace, ``proc/uptime`` shifted by its time namespace, whatever /proc they are read through.
https://man7.org/linux/man-pages/man7/namespaces.7.html
"""

import os
import socket

from shipper.kernel.source import Reader, Root

_OWN = Reader(Root())


def of_pid(reader: Reader, pid: int, kind: str) -> str:
    """``net:[4026531840]``, the namespace of ``pid``; empty if it is gone or not ours to see."""
    try:
        return reader.root.link(f"proc/{pid}/ns/{kind}")
    except OSError:  # also EACCES of a process that a security module protects: no figures, and no news each tick
        return ""


def own(kind: str) -> str:
    """The namespace of this process; empty where the kernel has none of this kind."""
    try:
        return _OWN.root.link(f"proc/self/ns/{kind}")
    except OSError:
        return ""


def of_host(reader: Reader, kind: str) -> str:
    """The namespace of pid 1, or ours where it is the same; empty if neither can be told.

    The link of a process with capabilities that we lack is not ours to read (ptrace(2)). Its list of sockets is, and a
    socket of ours is in it if the network namespace is the same.
    """
    if link := of_pid(reader, 1, kind):
        return link
    if kind == "net":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            inode = b"%d" % os.fstat(ours.fileno()).st_ino
            if inode in (reader.read_once("proc/1/net/unix") or b"").split():
                return own(kind)
    return ""


def shared(reader: Reader, kind: str) -> bool | None:
    """Whether this process is in the namespace of pid 1; None if unknown. A captured tree counts as its own host."""
    if not reader.exists("proc/1/ns"):
        return True
    mine = own(kind)
    if not mine:  # a kernel without namespaces of this kind
        return True
    hosts = of_host(reader, kind)
    return hosts == mine if hosts else None


def own_processes(reader: Reader) -> bool:
    """Whether this process has a pid namespace of its own: in the host's proc it has another number, or none."""
    return (reader.link("proc/self") or str(os.getpid())) != str(os.getpid())
