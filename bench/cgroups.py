"""Real cgroups of the benchmark's own, as many as asked for, each with a process; removed again whatever happens."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipper.collect.hierarchy import detect
from shipper.source import Reader, Root

_SLEEP_S = "3600"


def _directories(name: str) -> list[Path]:
    _, hierarchies = detect(Reader(Root()))
    return [Path("/", base, name) for base in hierarchies.values()]


@contextmanager
def cgroups(count: int) -> Iterator[str]:
    """``count`` containers, as docker's cgroupfs driver names them, below a cgroup whose name is given."""
    name = f"shipper-bench-{secrets.token_hex(3)}"
    ids = [secrets.token_hex(32) for _ in range(count)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for one in ids:
            process = subprocess.Popen(["sleep", _SLEEP_S], stdout=subprocess.DEVNULL)
            processes.append(process)
            for base in _directories(name):
                directory = base / one
                directory.mkdir(parents=True, exist_ok=True)
                (directory / "cgroup.procs").write_text(str(process.pid))
        yield name
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        for base in _directories(name):
            for one in ids:
                if (base / one).exists():
                    (base / one).rmdir()
            if base.exists():
                base.rmdir()
