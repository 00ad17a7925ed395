import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shipper.kernel.bus import SOCKETS
from shipper.kernel.source import Descriptors

if TYPE_CHECKING:
    from sharing import Servers


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/hosts/*/golden.json anew")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session", autouse=True)
def _descriptors() -> Iterator[None]:
    """Agents that run in this process share its descriptors, as none ends at once: a machine may have many cgroups."""
    shared = Descriptors(min(Descriptors.of_this_process().free, 2000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Descriptors, "of_this_process", lambda: shared)
        yield


_SERVERS = pytest.StashKey["Servers"]()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Servers":
    """Elasticsearch for all workers of this run."""
    from sharing import Servers, common

    joined = request.config.stash[_SERVERS] = Servers(common(tmp_path_factory))
    return joined


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Not in a fixture: the last test's time limit would hold for the wait."""
    if joined := session.config.stash.get(_SERVERS, None):
        joined.leave()


PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/lib/podman"
PACKAGES = {
    "busybox": "busybox-static",
    "cc": "gcc libc6-dev",
    "chromedriver": "chromium chromium-driver",
    "ctr": "containerd",
    "curl": "curl",
    "dbus-daemon": "dbus-daemon",
    "dockerd": "docker.io",
    "dpkg": "dpkg",
    "faketime": "faketime",
    "fish": "fish",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "lintian": "lintian",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "netavark": "netavark containernetworking-plugins",
    "npm": "nodejs npm",
    "podman": "podman crun catatonit",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "rpm": "rpm",
    "shellcheck": "shellcheck",
    "skopeo": "skopeo",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "tinyproxy": "tinyproxy-bin",
    "valgrind": "valgrind",
    "zsh": "zsh",
}


FULL = "SHIPPER_TEST_ELASTICSEARCH"
_without_server: list[pytest.Item] = []


def _leave_out_full(config: pytest.Config, items: list[pytest.Item]) -> None:
    """No package brings a full Elasticsearch: these are left out, also where CI is set, and that is said at the end."""
    _without_server[:] = [item for item in items if item.get_closest_marker("full") and not os.environ.get(FULL)]
    if _without_server:
        config.hook.pytest_deselected(items=_without_server)
        items[:] = [item for item in items if item not in _without_server]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _without_server:
        terminalreporter.write_sep("=", "not run", yellow=True)
        terminalreporter.line(f"{len(_without_server)} tests need a full Elasticsearch: set {FULL} to its address")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What this machine or user cannot run is listed as skipped; where CI is set it runs and fails."""
    _leave_out_full(config, items)
    programs = {name for item in items for marker in item.iter_markers("needs") for name in marker.args}
    packages = {name: PACKAGES[name] for name in programs}  # of all, so that none is forgotten where all are installed
    if os.environ.get("CI"):
        return
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        wanted = {name for marker in item.iter_markers("needs") for name in marker.args}
        missing = [packages[name] for name in sorted(wanted) if shutil.which(name, path=PATH) is None]
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"needs apt-get install {' '.join(missing)}"))


BUS = """<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>"""


@pytest.fixture
def bus() -> Iterator[Path]:
    """A bus whose socket is where a host has its own, below a root whose path is short: a socket's has 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="bus-") as root:
        socket = Path(root, SOCKETS[0])
        socket.parent.mkdir(parents=True)
        (Path(root) / "bus.conf").write_text(BUS.format(socket))
        words = ["dbus-daemon", f"--config-file={root}/bus.conf", "--nofork", "--print-address=1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            try:
                yield Path(root)
            finally:
                process.terminate()
