"""Real cgroups under work of many kinds: what is read only after a sign equals what is read at every tick."""

import secrets
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.collect.cgroup import controllers, reading
from shipper.collect.cgroup.reading import FileTable, TickFiles
from shipper.kernel.hierarchy import Layout, Node, detect
from shipper.kernel.source import Descriptors, Reader, Root

pytestmark = pytest.mark.root

MIB = 1 << 20
ACTS = 4  # of each worker: the second follows at once, before the others the cgroups come to rest
LIMIT_S = 60  # until they do, on a busy machine
CHARGED_S = 0.05  # the CPU time of a task that runs is charged at the next timer tick
RESTS = 3  # ticks of each cgroup between two acts at which its values were held and compared

# Joins the cgroups named by its arguments, then does what each line of its input says
WORKER = """
import mmap, os, signal, socket, sys, time
for path in sys.argv[3:]:
    with open(path + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
port, file = int(sys.argv[1]), sys.argv[2]
link = socket.create_connection(("127.0.0.1", port))
def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(20_000))
def cpu():
    burn(0.3)
def memory():
    bytearray(b"x") * (24 << 20)
def keep():
    global kept
    kept = bytearray(b"x") * (8 << 20)
def fork():
    for _ in range(6):
        try:
            if os.fork() == 0:
                time.sleep(0.5)
                os._exit(0)
        except BlockingIOError:
            pass
def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
def oom():
    pid = os.fork()
    if pid == 0:
        block = mmap.mmap(-1, 256 << 20)
        for at in range(0, 256 << 20, 4096):
            block[at] = 1
        os._exit(0)
    os.waitpid(pid, 0)
def write():
    one = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(one, b"x" * (4 << 20))
    os.fsync(one)
    os.close(one)
def dirty():
    with open(file, "wb") as one:
        one.write(b"x" * (2 << 20))
def send():
    link.setblocking(False)
    try:
        while link.send(b"x" * 65536):
            pass
    except BlockingIOError:
        pass
def nap():
    time.sleep(0.01)
def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
for line in sys.stdin:
    globals()[line.strip()]()
"""
# Of each cgroup, what its worker does
KINDS = {
    "cpu": "cpu", "memory": "memory", "keep": "keep", "throttled": "cpu", "forks": "fork", "reaped": "reap",
    "killed": "oom", "written": "write", "dirty": "dirty", "sockets": "send", "naps": "nap", "stopped": "stop",
    "moved": "", "idle": "",
}  # fmt: skip
RESTLESS = {"killed", "written", "dirty"}  # shares of the time that tasks stalled on memory or I/O fall for minutes


class Box:
    """A cgroup in every hierarchy, with a worker."""

    def __init__(self, kind: str, directories: list[Path], port: int) -> None:
        self.kind, self.directories = kind, directories
        self.file = Path("/var/tmp") / f"{directories[0].parent.name}-{kind}"
        arguments = [sys.executable, "-c", WORKER, str(port), str(self.file), *map(str, directories)]
        self.worker = subprocess.Popen(arguments, stdin=subprocess.PIPE, text=True)

    def set(self, name: str, value: int) -> None:
        """Write to the file of this name, in the hierarchy that has it."""
        for directory in self.directories:
            if (directory / name).exists():
                (directory / name).write_text(f"{value}\n")

    def act(self, spare: list[Path]) -> None:
        assert self.worker.stdin
        if self.kind == "moved":  # a sleeping task comes and goes
            here = str(self.worker.pid) in (self.directories[0] / "cgroup.procs").read_text().split()
            for directory in spare if here else self.directories:
                (directory / "cgroup.procs").write_text(f"{self.worker.pid}\n")
        if action := KINDS[self.kind]:
            with suppress(BrokenPipeError):
                print(action, file=self.worker.stdin, flush=True)

    def close(self) -> None:
        self.worker.kill()
        self.worker.communicate()
        self.file.unlink(missing_ok=True)


class Site:
    """One cgroup per kind of work, below one of the test's own in every hierarchy."""

    def __init__(self, layout: Layout, port: int) -> None:
        self.name = f"shipper-test-{secrets.token_hex(4)}"
        self._tops = [Path("/", base, self.name) for base in dict.fromkeys(layout.hierarchies.values())]
        self._made: list[Path] = []
        self.spare = self._make("spare")
        self.boxes = {kind: Box(kind, self._make(kind), port) for kind in KINDS}
        self.boxes["throttled"].set("cpu.cfs_quota_us", 2000)
        self.boxes["forks"].set("pids.max", 4)
        self.boxes["killed"].set("memory.limit_in_bytes", 32 * MIB)
        self.boxes["killed"].set("memory.max", 32 * MIB)

    def _make(self, name: str) -> list[Path]:
        made = [top / name for top in self._tops]
        for directory in made:
            directory.mkdir(parents=True)
        self._made += made
        return made

    def close(self) -> None:
        for box in self.boxes.values():
            box.close()
        deadline = time.monotonic() + 10
        while any((one / "cgroup.procs").read_text() for one in self._made) and time.monotonic() < deadline:
            time.sleep(0.05)  # children of the workers
        for directory in [*self._made, *self._tops]:
            directory.rmdir()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Accepts nobody: what is sent stays in the sockets."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as one:
        yield one


@pytest.fixture
def site(peer: socket.socket) -> Iterator[Site]:
    one = Site(detect(Reader(Root())), peer.getsockname()[1])
    try:
        yield one
    finally:
        one.close()


def table(monkeypatch: pytest.MonkeyPatch, layout: Layout, *, held: bool) -> FileTable:
    specs = controllers.table(layout)
    monkeypatch.setattr(reading, "table", lambda _: specs if held else [replace(one, held=False) for one in specs])
    return FileTable(Reader(Root("/", Descriptors(5000))), layout)


def both(held: TickFiles, plain: TickFiles) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What each reads at the same moment; None if the files change meanwhile."""
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    before, values, after = plain.read(now_ns), held.read(now_ns), plain.read(now_ns)
    return (values, before) if before == after else None


def test_held_values_are_those_of_the_files(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = detect(Reader(Root()))
    node = Node(inodes=dict.fromkeys(layout.hierarchies, 1))
    watched: dict[str, tuple[TickFiles, TickFiles]] = {}
    for kind in site.boxes:
        path = f"/{site.name}/{kind}"
        watched[kind] = tuple(TickFiles(table(monkeypatch, layout, held=held), path, node) for held in (True, False))  # type: ignore[assignment]
    rested: Counter[str] = Counter()
    seen: dict[str, set[tuple[Any, ...]]] = {kind: set() for kind in KINDS}
    wrong = []

    def tick() -> None:
        time.sleep(1)  # the pace of an agent with a period of one second
        for kind, files in watched.items():
            at_rest = files[0]._hold
            pair = both(*files)
            if pair and pair[0] != pair[1]:
                time.sleep(CHARGED_S)
                pair = both(*files)
            if not pair:  # it changes at this moment
                continue
            values, right = pair
            seen[kind].add(tuple(sorted((name, str(value)) for name, value in right.items())))
            rested[kind] += at_rest and files[0]._hold
            if values != right:
                wrong.append(
                    {name: (values.get(name), right[name]) for name in right if values.get(name) != right[name]}
                )

    tick()
    for act in range(ACTS):
        for box in site.boxes.values():
            box.act(site.spare)
        rested.clear()
        tick()
        end = time.monotonic() + LIMIT_S
        while act and any(rested[kind] < RESTS for kind in KINDS.keys() - RESTLESS):
            assert time.monotonic() < end, rested
            tick()
    assert wrong == []
    assert {kind for kind in KINDS if len(seen[kind]) < 2} <= {"idle"}, "the work shows"
