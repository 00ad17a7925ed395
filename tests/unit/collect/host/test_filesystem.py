import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from captured import Ticks
from trees import Host, Tree, config

from shipper.collect.host import filesystem
from shipper.collect.host.filesystem import by_device, sizes
from shipper.fields.rates import Value
from shipper.kernel.mountinfo import Mount, unescaped
from shipper.kernel.source import File, Root
from shipper.settings.config import Config

PREFIX = "system.filesystem."


SIZES = {"total", "free", "available", "used.bytes", "used.pct"}


def statvfs(*, total: int = 1000, free: int = 400, available: int = 350, files: int = 100) -> os.statvfs_result:
    """In blocks of 4,096 bytes; the block size for I/O is another."""
    return os.statvfs_result((65536, 4096, total, free, available, files, 25, 25, 0, 255))


def line(point: str, *, number: str = "254:0", root: str = "/", type_: str = "ext4", options: str = "rw") -> str:
    return f"27 1 {number} {root} {point} {options},relatime shared:1 - {type_} /dev/vda {options}\n"


class Mounts:
    """A Tree whose mount points are directories with device numbers of our choice."""

    def __init__(self, directory: Path) -> None:
        self.tree = Tree(directory, {})
        self.text = ""

    def add(self, point: str, *, device: int = 254 << 8, **words: str) -> None:
        self.text += line(point, number=f"{os.major(device)}:{os.minor(device)}", **words)
        Path(self.tree.absolute(point)).mkdir(parents=True, exist_ok=True)
        self.tree.devices[point] = device
        self.tree.sizes[point] = statvfs()

    def documents(self, settings: Config | None = None) -> dict[str, dict[str, Value]]:
        return self.host(settings).tick().get("filesystem", {})

    def host(self, settings: Config | None = None) -> Host:
        self.tree.write("proc/1/mountinfo", self.text)
        return Host(self.tree, filesystem.COLLECTOR, settings=settings)


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    return Mounts(tmp_path)


def test_sizes_as_df_counts_them() -> None:
    values = {name.removeprefix(PREFIX): value for name, value in sizes(statvfs()).items()}
    assert values == {
        "total": 4_096_000,
        "free": 1_638_400,
        "available": 1_433_600,
        "used.bytes": 2_457_600,
        "used.pct": pytest.approx(600 / 950),
        "files": 100,
        "free_files": 25,
        "used_files.pct": 0.75,
    }


def test_filesystem_without_a_fixed_number_of_inodes() -> None:
    assert not [name for name in sizes(statvfs(files=0)) if name.endswith(("files", "files.pct"))]


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        pytest.param(statvfs(total=0), set(), id="no size"),
        pytest.param(statvfs(free=2000), {"total", "available"}, id="more free than there is"),
        pytest.param(statvfs(total=1 << 62), set(), id="larger than a long"),
        pytest.param(statvfs(available=(1 << 64) - 5), SIZES, id="quota exceeded: available below zero"),
        pytest.param(statvfs(available=999), SIZES, id="more available than free"),
    ],
)
def test_a_number_that_cannot_be_costs_its_own_fields(answer: os.statvfs_result, known: set[str]) -> None:
    values = sizes(answer)
    assert {name for name in SIZES if PREFIX + name in values} == known


def test_a_filesystem_over_its_quota_has_nothing_available_and_stays(mounts: Mounts) -> None:
    mounts.add("/data")
    mounts.tree.sizes["/data"] = statvfs(free=0, available=(1 << 64) - 12)
    values = mounts.documents()["/data"]
    assert (values[PREFIX + "available"], values[PREFIX + "used.pct"]) == (0, 1.0)


def test_a_filesystem_whose_numbers_are_all_odd_stays(mounts: Mounts) -> None:
    mounts.add("/data")
    mounts.tree.sizes["/data"] = statvfs(total=1 << 62)
    assert mounts.documents()["/data"][PREFIX + "type"] == "ext4"


def test_23_fedora_coreos_is_writable_and_shown_as_var(mounts: Mounts) -> None:
    """/sysroot is a read-only mount of the filesystem that /etc and /var are writable parts of."""
    mounts.text += "30 1 254:0 / /sysroot ro,relatime shared:1 - xfs /dev/vda4 rw\n"
    for point in ("/etc", "/var"):
        mounts.text += f"31 1 254:0 /ostree/deploy{point} {point} rw,relatime shared:1 - xfs /dev/vda4 rw\n"
    for point in ("/sysroot", "/etc", "/var"):
        Path(mounts.tree.absolute(point)).mkdir(parents=True, exist_ok=True)
        mounts.tree.devices[point], mounts.tree.sizes[point] = 254 << 8, statvfs()
    [(point, values)] = mounts.documents().items()
    assert (point, values[PREFIX + "read_only"]) == ("/var", False)


def test_where_one_mount_does_not_stand_for_its_device_the_next_does(mounts: Mounts) -> None:
    """Hidden by another mount, gone, or a file bound to its place."""
    mounts.add("/a")
    mounts.add("/bb")
    mounts.add("/ccc")
    mounts.tree.devices["/a"] = 8 << 8
    Path(mounts.tree.absolute("/bb")).rmdir()
    host = mounts.host()
    assert set(host.tick()["filesystem"]) == {"/ccc"}
    assert set(host.tick()["filesystem"]) == {"/ccc"}
    assert host.problems == {}


def test_document_names_mount_device_and_type(mounts: Mounts) -> None:
    mounts.add("/", options="ro")
    values = mounts.documents()["/"]
    described = ("mount_point", "device_name", "type", "read_only", "stuck")
    assert [values[PREFIX + name] for name in described] == ["/", "/dev/vda", "ext4", True, False]
    assert values[PREFIX + "total"] == 4_096_000


def test_one_document_per_device_at_its_shortest_whole_mount(mounts: Mounts) -> None:
    mounts.add("/a", root="/part")
    mounts.add("/data/again")
    mounts.add("/data")
    mounts.add("/other", device=8 << 8)
    assert set(mounts.documents()) == {"/data", "/other"}


def test_later_mount_hides_the_earlier_at_the_same_place() -> None:
    old = Mount(b"/x", 1, b"/", "ext4", "a", (b"rw",))
    new = Mount(b"/x", 2, b"/", "xfs", "b", (b"rw",))
    assert by_device([old, new]) == [[new]]


def test_excluded_types_and_places_are_left_out(mounts: Mounts) -> None:
    mounts.add("/")
    mounts.add("/proc", device=21, type_="proc")
    mounts.add("/var/lib/docker/overlay2/x/merged", device=40, type_="xfs")
    assert set(mounts.documents(Config())) == {"/"}


def test_file_bound_to_its_place_is_left_out(mounts: Mounts) -> None:
    mounts.add("/")
    mounts.text += line("/etc/hosts", number="8:1", root="/var/lib/hosts")
    mounts.tree.write("etc/hosts", "")
    mounts.tree.devices["/etc/hosts"] = 8 << 8 | 1
    assert set(mounts.documents()) == {"/"}


def test_mount_that_our_view_does_not_have_is_left_out(mounts: Mounts) -> None:
    mounts.add("/")
    mounts.add("/late", device=8 << 8)
    mounts.tree.devices["/late"] = 254 << 8  # the directory below it
    mounts.text += line("/gone", number="8:2")
    host = mounts.host()
    assert set(host.tick()["filesystem"]) == {"/"}
    assert not host.problems


def test_subvolumes_have_numbers_that_mountinfo_does_not_know(mounts: Mounts) -> None:
    mounts.add("/", type_="btrfs", root="/@")
    mounts.tree.devices["/"] = 99
    assert set(mounts.documents()) == {"/"}


def test_escaped_and_odd_names(mounts: Mounts) -> None:
    assert unescaped(rb"/a\040b\011c\012d\134e") == b"/a b\tc\nd\\e"
    odd = os.fsdecode(b"/caf\xe9 x")
    mounts.add(odd)
    mounts.text = ""
    raw = line("POINT").encode().replace(b"POINT", b"/caf\xe9\\040x")
    mounts.tree.write("proc/1/mountinfo", raw)
    [values] = Host(mounts.tree, filesystem.COLLECTOR).tick()["filesystem"].values()
    assert values[PREFIX + "mount_point"] == "/caf\ufffd x"
    assert values[PREFIX + "total"] == 4_096_000


class Hanging(Tree):
    """statvfs of ``hangs`` comes back when ``release`` is set."""

    def __init__(self, directory: Path, hangs: set[str]) -> None:
        super().__init__(directory, {})
        self.hangs = hangs
        self.release = threading.Event()
        self.asked: list[str] = []

    def statvfs(self, path: str) -> os.statvfs_result:
        self.asked.append(path)
        if path in self.hangs:
            self.release.wait()
        return super().statvfs(path)


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mounts]:
    monkeypatch.setattr(filesystem, "_DEADLINE_S", 0.4)
    mounts = Mounts(tmp_path)
    mounts.tree = tree = Hanging(tmp_path, {"/dead", "/dead2"})
    for device, point in enumerate(("/", "/dead", "/dead2", "/live"), 1):
        mounts.add(point, device=device << 8)
    yield mounts
    tree.release.set()


def crew_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "crew"}


def test_mount_that_hangs_is_marked_and_holds_up_no_other(hanging: Mounts) -> None:
    tree = hanging.tree
    assert isinstance(tree, Hanging)
    before = crew_threads()
    host = hanging.host()
    for _ in range(5):
        documents = host.tick()["filesystem"]
        assert {point: values[PREFIX + "stuck"] for point, values in documents.items()} == {
            "/": False, "/dead": True, "/dead2": True, "/live": False,
        }  # fmt: skip
        assert PREFIX + "total" not in documents["/dead"]
        assert PREFIX + "total" in documents["/live"]
    assert tree.asked.count("/dead") == 1
    assert len(crew_threads() - before) == 3  # one for each that hangs, one for all others


def test_mount_that_answers_again_is_no_longer_stuck(hanging: Mounts) -> None:
    tree = hanging.tree
    assert isinstance(tree, Hanging)
    before = crew_threads()
    host = hanging.host()
    host.tick()
    tree.release.set()
    waiting = crew_threads() - before
    documents = {}
    for _ in range(200):
        documents = host.tick()["filesystem"]
        if not any(values[PREFIX + "stuck"] for values in documents.values()):
            break
        threading.Event().wait(0.005)
    assert documents["/dead"][PREFIX + "total"] == 4_096_000
    for thread in waiting:  # all but the one that goes on end
        thread.join(timeout=0.2)
    assert len(crew_threads() - before) == 1


def test_mount_that_may_not_be_asked_is_told_as_absent(mounts: Mounts, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts.add("/")
    mounts.add("/secret", device=8 << 8)
    usual = mounts.tree.statvfs

    def refuse(path: str) -> os.statvfs_result:
        if path == "/secret":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(mounts.tree, "statvfs", refuse)
    host = mounts.host()
    assert set(host.tick()["filesystem"]) == {"/"}
    assert host.problems == {}
    assert host.absent == {"secret": "no permission"}


@contextlib.contextmanager
def silent_fuse(directory: Path) -> Iterator[Path]:
    """A FUSE file system whose server never answers: every call on it hangs, as on a dead NFS server."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        if libc.mount(b"silent", bytes(directory), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        try:
            yield directory
        finally:
            os.close(fd)  # the server is gone: what hangs ends with an error
            fd = -1
            libc.umount2(bytes(directory), 2)  # MNT_DETACH
    finally:
        if fd >= 0:
            os.close(fd)


@pytest.mark.root
def test_a_real_mount_that_hangs_is_stuck_and_the_others_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "_DEADLINE_S", 1.0)
    point = tmp_path / "silent"
    point.mkdir()
    crew = threading.active_count()
    with silent_fuse(point):
        ticks = Ticks(Root(), (filesystem.COLLECTOR,), config())
        began = time.monotonic()
        for _ in range(3):
            documents = ticks.tick()["filesystem"]
        assert time.monotonic() - began < 3
        assert documents[str(point)][PREFIX + "stuck"] is True
        assert PREFIX + "total" not in documents[str(point)]
        assert documents["/"][PREFIX + "stuck"] is False
        assert documents["/"][PREFIX + "total"] != 0
        assert threading.active_count() - crew <= 2
    for _ in range(200):
        if str(point) not in ticks.tick()["filesystem"]:
            break
        threading.Event().wait(0.01)
    assert str(point) not in ticks.tick()["filesystem"]
    ticks.close()


def test_a_filesystem_that_the_kernel_made_read_only(mounts: Mounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the options change without a sign to those who wait for mounts."""
    monkeypatch.setattr(File, "is_unchanged", lambda _file: True)
    mounts.add("/var")
    host = mounts.host()
    assert host.tick()["filesystem"]["/var"][f"{PREFIX}read_only"] is False
    mounts.tree.write("proc/1/mountinfo", line("/var", options="ro"))
    assert host.tick(50)["filesystem"]["/var"][f"{PREFIX}read_only"] is False
    assert host.tick(10)["filesystem"]["/var"][f"{PREFIX}read_only"] is True


_AS_PID_1 = """
import subprocess, sys
from shipper.collect.host import filesystem
from shipper.kernel.source import Descriptors, File, Reader, Root
from shipper.settings.config import Config
point, reads = sys.argv[1], 0
whole = File.read

def counted(file):
    global reads
    reads += 1
    return whole(file)

File.read = counted
collect = filesystem.COLLECTOR.start(Reader(Root("/", Descriptors(8))), Config())
for command in ("true", "mount -t tmpfs none", "true", "mount -o remount,ro", "umount", "true"):
    subprocess.run([*command.split(), point], check=True)
    found = [reading.values["system.filesystem.read_only"] for reading in collect() if reading.entity == point]
    print(reads, *found)
"""


@pytest.mark.root
def test_mounts_are_read_again_when_the_kernel_announces_a_change(tmp_path: Path) -> None:
    """Others may remove the place of a mount, which unmounts it in every namespace: one run of three counts."""
    words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", sys.executable, "-c", _AS_PID_1, str(tmp_path)]

    def run() -> list[str]:
        return subprocess.check_output(words, text=True, timeout=60).splitlines()

    assert ["1", "2 False", "2 False", "3 True", "4", "4"] in (run() for _ in range(3))
