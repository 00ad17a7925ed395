"""What ``make release`` makes: the packages installed, upgraded, removed and purged on a booted node."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import booting
import pytest
from booting import Node, run, until

from shipper import __version__
from shipper.deploy.image import build, oci
from shipper.release import __main__ as release
from shipper.release import packages, papers

pytestmark = pytest.mark.needs("dpkg", "rpm", "lintian", "mmdebstrap")

MACHINE = os.uname().machine
EPOCH = 1_700_000_000
NEXT = "0.1.1"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of a release for this machine, but for the image, which other tests have."""
    directory = tmp_path_factory.mktemp("dist")
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "shipper.release",
        directory,
        "--machine",
        MACHINE,
        "--no-image",
    ]
    subprocess.run(words, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}, capture_output=True, check=True)
    return directory


def packed(directory: Path, version: str) -> dict[str, Path]:
    """The deb and the rpm of that version."""
    packages.tree(directory / "tree", MACHINE, version, EPOCH)
    made = packages.pack(directory / "tree", directory, MACHINE, version, EPOCH)
    return {path.suffix.lstrip("."): path for path in made}


def deb(dist: Path) -> Path:
    (found,) = dist.glob("*.deb")
    return found


def test_the_same_sources_give_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    for again in packed(tmp_path, __version__).values():
        assert oci.digest(again) == oci.digest(dist / again.name)
    for again in release.distributions(tmp_path, EPOCH):
        assert oci.digest(again) == oci.digest(dist / again.name)


def test_lintian_has_nothing_to_say(dist: Path) -> None:
    words: list[str | Path] = ["lintian", "--allow-root", "--fail-on", "error,warning", deb(dist)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_rpm_holds_the_same_files(dist: Path) -> None:
    (rpm,) = dist.glob("*.rpm")
    assert "OK" in run("rpm", "--checksig", "--nosignature", rpm)
    listed = {line.removesuffix("/") for line in run("rpm", "--query", "--list", "--package", rpm).splitlines()}
    theirs = {line.split()[5].removeprefix(".") for line in run("dpkg-deb", "--contents", deb(dist)).splitlines()}
    files = {path for path in theirs if not path.endswith("/")}
    assert files - listed == set()
    assert not [path for path in files if "/tests/" in path or path.endswith(".pyc")]


def test_checksums_materials_and_provenance_name_all(dist: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", papers.SUMS], cwd=dist, capture_output=True, check=False)
    assert done.returncode == 0
    names = {path.name for path in dist.iterdir()}
    assert len(done.stdout.splitlines()) == len(names) - 2
    subjects = json.loads((dist / papers.PROVENANCE).read_text())["subject"]
    assert {one["name"] for one in subjects} == names - {papers.SUMS, papers.PROVENANCE}
    components = json.loads((dist / papers.BOM).read_text())["components"]
    wanted = re.findall(
        r"^([a-z0-9._-]+)==(\S+)", (build.REPOSITORY / "requirements/run.txt").read_text(), re.MULTILINE
    )
    assert {(one["name"], one["version"]) for one in components} == set(wanted)


def test_zipapp_needs_only_python(dist: Path, tmp_path: Path) -> None:
    (zipapp,) = dist.glob("*.pyz")
    environment = {"PATH": "/usr/bin:/bin", "SHIV_ROOT": str(tmp_path), "HOME": str(tmp_path)}
    words: list[str | Path] = ["/usr/bin/python3", zipapp, "once", "--dataset", "host", "--period", "1s"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["event"]["dataset"] == "shipper.host"


def test_wheel_installs_with_its_dependencies(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path)
    run(tmp_path / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    for name in ("shipper", "metrics-shipper"):
        assert run(tmp_path / "bin" / name, "--version") == f"shipper {__version__}\n"
    refused = subprocess.run([tmp_path / "bin/shipper", "report"], capture_output=True, text=True, check=False)
    assert refused.stderr.endswith("pip install 'metrics-shipper[view]'\n")


@pytest.mark.needs("skopeo")
def test_image_for_the_other_architecture(tmp_path: Path) -> None:
    (other,) = set(oci.ARCHITECTURES) - {MACHINE}
    tar, archive = build.build(tmp_path, other)
    config = json.loads(run("skopeo", "inspect", "--config", f"oci-archive:{archive}"))
    assert config["architecture"] == oci.ARCHITECTURES[other]
    assert config["config"]["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    shutil.unpack_archive(tar, tmp_path / "tree", "tar", filter="tar")
    machines = {"x86_64": 62, "aarch64": 183}  # e_machine of elf.h
    for path in [tmp_path / "tree/usr/bin/python3.11", *(tmp_path / "tree").rglob("_psutil_linux*.so")]:
        assert int.from_bytes(path.read_bytes()[18:20], "little") == machines[other], path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with ExitStack() as stack:
        base = stack.enter_context(booting.space(tmp_path_factory.mktemp("node")))
        bridge = stack.enter_context(booting.Bridge(("127.0.0.1", 9)).made())
        one = stack.enter_context(booting.node(base, bridge, 2))
        one.boot()
        yield one


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "dbus-daemon", "ip")
def test_package_is_installed_upgraded_removed_and_purged(node: Node, dist: Path, tmp_path: Path) -> None:
    unit = "shipper-host.service"
    text = '[collect]\nperiod = "1s"\n[host]\nverify = false\n'  # the node is itself a container
    for path in (deb(dist), packed(tmp_path, NEXT)["deb"]):
        shutil.copy(path, node.tree / "opt")
    node.run("dpkg", "--install", f"/opt/{deb(dist).name}")
    assert node.run("shipper", "--version") == f"shipper {__version__}\n"
    assert node.systemctl("is-active", unit) == "inactive"
    config = node.tree / "etc/shipper/shipper.toml"
    config.write_text(text)
    node.run("sh", "-ec", "umask 377; echo id:key > /etc/shipper/api-key")
    node.run("systemctl", "start", unit)
    assert node.run("ps", "-o", "user=", "-p", str(node.main_pid(unit))).strip() == "shipper"
    status = ["shipper", "status", "--json"]

    def told() -> dict[str, object]:
        done = subprocess.run(node.enter(*status), capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    until(lambda: int(str(told().get("ticks", 0))) > 2, "three ticks")
    seen = told()
    assert not [one for one in seen["problems"] if "denied" in one]  # type: ignore[attr-defined]
    before = seen["documents"]["collected"]  # type: ignore[index]
    node.run("dpkg", "--install", f"/opt/metrics-shipper_{NEXT}_{oci.ARCHITECTURES[MACHINE]}.deb")
    until(lambda: told().get("ticks"), "a tick after the upgrade")
    after = told()["documents"]
    assert after["collected"] == after["spooled"] > before  # type: ignore[index]
    assert config.read_text() == text
    node.run("dpkg", "--remove", "metrics-shipper")
    assert node.systemctl("show", "--property=LoadState", "--value", unit) == "not-found"
    assert (node.tree / "var/lib/shipper/spool").is_dir()
    node.run("dpkg", "--purge", "metrics-shipper")
    left = [
        name for name in ("etc/shipper", "var/lib/shipper", "usr/lib/metrics-shipper") if (node.tree / name).exists()
    ]
    assert left == []
