"""Containers without a runtime: cgroups with docker's names and docker's files, and processes that wait for a word."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from booting import cgroups, entering, remove

_END_S: Final = 60
Controls = Mapping[str, object]  # control file → its text; of the files of v1 and v2 those that exist are written


def memory(size: int) -> Controls:
    """At most ``size`` bytes."""
    return {"memory.limit_in_bytes": size, "memory.max": size}


def quota(us: int) -> Controls:
    """CPU time per 100 ms."""
    return {"cpu.cfs_quota_us": us, "cpu.max": f"{us} 100000"}


def weight(times: int) -> Controls:
    """A multiple of the usual share of the CPUs."""
    return {"cpu.shares": 1024 * times, "cpu.weight": 100 * times}


def tasks(number: int) -> Controls:
    """At most so many tasks."""
    return {"pids.max": number}


def writes(bytes_per_s: int, directory: Path) -> Controls:
    """At most so many bytes per second written to the disk of ``directory``."""
    device = os.stat(directory).st_dev
    disk = f"{os.major(device)}:{os.minor(device)}"
    return {"blkio.throttle.write_bps_device": f"{disk} {bytes_per_s}", "io.max": f"{disk} wbps={bytes_per_s}"}


class Boxes:
    """Makes containers below a cgroup of their own; ``data_root``: docker's, for the collector."""

    def __init__(self, data_root: Path) -> None:
        self.data_root = data_root
        self._parent = f"shipper-test-{secrets.token_hex(4)}"
        self._tops = cgroups(self._parent)
        for top in self._tops:
            top.mkdir(exist_ok=True)
            with suppress(OSError):  # v2
                (top / "cgroup.subtree_control").write_text("+cpu +memory +io +pids")
        _write(self._tops, weight(8))  # also on a machine that others use
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def start(self, name: str, image: str, script: str, controls: Controls | None = None) -> None:
        """A container ``name`` whose shell ``script`` runs after ``go``."""
        id_ = hashlib.sha256(f"{self._parent} {name} {image}".encode()).hexdigest()
        file = self.data_root / "containers" / id_ / "config.v2.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"Name": f"/{name}", "Config": {"Image": image}}))
        own = cgroups(f"{self._parent}/docker-{id_}.scope")
        for directory in own:
            directory.mkdir(exist_ok=True)
        _write(own, controls or {})
        words = ["/bin/sh", "-c", f"{entering(own)} read go && {script}"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._running[name] = process, own[0] / "cgroup.procs"

    def go(self, *names: str) -> None:
        """Let the scripts of these containers begin."""
        for name in names:
            pipe = self._running[name][0].stdin
            assert pipe
            pipe.write(b"go\n")
            pipe.flush()

    def stop(self, *names: str) -> None:
        """End the processes of these containers; their cgroups remain until ``close``."""
        for name in names:
            process, file = self._running.pop(name)
            process.kill()
            process.wait()
            end = time.monotonic() + _END_S
            while left := file.read_text().split():  # some may have been made since
                assert time.monotonic() < end, name
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind."""
        self.stop(*list(self._running))
        for top in self._tops:
            remove(top)


def _write(directories: list[Path], controls: Controls) -> None:
    files = {(directory / name).resolve(): text for directory in directories for name, text in controls.items()}
    there = {file: text for file, text in files.items() if file.exists()}
    assert there or not controls, controls
    for file, text in there.items():
        file.write_text(str(text))
