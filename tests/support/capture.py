"""Copy the kernel files that the collectors read into tests/hosts/NAME/{0,1}.txt, two moments apart, scrubbed.

    .venv/bin/python tests/support/capture.py NAME [--root /] [--pause 10] [--rename OLD=NEW ...] [--lean]

What could tell of the machine is not kept: host name, machine id and boot id are fixed fakes, addresses are not read
at all, process names and command lines neither, ids of containers and pods are replaced by
others of their shape, mount sources are reduced to their kind. ``--rename`` replaces whatever else should not be
seen, ``--lean`` leaves out cgroup files that no collector reads, for hosts with many cgroups.
"""

import argparse
import errno
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import capture_containers
import moments

from shipper.kernel import mountinfo
from shipper.kernel.namespace import of_host, of_pid
from shipper.kernel.source import Reader, Root

BOOT_ID = "01234567-89ab-4cde-8f01-23456789abcd"
MACHINE_ID = "0123456789abcdef0123456789abcdef"
MOST_PROCESSES = 40
PLAIN = (
    "etc/os-release", "usr/lib/os-release", "proc/devices", "proc/diskstats", "proc/loadavg", "proc/meminfo",
    "proc/pressure/cpu", "proc/pressure/io", "proc/pressure/irq", "proc/pressure/memory", "proc/softirqs", "proc/stat",
    "proc/sys/kernel/arch", "proc/uptime", "proc/vmstat", "proc/1/net/dev", "proc/1/net/netstat",
    "proc/1/net/snmp", "proc/1/net/sockstat", "proc/1/net/sockstat6", "proc/1/net/fib_trie", "proc/1/net/if_inet6",
)  # fmt: skip
CGROUP_FILES = re.compile(r"(cpu|cpuacct|memory|pids|blkio|io|irq|cgroup|freezer|rdma|misc)\.[a-z_.]+$|hugetlb\.")
# Long, or made for writing, or of no use without the machine
CGROUP_LEFT_OUT = re.compile(r"cgroup\.(event_control|kill|threads)$|.*(percpu|usage_all|numa_stat|slabinfo|reclaim).*")
CGROUP_MARKS = ("cgroup.controllers", "cgroup.procs", "cgroup.events")
# An id has a letter in it, a count has none
LONG_HEX = re.compile(
    r"[0-9a-f]{8}([-_])[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}|(?=[0-9]*[a-f])[0-9a-f]{12,}"
)
STATVFS = (
    "f_bsize",
    "f_frsize",
    "f_blocks",
    "f_bfree",
    "f_bavail",
    "f_files",
    "f_ffree",
    "f_favail",
    "f_flag",
    "f_namemax",
)


class Scrubber:
    """The same fake for the same id, in both moments and in all files."""

    def __init__(self, renames: list[tuple[str, str]]) -> None:
        self._renames = renames
        self._ids: dict[str, str] = {}

    def text(self, text: str) -> str:
        for old, new in self._renames:
            text = text.replace(old, new)
        text = re.sub(r"/home/[^/\s]+", "/home/user", text)
        return LONG_HEX.sub(self._id, text)

    def _id(self, match: re.Match[str]) -> str:
        plain = re.sub(r"[-_]", "", match[0])
        fake = self._ids.setdefault(plain, hashlib.sha256(f"id {len(self._ids)}".encode()).hexdigest())
        digits = iter(fake)
        return "".join(char if char in "-_" else next(digits) for char in match[0])

    def mountinfo(self, text: str) -> str:
        lines = []
        for line in text.splitlines():
            before, _, after = line.partition(" - ")
            type_, source, options = after.split(" ", 2)
            words = before.split(" ")
            root = words[3] if words[3] == "/" else "/part"
            kept = options.split(",")[0]
            lines.append(" ".join([*words[:3], root, *words[4:], "-", type_, _source(source), kept]))
        return self.text("\n".join(lines) + "\n")


def _source(source: str) -> str:
    if re.fullmatch(r"/dev/[a-z]+[0-9a-z]*|[a-z0-9_]+|none", source):
        return source
    if source.startswith("/dev/mapper/"):
        return "/dev/mapper/volume"
    return "server:/export" if ":" in source else "source"


class Moment:
    def __init__(self, root: Root, directory: Path, scrubber: Scrubber, asked: set[str], *, lean: bool) -> None:
        """``asked``: the paths that the cgroup collector asked for."""
        self._root, self._directory, self._scrubber = root, directory, scrubber
        self._asked, self._lean = asked, lean
        self._facts: dict[str, dict[str, list[int]]] = {"statvfs": {}, "stat": {}}

    def capture(self) -> None:
        now, wall = self._root.now_ns(), time.time()
        for path in PLAIN:
            self._copy(path)
        self._identity()
        self._mounts()
        self._devices()
        self._processes()
        self._cgroups()
        self._containers()
        moment = {"now_ns": now, "wall": round(wall, 3), **self._facts}
        self._write("moment.json", json.dumps(moment, indent=1, sort_keys=True) + "\n")

    def _read(self, path: str) -> str | None:
        try:
            return Path(self._root.absolute(path)).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            if error.errno not in (
                errno.ENOENT,
                errno.ENOTDIR,
                errno.EINVAL,
                errno.EACCES,
                errno.EOPNOTSUPP,
                errno.EIO,
            ):
                raise
            return None

    def _write(self, path: str, text: str) -> None:
        target = self._directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="surrogateescape")

    def _copy(self, path: str, to: str | None = None) -> None:
        text = self._read(path)
        if text is not None:
            self._write(to or path, self._scrubber.text(text))

    def _identity(self) -> None:
        self._write("etc/hostname", "captured\n")
        self._write("etc/machine-id", f"{MACHINE_ID}\n")
        self._write("proc/sys/kernel/random/boot_id", f"{BOOT_ID}\n")
        release = re.match(r"[\d.]*\d", self._read("proc/sys/kernel/osrelease") or "0")
        self._write("proc/sys/kernel/osrelease", f"{release[0] if release else 0}\n")

    def _mounts(self) -> None:
        text = self._read("proc/1/mountinfo") or ""
        self._write("proc/1/mountinfo", self._scrubber.mountinfo(text))
        for mount in mountinfo.parse(text.encode("utf-8", "surrogateescape")):
            path = os.fsdecode(mount.point)
            if mount.type.startswith(("nfs", "cifs", "fuse", "autofs")):
                continue
            try:
                stat, vfs = self._root.stat(path), self._root.statvfs(path)
            except OSError:
                continue
            shown = self._scrubber.text(path)
            self._facts["stat"][shown] = [stat.st_mode, stat.st_dev, stat.st_ino]
            self._facts["statvfs"][shown] = [getattr(vfs, name) for name in STATVFS]

    def _devices(self) -> None:
        for name in self._names("sys/block"):
            self._copy(f"sys/block/{name}/dev")
            if os.path.lexists(self._root.absolute(f"sys/block/{name}/device")):
                self._write(f"sys/block/{name}/device", "")
        for name in self._names("sys/class/net"):
            for file in ("ifindex", "operstate", "mtu", "speed"):
                self._copy(f"sys/class/net/{name}/{file}")
            for file in ("device", "bridge"):
                if os.path.lexists(self._root.absolute(f"sys/class/net/{name}/{file}")):
                    self._write(f"sys/class/net/{name}/{file}", "")

    def _processes(self) -> None:
        pids = sorted(int(name) for name in self._names("proc") if name.isdigit())
        for pid in pids[:MOST_PROCESSES]:
            self._process(pid)

    def _process(self, pid: int) -> None:
        stat, status = self._read(f"proc/{pid}/stat"), self._read(f"proc/{pid}/status")
        if stat and status:
            self._write(f"proc/{pid}/stat", f"{pid} (process) {stat[stat.rindex(')') + 2 :]}")
            state = next(line for line in status.splitlines() if line.startswith("State:"))
            self._write(f"proc/{pid}/status", f"Name:\tprocess\n{state}\n")

    def _containers(self) -> None:
        for path, text in capture_containers.name_files(self._asked, self._root):
            self._write(self._scrubber.text(path), self._scrubber.text(text))
        for pid in (1, *capture_containers.members(self._asked)):
            reader = Reader(self._root)
            namespace = of_host(reader, "net") if pid == 1 else of_pid(reader, pid, "net")
            if not namespace:
                continue
            self._process(pid)
            self._copy(f"proc/{pid}/net/dev")
            target = self._directory / f"proc/{pid}/ns/net"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(namespace)

    def _cgroups(self) -> None:
        for directory, _, files in self._walk("sys/fs/cgroup"):
            stat = self._root.stat(directory)
            shown = self._scrubber.text(directory)
            self._facts["stat"][shown] = [stat.st_mode, stat.st_dev, stat.st_ino, int(stat.st_ctime)]
            for file in files:
                if self._lean and f"{directory}/{file}" not in self._asked and file not in CGROUP_MARKS:
                    continue
                if file == "tasks":
                    self._write(f"{shown}/{file}", "")
                elif CGROUP_FILES.match(file) and not CGROUP_LEFT_OUT.match(file):
                    self._copy(f"{directory}/{file}", f"{shown}/{file}")

    def _walk(self, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
        top = self._root.absolute("")
        for directory, directories, files in os.walk(self._root.absolute(path)):
            yield os.path.relpath(directory, top), directories, sorted(files)

    def _names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self._root.absolute(path)))
        except OSError:
            return []


def main() -> int:
    parser = argparse.ArgumentParser(description="Copy kernel files of this machine into tests/hosts/NAME, scrubbed.")
    parser.add_argument("name")
    parser.add_argument("--root", default="/")
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between the two moments")
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="further text to replace")
    parser.add_argument("--lean", action="store_true", help="only cgroup files that a collector reads")
    parser.add_argument("--docker-root", action="append", default=[], metavar="DIR", help="another data root of docker")
    options = parser.parse_args()
    pairs = [(old, new) for old, _, new in (rename.partition("=") for rename in options.rename)]
    root, scrubber = Root(options.root), Scrubber(pairs)
    with tempfile.TemporaryDirectory() as directory:
        moments_of = [Path(directory, moment) for moment in ("0", "1")]
        for target in moments_of:
            if target != moments_of[0]:
                time.sleep(options.pause)
            asked = capture_containers.asked_for(options.root, tuple(options.docker_root))
            Moment(root, target, scrubber, asked, lean=options.lean).capture()
        moments.store(options.name, *moments_of)
    for path in sorted((moments.STORED / options.name).glob("?.txt")):
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
