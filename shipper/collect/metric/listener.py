"""The cgroup of the process that listens on a port or unix socket of this host, found by its socket."""

import ipaddress
from typing import Final

from shipper.kernel import namespace
from shipper.kernel.every import Every
from shipper.kernel.source import Reader

_LOOK_AGAIN_S: Final = 60
_LISTENS: Final = b"0A"
_UNIX_LISTENS: Final = b"01"


class Listener:
    """Looks for the socket once a minute, and at all processes only if it is another one."""

    def __init__(self, reader: Reader, host: str, port: int, path: str) -> None:
        """``path``: of a unix socket; if empty, TCP."""
        self._reader = Reader(reader.root)  # problems are no problems: not every process may be seen
        self._local = bool(path) or _is_local(host)
        self._port, self._path = port, path
        self._every = Every(_LOOK_AGAIN_S)
        self._inode, self._cgroup = b"", ""

    def cgroup(self) -> str:
        """Path of the cgroup; empty if it is not known."""
        if self._local and self._every.due(self._reader.now_ns()):
            inode = self._unix() if self._path else self._tcp()
            if inode != self._inode:
                self._inode, self._cgroup = inode, self._of_owner(inode) if inode else ""
            self._reader.close()
            self._reader.take_problems()
        return self._cgroup

    def _tcp(self) -> bytes:
        """Inode of the socket: local address in the 2nd column, state in the 4th, inode in the 10th (proc_net_tcp)."""
        end = b":%04X" % self._port
        for file in ("proc/1/net/tcp", "proc/1/net/tcp6"):
            for line in (self._reader.read_once(file) or b"").splitlines()[1:]:
                columns = line.split()
                if columns[1].endswith(end) and columns[3] == _LISTENS:
                    return columns[9]
        return b""

    def _unix(self) -> bytes:
        """Inode of the socket: state in the 6th column, inode in the 7th, path in the 8th."""
        for line in (self._reader.read_once("proc/1/net/unix") or b"").splitlines()[1:]:
            columns = line.split(None, 7)
            if columns[7:] == [self._path.encode()] and columns[5] == _UNIX_LISTENS:
                return columns[6]
        return b""

    def _of_owner(self, inode: bytes) -> str:
        """The cgroup of the first process that has the socket open."""
        if namespace.shared(self._reader, "cgroup") is False:
            return ""  # paths are relative to our own
        wanted = f"socket:[{inode.decode()}]"
        for pid in self._reader.root.names("proc"):
            if pid.isdigit() and pid != "1" and self._has(pid, wanted):
                return _path(self._reader.read_once(f"proc/{pid}/cgroup") or b"")
        return ""

    def _has(self, pid: str, wanted: str) -> bool:
        root = self._reader.root
        try:
            return any(root.link(f"proc/{pid}/fd/{fd}") == wanted for fd in root.names(f"proc/{pid}/fd"))
        except OSError:  # it ended, or may not be seen
            return False


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(text: bytes) -> str:
    """The longest path in ``proc/PID/cgroup``: on v1 not all hierarchies have the cgroup of the process."""
    paths = [line.split(":", 2)[-1] for line in text.decode("utf-8", "surrogateescape").splitlines()]
    return max(paths, key=len, default="").replace("/..", "").rstrip("/")
