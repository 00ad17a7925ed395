import os
import shutil

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/hosts/*/golden.json anew")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/lib/podman"
PACKAGES = {
    "busybox": "busybox-static",
    "cc": "gcc libc6-dev",
    "chromedriver": "chromium chromium-driver",
    "ctr": "containerd",
    "curl": "curl",
    "dbus-daemon": "dbus-daemon",
    "dockerd": "docker.io",
    "faketime": "faketime",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "netavark": "netavark containernetworking-plugins",
    "podman": "podman crun",
    "shellcheck": "shellcheck",
    "skopeo": "skopeo",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "valgrind": "valgrind",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What this machine or user cannot run is listed as skipped; where CI is set it runs and fails."""
    if os.environ.get("CI"):
        return
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        wanted = {name for marker in item.iter_markers("needs") for name in marker.args}
        missing = [PACKAGES[name] for name in sorted(wanted) if shutil.which(name, path=PATH) is None]
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"needs apt-get install {' '.join(missing)}"))
