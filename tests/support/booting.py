"""Booted nodes: this machine's own file system below an overlay, systemd as pid 1, on a bridge that the test made.

systemd-nspawn boots them, so /proc shows their own processes only, and their cgroup v2 has no controllers where this
machine keeps these on v1. Nothing of the machine is changed, and nothing of the nodes is left behind.
"""

import ctypes
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from readme import REPOSITORY

from shipper.kernel.hierarchy import detect
from shipper.kernel.source import Reader, Root

BOOT_S = 60.0
_RUN_S = 240  # pip and apt on a busy machine
NETWORK = "10.123.45."
SERVER = f"{NETWORK}1"
# The operator's part of /etc: of the machine's own no unit, no container and no shipper is to be seen
HIDDEN = ("etc/systemd/system", "etc/shipper", "var/lib/docker", "var/lib/containers", "var/lib/shipper")
CHECKOUT = "/opt/checkout"
# The shipper of this checkout, for a unit of a node
_PYTHON = sys.executable.replace(str(REPOSITORY), CHECKOUT)
PROGRAM = f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {_PYTHON} -m shipper "$@"\n'
_CLONE_NEWNET = 0x40000000


def run(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=_RUN_S, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def until(met: Callable[[], object], what: str, seconds: float = BOOT_S) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


class Bridge:
    """A network namespace with a bridge; ``server`` is reachable in it at SERVER:9200 while it is up."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.name = f"shipper-{secrets.token_hex(3)}"
        self._upstream = upstream
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    @contextmanager
    def made(self) -> Iterator["Bridge"]:
        run("ip", "netns", "add", self.name)
        try:
            self.ip("link", "add", "br0", "type", "bridge")
            self.ip("addr", "add", f"{SERVER}/24", "dev", "br0")
            self.ip("link", "set", "br0", "up")
            self.up()
            yield self
        finally:
            self.down()
            run("ip", "netns", "del", self.name)

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    @contextmanager
    def port(self, number: int) -> Iterator[str]:
        """A namespace on the bridge with the address of that number, not up yet."""
        name = f"{self.name}-{number}"
        run("ip", "netns", "add", name)
        try:
            self.ip("link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            self.ip("link", "set", f"p{number}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"{NETWORK}{number}/24", "dev", "eth0")
            yield name
        finally:
            run("ip", "netns", "del", name)

    def up(self) -> None:
        self._listener = _inside(self.name, lambda: socket.create_server((SERVER, 9200)))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and cut those there are."""
        for one in [self._listener, *self._open]:
            if one:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._listener = None
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                inner, _ = listener.accept()
                threading.Thread(target=self._join, args=(inner,), daemon=True).start()

    def _join(self, inner: socket.socket) -> None:
        with suppress(OSError, ValueError), socket.create_connection(self._upstream) as outer, inner:
            self._open |= {inner, outer}
            waiting = select.poll()  # select takes no descriptor above 1023, of which a long test run has many
            for one in (inner, outer):
                waiting.register(one, select.POLLIN)
            while True:
                for number, _ in waiting.poll():
                    one = inner if number == inner.fileno() else outer
                    part = one.recv(1 << 16)
                    if not part:
                        return
                    (outer if one is inner else inner).sendall(part)


def _inside(namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
    """What ``make`` makes in a network namespace: a thread goes there, and with it ends."""
    made: list[socket.socket] = []

    def enter() -> None:
        with Path("/run/netns", namespace).open() as file:
            assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) == 0, ctypes.get_errno()
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


@dataclass
class Node:
    """``tree``: its root directory as this machine sees it; ``init``: its pid 1 while it is up, likewise."""

    name: str
    tree: Path
    namespace: str
    cgroups: list[Path]
    init: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def cgroup(self) -> str:
        """Path of its root cgroup in this machine's hierarchies."""
        return f"/{self.name}/payload"

    def boot(self, *, network: bool = True) -> None:
        """Start it and wait until multi-user.target is reached."""
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        self.network(up=network)
        for directory in self.cgroups:
            directory.mkdir(exist_ok=True)
        nspawn = f"exec systemd-nspawn --quiet --boot --register=no --keep-unit --directory={self.tree}"
        nspawn += f" --network-namespace-path=/run/netns/{self.namespace} --machine={self.name} --console=pipe"
        nspawn += " --capability=all --system-call-filter='adjtimex clock_adjtime @keyring bpf'"  # also for docker
        nspawn += " --resolv-conf=off --timezone=off"
        nspawn += " --bind-ro=/dev/kmsg" if os.path.exists("/dev/kmsg") else ""
        nspawn += f" --bind-ro={REPOSITORY} --bind-ro={REPOSITORY}:{CHECKOUT}"  # nodes and units may have own /tmp
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}  # else no accounts on a hybrid host
        with Path(f"{self.tree}-console").open("ab") as log:
            words = ["sh", "-c", entering(self.cgroups) + nspawn]
            self._process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._is_booted, f"{self.name} to boot")

    def _is_booted(self) -> bool:
        assert self._process
        assert self._process.poll() is None, Path(f"{self.tree}-console").read_text()[-2000:]
        children = psutil.Process(self._process.pid).children()
        self.init = children[0].pid if children else 0
        return bool(children) and self.systemctl("is-active", "multi-user.target") == "active"

    def network(self, *, up: bool) -> None:
        run("ip", "-n", self.namespace, "link", "set", "eth0", "up" if up else "down")

    def kill(self) -> None:
        """As a power cut: its pid 1 is killed, and with it all of its processes."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            for child in psutil.Process(self._process.pid).children():
                child.send_signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None
        self.init = 0
        for directory in self.cgroups:
            remove(directory)

    def enter(self, *words: str) -> list[str]:
        spaces = [f"--{name}" for name in ("mount", "uts", "ipc", "net", "pid", "cgroup")]
        return ["nsenter", "--target", str(self.init), *spaces, *words]

    def run(self, *words: str) -> str:
        return run(*self.enter(*words))

    def systemctl(self, *words: str) -> str:
        words = tuple(self.enter("systemctl", *words))
        return subprocess.run(words, capture_output=True, text=True, timeout=90, check=False).stdout.strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def main_pid(self, unit: str = "shipper.service") -> int:
        return int(self.systemctl("show", "--property=MainPID", "--value", unit) or 0)


@contextmanager
def node(base: Path, bridge: Bridge, number: int) -> Iterator[Node]:
    """A node that is not booted yet; its name and machine-id are its own."""
    name = f"node-{number}-{secrets.token_hex(2)}"
    with ExitStack() as stack:
        namespace = stack.enter_context(bridge.port(number))
        tree, upper = base / name, base / f"{name}-upper"
        for directory in (tree, base / f"{name}-work", *(upper / hidden for hidden in HIDDEN)):
            directory.mkdir(parents=True)
        for hidden in HIDDEN:
            os.setxattr(upper / hidden, "trusted.overlay.opaque", b"y")
        (upper / "etc/hostname").write_text(f"{name}\n")
        (upper / "etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
        (upper / "etc/hosts").write_text(f"127.0.0.1 localhost\n{NETWORK}{number} {name}\n")
        layers = f"lowerdir=/,upperdir={upper},workdir={base}/{name}-work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, tree)
        stack.callback(run, "umount", "--lazy", tree)
        (tree / "var/lib/man-db/auto-update").unlink(missing_ok=True)  # else dpkg indexes all manual pages each time
        one = Node(name, tree, namespace, cgroups(name))
        stack.callback(_forget, name)
        stack.callback(one.kill)
        yield one


def _forget(name: str) -> None:
    """What a killed systemd-nspawn leaves in /run."""
    with suppress(OSError):
        Path("/run/systemd/nspawn/propagate", name).rmdir()


def cgroups(name: str) -> list[Path]:
    """Where a cgroup of that name would be, in every hierarchy that counts and in systemd's."""
    found = [Path("/", hierarchy, name) for hierarchy in detect(Reader(Root())).hierarchies.values()]
    systemd = Path("/sys/fs/cgroup/systemd")
    return [*found, systemd / name] if systemd.is_dir() else found


def entering(cgroups: list[Path]) -> str:
    """A shell line that puts what follows into them."""
    return "".join(f"echo $$ > {directory}/cgroup.procs; " for directory in cgroups)


@contextmanager
def own_cgroup() -> Iterator[tuple[str, str]]:
    """Its name, and a shell line that enters it; removed with all that was made below it."""
    name = f"shipper-test-{secrets.token_hex(4)}"
    made = cgroups(name)
    for directory in made:
        directory.mkdir()
    try:
        yield name, entering(made)
    finally:
        for directory in made:
            remove(directory)


@contextmanager
def space(directory: Path) -> Iterator[Path]:
    """Memory for the nodes' own files."""
    directory.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", directory)
    try:
        yield directory
    finally:
        run("umount", "--lazy", directory)
        shutil.rmtree(directory, ignore_errors=True)


def remove(top: Path) -> None:
    """A cgroup with all below it, as soon as its last process is gone."""
    end = time.monotonic() + BOOT_S
    while top.exists():
        assert time.monotonic() < end, f"{top} is still busy"
        for path, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(path)
        time.sleep(0.02)
