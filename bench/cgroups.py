"""Real cgroups for the benchmarks, each with a process. They are always removed again."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.compiled import compiled
from shipper.kernel.hierarchy import UNIFIED, Mode, detect
from shipper.kernel.source import Reader, Root

_BUSY_S = 1.0  # until each busy process has worked for the first time


def mode() -> Mode:
    """How cgroups are mounted on this host."""
    return detect(Reader(Root())).mode


def _directories(name: str) -> list[Path]:
    hierarchies = detect(Reader(Root())).hierarchies
    return [Path("/", base, name) for base in hierarchies.values()]


class Account:
    """CPU time of a process and all its descendants, to the nanosecond, measured by a cgroup."""

    def __init__(self, pid: int) -> None:
        hierarchies = detect(Reader(Root())).hierarchies
        base = hierarchies.get("cpuacct") or hierarchies[UNIFIED]
        self._directory = Path("/", base, f"shipper-bench-{secrets.token_hex(3)}")
        self._directory.mkdir()
        (self._directory / "cgroup.procs").write_text(str(pid))

    def ms(self) -> float:
        """CPU time so far in ms."""
        v1 = self._directory / "cpuacct.usage"
        if v1.exists():
            return int(v1.read_text()) / 1e6
        return int((self._directory / "cpu.stat").read_text().split()[1]) / 1e3

    def close(self) -> None:
        """Remove the cgroup; its processes must have ended."""
        self._directory.rmdir()


@contextmanager
def cgroups(count: int, *, busy: bool = False, occupied: bool = True) -> Iterator[str]:
    """``count`` containers, named like those of docker's cgroupfs driver; yields the name of their parent cgroup.

    Each has a process if they are ``occupied``.
    """
    name = f"shipper-bench-{secrets.token_hex(3)}"
    ids = [secrets.token_hex(32) for _ in range(count)]
    command = [compiled("sleeper"), "busy" if busy else "idle"]
    bases = _directories(name)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for directory in (base / id_ for base in bases for id_ in ids):
            directory.mkdir(parents=True, exist_ok=True)
        for id_ in ids if occupied else ():
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            processes.append(process)
            for base in bases:
                (base / id_ / "cgroup.procs").write_text(str(process.pid))
        time.sleep(_BUSY_S if busy and count else 0)
        yield name
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()
        for base in bases:
            for id_ in ids:
                if (base / id_).exists():
                    (base / id_).rmdir()
            if base.exists():
                base.rmdir()
