"""Paths below the host root lead to the host's files, whatever its links say; by the kernel and by the walk alike."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from casetrees import host_of

from shipper.kernel import beneath, hostview
from shipper.kernel.source import Reader, Root

Open = Callable[[int, str, int], int]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside\n")
    root = tmp_path / "root"
    for directory in ("data/docker", "var/lib", "etc", "usr/lib"):
        (root / directory).mkdir(parents=True)
    (root / "data/docker/a").write_text("inside\n")
    for link, target in {
        "var/lib/docker": "/data/docker",
        "etc/a": "../var/lib/docker/a",
        "etc/secret": "/secret",
        "etc/up": "../../../../secret",
        "etc/loop": "/etc/loop",
        "again": "/var/../var/lib/docker/./a",
        "etc/gone": "/nowhere",
    }.items():
        (root / link).symlink_to(target)
    return root


@pytest.fixture(params=[beneath.by_kernel, beneath.by_walk], ids=["kernel", "walk"])
def read(request: pytest.FixtureRequest, tree: Path) -> Callable[[str], bytes]:
    by: Open = request.param

    def attempt(path: str) -> bytes:
        top = os.open(tree, os.O_PATH | os.O_DIRECTORY)
        try:
            fd = by(top, path, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(top)
        with open(fd, "rb") as file:
            return file.read()

    return attempt


@pytest.mark.parametrize("path", ["data/docker/a", "var/lib/docker/a", "etc/a", "again", "../../var/lib/docker/a"])
def test_links_lead_inside(read: Callable[[str], bytes], path: str) -> None:
    assert read(path) == b"inside\n"


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("etc/secret", errno.ENOENT),
        ("etc/up", errno.ENOENT),
        ("../secret", errno.ENOENT),
        ("etc/gone", errno.ENOENT),
        ("etc/loop", errno.ELOOP),
        ("data/docker/a/b", errno.ENOTDIR),
    ],
)
def test_nothing_leads_outside(read: Callable[[str], bytes], path: str, number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)):
        read(path)


@pytest.mark.parametrize("openat2", [True, False])
def test_a_root_asks_for_everything_inside(openat2: bool, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipper.kernel.beneath.has_openat2", lambda: openat2)
    root = Root(str(tree))
    assert root.read("var/lib/docker/a") == root.file("etc/a").read() == b"inside\n"
    assert root.names("var/lib/docker") == ["a"]
    assert root.stat("/etc/a").st_size == 7
    assert root.link("var/lib/docker") == "/data/docker"
    assert root.exists("etc/gone") and not root.exists("nowhere")
    assert root.statvfs("var/lib/docker").f_blocks > 0
    assert [name for name, _ in root.directories("")] != []
    with pytest.raises(FileNotFoundError):
        root.stat("etc/gone")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("etc/a", "etc/loop", "etc/gone", "../secret"):
        root.exists(path)
        Reader(root).read_once(path)
    assert len(os.listdir("/proc/self/fd")) == before


def refused(*_: object) -> int:
    ctypes.set_errno(errno.EPERM)
    return -1


def test_without_openat2_the_walk_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipper.kernel.beneath._openat2", refused)
    beneath.has_openat2.cache_clear()
    assert beneath.opener() is beneath.by_walk
    monkeypatch.undo()
    beneath.has_openat2.cache_clear()


def test_the_hosts_own_identity_and_containers_behind_absolute_links(tmp_path: Path) -> None:
    host = host_of("11", tmp_path)
    [container] = [one for one in host.tick()["cgroup"].values() if one["cgroup.kind"] == "container"]
    assert (container["container.name"], container["container.image.name"]) == ("web-1", "nginx:1")
    assert host.host()["host.os.name"] == "Fedora Linux"
    assert hostview.examine(host.tree).id == (tmp_path / "data/machine-id").read_text().strip()
