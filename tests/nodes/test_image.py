"""The image: what is in it and what is not, and the same bytes twice. That each engine takes it: test_nspawn."""

import hashlib
import re
import stat
import subprocess
from pathlib import Path

import pytest
from engines import command
from imaging import Image, built
from readme import README

from shipper import __version__

pytestmark = [pytest.mark.root, pytest.mark.needs("mmdebstrap")]

MOST_BYTES = 120_000_000
PROGRAMS = (
    "gcc",
    "cc",
    "ld",
    "as",
    "make",
    "apt",
    "apt-get",
    "dpkg",
    "pip",
    "pip3",
    "perl",
    "su",
    "sudo",
    "mmdebstrap",
)


def paths(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if not path.is_symlink()]


def test_of_the_same_sources_it_is_the_same_bytes(image: Image, sources: Path, tmp_path: Path) -> None:
    again = built(sources, tmp_path)
    assert [digest(path) for path in (again.tar, again.oci)] == [digest(path) for path in (image.tar, image.oci)]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_size_is_as_stated(image: Image, tree: Path) -> None:
    assert sum(path.stat().st_blocks * 512 for path in paths(tree)) < MOST_BYTES
    stated = re.search(r"(\d+) MB as a tar, (\d+) MB as an archive", README.read_text(encoding="utf-8"))
    assert stated
    for path, megabytes in zip((image.tar, image.oci), stated.groups(), strict=True):
        assert path.stat().st_size / 1e6 == pytest.approx(int(megabytes), rel=0.05)


def test_nothing_that_builds_or_caches_or_gives_rights(tree: Path) -> None:
    found = {path.relative_to(tree).as_posix() for path in paths(tree)}
    assert not {name for name in found if Path(name).name in PROGRAMS and "/bin/" in f"/{name}"}
    assert not {
        name for name in found if name.startswith(("var/cache/", "var/lib/apt", "var/lib/dpkg", "usr/include/"))
    }
    modes = [path.lstat().st_mode for path in paths(tree)]
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) or stat.S_ISBLK(mode) or stat.S_ISCHR(mode) for mode in modes)
    writable = {str(path.relative_to(tree)) for path in paths(tree) if path.lstat().st_mode & 0o002}
    assert writable == {"tmp", "var/tmp"}


def test_nobody_can_log_in(tree: Path) -> None:
    lines = (tree / "etc/passwd").read_text().splitlines()
    assert {line.split(":")[1] for line in lines} == {"*"}
    assert not (tree / "etc/shadow").exists()


def test_only_the_agents_own_packages(tree: Path) -> None:
    site = tree / "usr/lib/python3/dist-packages"
    found = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    locked = (Path(__file__).parents[2] / "requirements/run.txt").read_text()
    assert {name.lower().replace("_", "-") for name in found} == {
        "metrics-shipper",
        *(name.lower() for name in re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE)),
    }
    assert not list(site.glob("metrics_shipper-*/direct_url.json")), "tells where it was built"


def test_runs_on_a_root_that_cannot_be_written_to(tree: Path) -> None:
    script = f"mount --bind {tree} {tree} && mount -o remount,bind,ro {tree} && chroot {tree} "
    for words in ("shipper --version", "shipper units list", "shipper run --help", "python3 -c 'import ssl, ctypes'"):
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script + words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert not [path for path in paths(tree / "usr/lib/python3") if path.suffix == ".tmp"]


@pytest.mark.needs("skopeo")
def test_skopeo_reads_it(image: Image) -> None:
    assert __version__ in command("skopeo", "inspect", "--config", f"oci-archive:{image.oci}")
