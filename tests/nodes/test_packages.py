"""What ``make release`` makes: what is in it, that it can be made again, and that it installs."""

import json
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
from releasing import EPOCH, MACHINE, NEXT, packed, told

from shipper import __version__
from shipper.deploy.image import build, oci
from shipper.release import __main__ as release
from shipper.release import papers

# All of them with the one that needs root, so that the packages are built once, beside tests that wait
pytestmark = [pytest.mark.root, pytest.mark.needs("dpkg", "rpm", "lintian", "mmdebstrap")]


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
    run(tmp_path / "bin/pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", wheel)
    for name in ("shipper", "metrics-shipper"):
        assert run(tmp_path / "bin" / name, "--version") == f"shipper {__version__}\n"
    for command, library in (("report", "jinja2"), ("top", "rich"), ("completion bash", "shtab")):
        words = [str(tmp_path / "bin/shipper"), *command.split()]
        refused = subprocess.run(words, capture_output=True, text=True, check=False)
        needs = f"shipper: {command.split()[0]} needs {library}: pip install 'metrics-shipper[view]'\n"
        assert refused.stderr == needs
    compared = subprocess.run([tmp_path / "bin/shipper", "compare", "a"], capture_output=True, text=True, check=False)
    assert "127.0.0.1:9200" in compared.stderr, "no module is missing"


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


@pytest.mark.needs("systemd-nspawn", "dbus-daemon", "ip")
def test_rpm_is_installed_upgraded_and_erased(node: Node, dist: Path, tmp_path: Path) -> None:
    """The deb: test_howto."""
    rpm = ("rpm", "--force-debian", "--nodeps")  # Debian's rpm knows nothing of what Debian's packages provide
    unit = "shipper-host.service"
    text = '[collect]\nperiod = "1s"\n[host]\nverify = false\n'  # the node is itself a container
    (first,), second = dist.glob("*.rpm"), packed(tmp_path, NEXT)["rpm"]
    for path in (first, second):
        shutil.copy(path, node.tree / "opt")
    node.run(*rpm, "--install", f"/opt/{first.name}")
    assert node.run("shipper", "--version") == f"shipper {__version__}\n"
    assert node.systemctl("is-active", unit) == "inactive"
    etc = node.tree / "etc/shipper"
    (etc / "shipper.toml").write_text(text)
    node.run("sh", "-ec", "umask 377; echo id:key > /etc/shipper/api-key")
    node.run("systemctl", "enable", "--now", unit)
    assert node.run("ps", "-o", "user=", "-p", str(node.main_pid(unit))).strip() == "shipper"
    until(lambda: int(str(told(node).get("ticks", 0))) > 2, "three ticks")
    before = told(node)["documents"]["collected"]
    node.run(*rpm, "--upgrade", f"/opt/{second.name}")
    until(lambda: told(node).get("ticks"), "a tick after the upgrade")
    after = told(node)["documents"]
    assert after["collected"] == after["spooled"] > before
    assert (etc / "shipper.toml").read_text() == text
    node.run(*rpm, "--erase", "metrics-shipper")
    assert node.systemctl("show", "--property=LoadState", "--value", unit) == "not-found"
    assert (etc / "shipper.toml.rpmsave").read_text() == text
    assert (etc / "api-key").exists()
    assert (node.tree / "var/lib/shipper/spool").is_dir()
    assert not (node.tree / "usr/lib/metrics-shipper").exists()
