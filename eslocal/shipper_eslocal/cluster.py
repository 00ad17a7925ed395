"""A cluster of one or more nodes on the loopback interface. It keeps its data when it is stopped and started again."""

import atexit
import contextlib
import json
import re
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import psutil
import requests

from shipper_eslocal import install, jvm, manifest, secure
from shipper_eslocal.errors import Error, disk_advice
from shipper_eslocal.node import Node

HOST = "127.0.0.1"
# Below Linux's range of ephemeral ports (32768-60999), from which another program's outgoing connection
# could take the port while the server is stopped.
PORTS = range(20000, 32000)
START_TIMEOUT = 180.0  # s, for a loaded machine; 3-6 s on an idle one
STOP_TIMEOUT = 60.0  # s until SIGKILL
POLL = 0.1  # s


@dataclass
class Spec:
    """Description of a cluster, stored in its folder as cluster.json."""

    name: str
    version: str = manifest.DEFAULT_VERSION
    security: bool = False
    heap: str = "512m"
    settings: dict[str, Any] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    """HTTP ports of all nodes, followed by their transport ports."""
    tuned: bool = False
    """JVM flags as in production: slower to start, faster once warm; for benchmarks."""


# Signals that end a JVM after it has read a damaged archive or library
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL}


class _EndedError(Error):
    """A node ended before the cluster was ready."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.crashed = -code in CRASHES


class Cluster:
    """A cluster in the folder `root`. Use `cluster()`, `Cluster.create` or `Cluster.load` to make one."""

    def __init__(self, root: Path, spec: Spec, *, ephemeral: bool = False) -> None:
        self.root = root
        self.spec = spec
        self.ephemeral = ephemeral
        count = len(spec.ports) // 2
        self.nodes = [Node(root / f"n{i + 1}", spec.ports[i], spec.ports[count + i]) for i in range(count)]

    @classmethod
    def create(
        cls, root: Path, spec: Spec, *, nodes: int = 1, port: int | None = None, ephemeral: bool = False
    ) -> Self:
        """Write a new cluster's folder. `port`: HTTP port of the first node; all others are free ones."""
        manifest.files(spec.version)  # raises for an unknown version before anything is written
        if not re.fullmatch(r"[1-9]\d*[mg]", spec.heap):
            raise Error(f"heap {spec.heap!r} is invalid; use for example 512m or 2g")
        if nodes < 1:
            raise Error(f"invalid number of nodes {nodes}; a cluster has at least one")
        spec.ports = _free_ports(2 * nodes, first=port)
        new = cls(root, spec, ephemeral=ephemeral)
        if spec.security:
            secure.make_certificates(root / "tls")
            secure.make_password(root / "password")
        for node in new.nodes:
            node.write(new._settings(), root if spec.security else None)
        (root / "cluster.json").write_text(
            json.dumps(asdict(spec), indent=1) + "\n"
        )  # last: only with this file the folder is a cluster
        return new

    @classmethod
    def load(cls, root: Path) -> Self:
        """The cluster in the folder `root`, with its running processes."""
        known = {attribute.name for attribute in fields(Spec)}
        written = json.loads((root / "cluster.json").read_text())
        loaded = cls(root, Spec(**{key: value for key, value in written.items() if key in known}))
        for node in loaded.nodes:
            node.find()
        return loaded

    @property
    def version(self) -> str:
        """Version of Elasticsearch."""
        return self.spec.version

    @property
    def urls(self) -> list[str]:
        """Base URL of each node."""
        scheme = "https" if self.spec.security else "http"
        return [f"{scheme}://{HOST}:{node.port}" for node in self.nodes]

    @property
    def url(self) -> str:
        """Base URL of the first node."""
        return self.urls[0]

    @property
    def ca_file(self) -> Path | None:
        """PEM file of the certificate authority; None without security."""
        return self.root / "tls" / "ca.crt" if self.spec.security else None

    @property
    def username(self) -> str | None:
        """The administrator; None without security."""
        return secure.USERNAME if self.spec.security else None

    @property
    def password_file(self) -> Path | None:
        """File with the administrator's password; None without security."""
        return self.root / "password" if self.spec.security else None

    @property
    def password(self) -> str | None:
        """The administrator's password; None without security."""
        return self.password_file.read_text() if self.password_file else None

    @property
    def data_dir(self) -> Path:
        """Data folder of the first node."""
        return self.nodes[0].home / "data"

    @property
    def pids(self) -> list[int]:
        """Process ids of the running nodes."""
        return [node.process.pid for node in self.nodes if node.process and node.is_running()]

    def request(self, method: str, path: str, body: Any = None, *, timeout: float = 30) -> Any:
        """Send JSON to the first node as administrator and return the JSON response. Raises Error unless 2xx.

        A ``body`` of bytes is sent unchanged, as NDJSON.
        """
        lines = {"data": body, "headers": {"content-type": "application/x-ndjson"}}
        with requests.Session() as session:
            session.trust_env = False  # no proxy and no other certificates on the loopback interface
            reply = session.request(
                method,
                self.url + path,
                **(lines if isinstance(body, bytes) else {"json": body}),
                auth=(self.username, self.password or "") if self.username else None,
                verify=str(self.ca_file) if self.ca_file else True,
                timeout=timeout,
            )
        if not reply.ok:
            raise Error(f"{method} {path}: HTTP {reply.status_code} {reply.text[:400]}")
        return reply.json()

    def health(self, timeout: float = 2) -> str | None:
        """Return green, yellow or red; None without a response within `timeout` seconds."""
        with contextlib.suppress(Error, requests.RequestException):
            return str(self.request("GET", "/_cluster/health", timeout=timeout)["status"])
        return None

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start all nodes, with the ports and data of the last run, and wait until the cluster is at least yellow.

        Raises Error with the most informative line of the log if a node exits or `timeout` seconds pass.
        """
        if any(node.is_running() for node in self.nodes):
            return
        folder = install.ensure(self.version)
        try:
            self._launch(folder)
            self._await_ready(timeout)
        except _EndedError as ended:
            self.kill()
            if not self._repaired(ended):
                raise
            self._launch(install.ensure(self.version))
            self._await_ready(timeout)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop all nodes with SIGTERM and keep the data."""
        if not self.pids:
            return
        self._end(signal.SIGTERM)
        with contextlib.suppress(OSError):  # no space for the archive only makes later starts slower
            self.nodes[0].adopt_archive(install.cache_dir() / self.version)

    def kill(self) -> None:
        """End all nodes with SIGKILL, like a crash, and keep the data."""
        self._end(signal.SIGKILL)

    def wipe(self) -> None:
        """Stop the nodes and remove everything."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def _settings(self) -> dict[str, Any]:
        names = [node.home.name for node in self.nodes]
        settings: dict[str, Any] = {
            "cluster.name": self.spec.name,
            "network.host": HOST,
            "http.host": HOST,
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "action.destructive_requires_name": False,
            "xpack.security.enabled": self.spec.security,
        }
        if len(names) == 1:
            settings["discovery.type"] = "single-node"
        else:
            settings["discovery.seed_hosts"] = [f"{HOST}:{node.transport_port}" for node in self.nodes]
            settings["cluster.initial_master_nodes"] = names
        if self.spec.security:
            settings["xpack.security.authc.api_key.enabled"] = True
            for layer in ("http", "transport"):
                tls = f"xpack.security.{layer}.ssl"
                settings |= {
                    f"{tls}.enabled": True,
                    f"{tls}.certificate": "tls/node.crt",
                    f"{tls}.key": "tls/node.key",
                    f"{tls}.certificate_authorities": ["tls/ca.crt"],
                }
        return settings | self.spec.settings

    def _launch(self, folder: Path) -> None:
        for port in self.spec.ports:
            _require_free(port)
        for number, node in enumerate(self.nodes):
            node.launch(
                folder,
                heap=self.spec.heap,
                tuned=self.spec.tuned,
                write_archive=number == 0,
                ephemeral=self.root if self.ephemeral else None,
            )

    def _await_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        path = f"/_cluster/health?wait_for_status=yellow&wait_for_nodes={len(self.nodes)}&timeout=1s"
        while time.monotonic() < deadline:
            for node in self.nodes:
                if not node.is_running():
                    raise self._obituary(node)
            with contextlib.suppress(Error, requests.RequestException):
                self.request("GET", path, timeout=5)
                return
            time.sleep(POLL)
        node = self.nodes[0]
        raise Error(
            f"Elasticsearch {self.version} was not ready after {timeout:.0f} s; the machine may be too busy, see "
            f"{self._lasting_log(node)}, which ends with: {node.last_words()}"
        )

    def _obituary(self, node: Node) -> _EndedError:
        code = (node.process.wait() if isinstance(node.process, psutil.Popen) else None) or 0
        how = f"was killed by {signal.Signals(-code).name}, possibly out of memory," if code < 0 else "exited"
        message = f"Elasticsearch {self.version} {how} while starting: {node.last_words()}"
        return _EndedError(f"{message}; see {self._lasting_log(node)}", code)

    def _lasting_log(self, node: Node) -> Path:
        """Path of the log that still exists after an ephemeral cluster's folder is removed."""
        if not self.ephemeral:
            return node.log
        with contextlib.suppress(OSError):
            return Path(shutil.copyfile(node.log, install.cache_dir() / "failed.log"))
        return node.log

    def _repaired(self, ended: _EndedError) -> bool:
        """Repair damage that explains a failed start; whether another attempt is worthwhile."""
        healed = install.verify(self.version)
        if ended.crashed:
            jvm.forget(install.cache_dir() / self.version)
        return bool(healed) or ended.crashed

    def _end(self, number: signal.Signals) -> None:
        processes = [node.process for node in self.nodes if node.process and node.is_running()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, stubborn = psutil.wait_procs(processes, timeout=STOP_TIMEOUT)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn)
        for node in self.nodes:
            if isinstance(node.process, psutil.Popen) and node.process.stdin:
                node.process.stdin.close()
            node.process = None


@contextlib.contextmanager
def cluster(
    *,
    version: str = manifest.DEFAULT_VERSION,
    nodes: int = 1,
    security: bool = False,
    heap: str = "512m",
    port: int | None = None,
    settings: Mapping[str, Any] | None = None,
    tuned: bool = False,
) -> Iterator[Cluster]:
    """Run a temporary cluster and yield it when it is ready.

    The cluster stops, and its folder is removed, at the end of the block or of this process, even if the process is
    killed. `settings` go into elasticsearch.yml; `tuned` is for benchmarks. Raises Error with the next step. The first
    use of a version downloads ≈ 90 MB.
    """
    root = Path(tempfile.mkdtemp(prefix="eslocal-"))
    spec = Spec(f"eslocal-{secrets.token_hex(4)}", version, security, heap, dict(settings or {}), tuned=tuned)
    try:
        with disk_advice(root, "TMPDIR"):
            temporary = Cluster.create(root, spec, nodes=nodes, port=port, ephemeral=True)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    atexit.register(temporary.wipe)  # if the block is never left
    try:
        temporary.start()
        yield temporary
        temporary.stop()
    finally:
        temporary.wipe()
        atexit.unregister(temporary.wipe)


def _require_free(port: int) -> None:
    if not _is_free(port):
        raise Error(
            f"port {port} on {HOST} is in use; stop the program that listens there (ss -ltnp) or choose another port"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT does not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_ports(count: int, *, first: int | None) -> list[int]:
    ports: list[int] = []
    if first is not None:
        if not 0 < first < 2**16:
            raise Error(f"port {first} is invalid; choose one between 1024 and 65535")
        _require_free(first)
        ports.append(first)
    while len(ports) < count:
        port = secrets.choice(PORTS)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports
