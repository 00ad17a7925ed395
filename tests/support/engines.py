"""Real container engines, each with directories, sockets and cgroups of its own; nothing of them is left behind.

Debian packages: docker.io, podman, crun, containerd, runc, systemd-container, busybox-static.
"""

import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
READY_S = 30
IMAGE = "shop/web:1.2"
# A known amount of work, then quiet, so that two readings of its figures are of the same state
WORK = (
    "head -c 400000000 /dev/zero | md5sum; head -c 8000000 /dev/zero | tail -c 8000000 > /dev/null; "
    "echo done; exec sleep 600"
)


def command(*words: str | Path, **options: Any) -> str:
    """Output of a command that must succeed."""
    texts = [str(word) for word in words]
    done = subprocess.run(texts, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return str(done.stdout).strip()


def image(directory: Path) -> Path:
    """A root file system of one static busybox."""
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp", "run", "var", "root", "usr"):
        (directory / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "package busybox-static is missing"
    shutil.copy(busybox, directory / "bin/busybox")
    for applet in ("sh", "sleep", "head", "tail", "md5sum", "echo"):
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/os-release").write_text("ID=tiny\n")
    return directory


@contextmanager
def short_path() -> Iterator[Path]:
    """A directory for sockets, whose paths have no more than 108 bytes; podman takes 50 characters."""
    with tempfile.TemporaryDirectory(prefix="s-") as directory:
        yield Path(directory)


def _driver(directory: Path, overlay: str) -> str:
    """Of the storage: ``vfs`` copies an image for each container, but an overlay cannot lie on an overlay."""
    return "vfs" if command("stat", "--file-system", "--format=%T", directory) == "overlayfs" else overlay


@contextmanager
def daemon(directory: Path, *words: str | Path) -> Iterator[None]:
    """A daemon that tells by sd_notify(3) when it is ready; on leaving it is stopped and waited for."""
    log = directory / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, log.open("w") as output:
        address = directory / "notify"
        notices.bind(str(address))
        notices.settimeout(READY_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
        process = subprocess.Popen(list(map(str, words)), stdout=output, stderr=output, env=environment)
        try:
            while b"READY=1" not in notices.recv(4096):
                pass
            yield
        except TimeoutError:
            raise AssertionError(f"{words[0]} was not ready: {log.read_text()[-2000:]}") from None
        finally:
            process.terminate()
            try:
                process.wait(READY_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


_HELD: set[str] = set()


@contextmanager
def _alone(cgroups: Sequence[str]) -> Iterator[None]:
    """No engine of another process of the tests has its containers in ``cgroups`` meanwhile.

    All engines of a kind use one cgroup, whatever their directories: the first one to end would remove, and kill, what
    another one has in there.
    """
    with ExitStack() as stack:
        for name in sorted(set(cgroups) - _HELD):
            file = stack.enter_context(
                (Path(tempfile.gettempdir()) / f"shipper-tests-{name.replace('/', '-')}.lock").open("w")
            )
            fcntl.flock(file, fcntl.LOCK_EX)
            _HELD.add(name)
            stack.callback(_HELD.discard, name)
        yield


@contextmanager
def swept(directory: Path, *cgroups: str) -> Iterator[None]:
    """On leaving: no process of ``cgroups``, none of these, and no mount below ``directory``."""
    with _alone(cgroups), _swept(directory, cgroups):
        yield


@contextmanager
def _swept(directory: Path, cgroups: Sequence[str]) -> Iterator[None]:
    before = {path for name in cgroups for path in (*CGROUPS.glob(f"*/{name}"), CGROUPS / name) if path.exists()}
    try:
        yield
    finally:
        for name in cgroups:
            for top in (*CGROUPS.glob(f"*/{name}"), CGROUPS / name):
                if top.is_dir() and top not in before:
                    _remove(top)
        for point in sorted(_mounts_below(directory), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=False)


def _mounts_below(directory: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{directory}/")]


def _remove(top: Path) -> None:
    """The tree of cgroups at ``top``, which the test's engine made, and what still runs in it."""
    directories = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
    end = time.monotonic() + READY_S
    for directory in (*directories, top):
        while directory.exists():
            for pid in (directory / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):  # a process that was killed is in it until it is gone
                directory.rmdir()
            assert time.monotonic() < end, f"{directory} is still busy"


@dataclass
class Docker:
    """A docker daemon with driver cgroupfs and no network."""

    directory: Path
    data_root: Path

    def run(self, *words: str) -> str:
        return command("docker", "-H", f"unix://{self.directory}/sock", *words)

    def get(self, path: str) -> Any:
        """An answer of the engine's API."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(f"{self.directory}/sock")
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def started(self, name: str, *options: str, work: str = WORK) -> str:
        """Id of a container that has done its ``work``."""
        id_ = self.run("run", "-d", "--name", name, "--network", "none", *options, IMAGE, "/bin/sh", "-c", work)
        _await_line(["docker", "-H", f"unix://{self.directory}/sock", "logs", "-f", id_])
        return id_


@contextmanager
def docker(directory: Path, *options: str) -> Iterator[Docker]:
    directory.mkdir()
    data_root = directory / "data"
    words: list[str | Path] = [
        "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
        f"--storage-driver={_driver(directory, 'overlay2')}", "--data-root", data_root,
        "--exec-root", directory / "exec", "-H", f"unix://{directory}/sock", "--pidfile", directory / "pid",
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(swept(directory, "docker"))
        stack.enter_context(daemon(directory, *words, *options))
        engine = Docker(directory, data_root)
        with subprocess.Popen(["tar", "c", "-C", image(directory / "image"), "."], stdout=subprocess.PIPE) as tar:
            command("docker", "-H", f"unix://{directory}/sock", "import", "-", IMAGE, stdin=tar.stdout)
        try:
            yield engine
        finally:
            if ids := engine.run("ps", "-aq"):
                engine.run("rm", "-f", *ids.split())


@dataclass
class Podman:
    directory: Path
    driver: str

    @property
    def storage(self) -> Path:
        return self.directory / "storage"

    def words(self, *words: str) -> list[str]:
        places = {"--root": "storage", "--runroot": "run", "--tmpdir": "tmp"}
        own = [part for option, name in places.items() for part in (option, str(self.directory / name))]
        own += ["--storage-driver", self.driver, "--cgroup-manager", "cgroupfs"]
        # Else each call, also one of a container that ends later, leaves a mount
        own += ["--storage-opt", "overlay.skip_mount_home=true"] if self.driver == "overlay" else []
        return ["podman", *own, "--runtime", "runc", *words]  # crun does not run on hybrid hosts

    def run(self, *words: str) -> str:
        return command(*self.words(*words))

    def started(self, name: str, *options: str) -> str:
        # without CAP_SYS_RESOURCE the defaults cannot be set
        limits = [word for limit in ("nofile", "nproc") for word in ("--ulimit", f"{limit}=1024:1024")]
        id_ = self.run(
            "run", "-d", *limits, "--network", "none", "--name", name, *options, IMAGE, "/bin/sh", "-c", WORK
        )
        _await_line(self.words("logs", "-f", id_))
        return id_


@contextmanager
def podman(directory: Path) -> Iterator[Podman]:
    directory.mkdir()
    engine = Podman(directory, _driver(directory, "overlay"))
    with swept(directory, "libpod_parent"):
        tar = directory / "image.tar"
        command("tar", "cf", tar, "-C", image(directory / "image"), ".")
        engine.run("import", str(tar), IMAGE)
        try:
            yield engine
        finally:
            engine.run("rm", "-fa", "-t", "0")


@dataclass
class Containerd:
    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def run(self, *words: str) -> str:
        return command("ctr", "-a", self.directory / "sock", *words)

    def started(self, name: str, *options: str) -> None:
        """``name`` is also that of its cgroup."""
        log = self.directory / f"{name}.log"
        log.touch()
        rootfs = self.directory / "image"
        self.run(
            "run",
            "-d",
            "--rootfs",
            "--runc-root",
            f"{self.directory}/runc",
            "--log-uri",
            f"file://{log}",
            *options,
            str(rootfs),
            name,
            "/bin/sh",
            "-c",
            WORK,
        )
        _await_line(["tail", "-n", "+1", "-F", str(log)])


@contextmanager
def containerd(directory: Path) -> Iterator[Containerd]:
    directory.mkdir()
    settings = directory / "config.toml"
    settings.write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{directory}/sock"\n[ttrpc]\naddress = "{directory}/ttrpc"\n'
    )
    image(directory / "image")
    engine = Containerd(directory)
    with swept(directory, "default"), daemon(directory, "containerd", "-c", settings):
        try:
            yield engine
        finally:
            for name in engine.run("tasks", "ls", "-q").split():
                engine.run("tasks", "kill", "-s", "SIGKILL", name)
                engine.run("tasks", "rm", "-f", name)
            for name in engine.run("containers", "ls", "-q").split():
                engine.run("containers", "rm", name)


def _await_line(words: Sequence[str]) -> None:
    """Wait until the program has written a line ``done``."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as following:
        assert following.stdout
        try:
            assert any(line.strip() == "done" for line in following.stdout)
        finally:
            following.kill()
