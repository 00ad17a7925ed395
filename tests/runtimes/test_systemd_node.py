"""A booted systemd, its services and its bus, against what systemctl says of them.

The node is this machine's own file system below an overlay, booted by systemd-nspawn in a cgroup of its own; nothing of
the machine is changed by it.
"""

import os
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from captured import Ticks

from shipper.collect import cgroup, systemd
from shipper.collect.hierarchy import detect
from shipper.rates import Value
from shipper.source import Reader, Root

pytestmark = [pytest.mark.root, pytest.mark.needs("systemd-nspawn", "dbus-daemon")]

BOOT_S = 60.0
UNITS = {
    "busy.service": "[Service]\nExecStart=/bin/sh -c 'while :; do :; done'\nCPUAccounting=yes\n",
    "broken.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "node.target": "[Unit]\nRequires=basic.target dbus.socket\nWants=busy.service broken.service\n",
}


@dataclass
class Node:
    """``cgroup``: of its service tree, below the hierarchies' root; ``init``: its pid 1 as this machine sees it."""

    cgroup: str
    init: int

    def systemctl(self, *words: str) -> str:
        command = ["nsenter", "--target", str(self.init), "--mount", "--pid", "systemctl", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    base = tmp_path_factory.mktemp("node")
    name = f"shipper-test-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        run("mount", "-t", "tmpfs", "tmpfs", str(base))
        stack.callback(run, "umount", str(base))
        tree, units = base / "root", base / "upper/etc/systemd/system"
        for directory in (tree, units, base / "work"):
            directory.mkdir(parents=True)
        for unit, text in UNITS.items():
            (units / unit).write_text(text)
        layers = f"lowerdir=/,upperdir={base}/upper,workdir={base}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(tree))
        stack.callback(run, "umount", "--lazy", str(tree))
        directories = [Path("/", hierarchy, name) for hierarchy in detect(Reader(Root()))[1].values()]
        stack.callback(emptied, name)
        for directory in directories:
            directory.mkdir()
        yield booted(stack, tree, directories, name)


def booted(stack: ExitStack, tree: Path, directories: list[Path], name: str) -> Node:
    """Start the node in the cgroups of ``directories`` and wait until its target is reached."""
    enter = "".join(f"echo $$ > {directory}/cgroup.procs; " for directory in directories)
    nspawn = f"exec systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --directory={tree}"
    words = f"{enter}{nspawn} --machine={name} --console=pipe systemd.unit=node.target"
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}  # else it keeps no accounts on a hybrid host
    process = subprocess.Popen(
        ["sh", "-c", words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    stack.callback(ended, process)
    until = time.monotonic() + BOOT_S
    while time.monotonic() < until:
        children = psutil.Process(process.pid).children()
        if children:
            one = Node(f"/{name}/payload", children[0].pid)
            if one.systemctl("is-active", "node.target").strip() == "active":
                return one
        assert process.poll() is None, "systemd-nspawn ended"
        time.sleep(0.1)
    raise AssertionError(f"not booted within {BOOT_S} s")


def ended(process: subprocess.Popen[bytes]) -> None:
    for child in psutil.Process(process.pid).children():
        child.send_signal(signal.SIGKILL)  # the node's pid 1: all of its processes end with it
    process.kill()
    process.wait()


def emptied(name: str) -> None:
    """Remove a cgroup with all below it from every hierarchy, as soon as its last process is gone."""
    until = time.monotonic() + BOOT_S
    while left := list(Path("/sys/fs/cgroup").glob(f"**/{name}")):
        assert time.monotonic() < until, left
        for path in (path for directory in left for path, _, _ in os.walk(directory, topdown=False)):
            try:
                os.rmdir(path)
            except OSError:
                time.sleep(0.05)


def cgroups() -> dict[str, dict[str, Value]]:
    """The documents of this machine's cgroups by path."""
    ticks = Ticks(Root(), (cgroup.COLLECTOR,))
    try:
        return ticks.tick()["cgroup"]
    finally:
        ticks.close()


def test_cpu_of_a_service_is_what_systemd_accounts(node: Node) -> None:
    path = f"{node.cgroup}/system.slice/busy.service"
    before = cgroups()[path]
    theirs = int(node.systemctl("show", "--property=CPUUsageNSec", "--value", "busy.service"))
    after = cgroups()[path]
    assert (before["cgroup.kind"], before["cgroup.name"], before["cgroup.aggregate"]) == (
        "service",
        "busy.service",
        False,
    )
    first, second = before["cgroup.cpu.usage.ns"], after["cgroup.cpu.usage.ns"]
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert 0 < first * 0.98 <= theirs <= second * 1.02


def test_every_running_service_of_systemd_has_a_document(node: Node) -> None:
    listed = node.systemctl("list-units", "--type=service", "--state=running", "--no-legend", "--plain").splitlines()
    running = {line.split()[0] for line in listed}
    assert "busy.service" in running
    named = {values["cgroup.name"] for path, values in cgroups().items() if path.startswith(node.cgroup)}
    assert running <= named


def test_units_by_state_are_those_that_systemctl_lists(node: Node) -> None:
    ticks = Ticks(Root(f"/proc/{node.init}/root"), (systemd.COLLECTOR,))
    values = ticks.tick()["host"][""]
    listed = node.systemctl("list-units", "--all", "--no-legend", "--plain").splitlines()
    states = Counter(line.split()[2] for line in listed)
    assert "broken.service" in str(values["system.systemd.failed"])
    for state in ("active", "failed"):
        ours = values[f"system.systemd.units.{state}.count"]
        assert isinstance(ours, int)
        assert abs(ours - states[state]) <= 1, "a unit may come or go between the two questions"
    assert ticks.problems == []
    ticks.close()
