"""Whose kernel is seen below the host root: on trees of files, and from real namespaces of this machine."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from trees import Tree

from shipper.base.errors import HostViewError
from shipper.base.findings import Level
from shipper.kernel import hostview
from shipper.kernel.hierarchy import Mode
from shipper.kernel.hostview import HostView
from shipper.kernel.source import Root

MACHINE_ID = "0123456789abcdef0123456789abcdef"
SHIPPER = [sys.executable, "-c", "import sys; from shipper.cli import main; sys.exit(main())"]
KTHREADD = "2 (kthreadd) S 0 0 0 0 -1\n"
HOST = {
    "etc/hostname": "# of this node\nnode-1.example\n",
    "etc/machine-id": f"{MACHINE_ID}\n",
    "proc/stat": "cpu 1 2 3 4\n",
    "proc/1/comm": "systemd\n",
    "proc/1/mountinfo": "24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
    "proc/1/net/dev": "x",
    "proc/2/stat": KTHREADD,
    "proc/sys/kernel/random/boot_id": "5c7a1b1e-0000-4000-8000-000000000000\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
}
LIVE_DEVICE = os.makedev(8, 1)


class LiveTree(Tree):
    """A tree whose ``proc`` is a mount of its own, as a live one is."""

    def stat(self, path: str) -> os.stat_result:
        found = list(super().stat(path))
        found[2] = os.makedev(0, 21) if path == "proc" else LIVE_DEVICE
        return os.stat_result(found)


def view(
    directory: Path, changes: dict[str, str | None] | None = None, *, live: bool = True, name: str = ""
) -> HostView:
    files = {**HOST, **(changes or {})}
    kind = LiveTree if live else Tree
    root = kind(directory, {path: text for path, text in files.items() if text is not None})
    return hostview.examine(root, name, {})


def wrong(seen: HostView) -> list[str]:
    return [finding.text for finding in seen.findings if finding.level is Level.WRONG]


def notes(seen: HostView) -> list[str]:
    return [finding.text for finding in seen.findings if finding.level is Level.NOTE]


def test_host_is_told_from_its_own_files(tmp_path: Path) -> None:
    seen = view(tmp_path)
    assert (seen.name, seen.id, seen.init) == ("node-1.example", MACHINE_ID, "systemd")
    assert seen.boot_id == "5c7a1b1e-0000-4000-8000-000000000000"
    assert seen.cgroup_mode is Mode.V2
    assert {finding.level for finding in seen.findings} == {Level.OK}
    hostview.require(seen)


def test_captured_tree_is_taken_for_what_it_says(tmp_path: Path) -> None:
    seen = view(tmp_path, {"proc/2/stat": None}, live=False)
    assert wrong(seen) == []
    assert notes(seen) == ["proc is not mounted below the host root; the files are those of a captured tree"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"proc/stat": None}, "no proc/stat below ROOT; bind the host's / there, or set collect.host_root"),
        ({"proc/1/comm": None}, "no proc/1/comm below ROOT; bind the host's / there, or set collect.host_root"),
        ({"proc/2/stat": "2 (bash) S 1 2 2 0 -1\n"}, "proc shows the processes of a container, not those of the host"),
        ({"proc/2/stat": None}, "proc shows the processes of a container, not those of the host"),
        (
            {"proc/1/mountinfo": "24 1 0:99 / / rw - overlay overlay rw\n"},
            "the host root ROOT is not the / of pid 1; bind the host's / and set collect.host_root",
        ),
        ({"sys/fs/cgroup/cgroup.events": "populated 1\n"}, "sys/fs/cgroup shows only the cgroups of a container"),
        (
            {"etc/hostname": "3f2b9c1d4e5f\n"},
            'host name "3f2b9c1d4e5f" looks like the id of a container; set host.name if it is right',
        ),
        ({"etc/hostname": None}, "no host name in etc/hostname; set host.name"),
    ],
)
def test_wrong_view_is_refused_in_one_line(changes: dict[str, str | None], expected: str, tmp_path: Path) -> None:
    seen = view(tmp_path, changes)
    text = expected.replace("ROOT", str(tmp_path))
    assert wrong(seen) == [text]
    with pytest.raises(HostViewError) as caught:
        hostview.require(seen)
    assert str(caught.value) == f"this is not the host: {text}; to start anyway, set host.verify to false"


def test_v1_root_cgroup_is_told_by_its_release_agent(tmp_path: Path) -> None:
    v1 = {"sys/fs/cgroup/cgroup.controllers": None, "sys/fs/cgroup/memory/notify_on_release": "0\n"}
    below = view(tmp_path / "below", v1)
    assert (below.cgroup_mode, wrong(below)) == (Mode.V1, ["sys/fs/cgroup shows only the cgroups of a container"])
    assert wrong(view(tmp_path / "root", {**v1, "sys/fs/cgroup/memory/release_agent": "\n"})) == []


def test_btrfs_has_device_numbers_of_its_own(tmp_path: Path) -> None:
    assert wrong(view(tmp_path, {"proc/1/mountinfo": "24 1 0:30 /root / rw - btrfs /dev/sda1 rw\n"})) == []


def test_link_to_the_namespace_beats_the_guess_by_kthreadd(tmp_path: Path) -> None:
    for number, expected in (
        (4026531836, []),
        (4026532999, ["proc shows the processes of a container, not those of the host"]),
    ):
        directory = tmp_path / str(number)
        (directory / "proc/1/ns").mkdir(parents=True)
        (directory / "proc/1/ns/pid").symlink_to(f"pid:[{number}]")
        assert wrong(view(directory, {"proc/2/stat": KTHREADD if expected else None})) == expected


def test_configured_name_is_believed(tmp_path: Path) -> None:
    seen = view(tmp_path, {"etc/hostname": None}, name="3f2b9c1d4e5f")
    assert (seen.name, wrong(seen)) == ("3f2b9c1d4e5f", [])


@pytest.mark.parametrize("machine_id", [None, "", "uninitialized\n", "b08dfa6083e7567a1921a715000001fb extra\n"])
def test_id_of_a_host_without_machine_id_is_stable(machine_id: str | None, tmp_path: Path) -> None:
    changes = {"etc/machine-id": machine_id}
    first, second = view(tmp_path / "a", changes), view(tmp_path / "b", changes)
    assert first.id == second.id
    assert first.id != view(tmp_path / "c", {**changes, "etc/hostname": "node-2\n"}).id
    uuid = {"sys/class/dmi/id/product_uuid": "4C4C4544-0000-1010-8020-80C04F202020\n"}
    assert view(tmp_path / "d", {**changes, **uuid}).id == "4c4c454400001010802080c04f202020"


def test_inside_a_container_the_root_must_be_told(tmp_path: Path) -> None:
    seen = hostview.examine(Tree(tmp_path, HOST), "", {"container": "systemd-nspawn"})
    assert wrong(seen) == []
    assert f"runs inside systemd-nspawn, host root {tmp_path}" in {one.text for one in seen.findings}
    own = hostview.examine(Root("/"), "", {"container": "systemd-nspawn"})
    assert "runs inside systemd-nspawn; set collect.host_root to the path where the host's / is bound" in wrong(own)


def test_this_machine_is_seen() -> None:
    seen = hostview.examine(Root("/"), "a-name", {})
    assert len(seen.id) == 32
    assert seen.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def check_in(unshare: str, before: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``shipper check`` in new namespaces, after ``before`` has been run there."""
    command = f"{before} {shlex.join([*SHIPPER, 'check', *arguments])}"
    full = ["unshare", *unshare.split(), "--fork", "sh", "-c", command]
    return subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.root
def test_own_process_namespace_is_refused() -> None:
    done = check_in("--pid --mount-proc", "")
    assert done.returncode == 3
    assert "wrong  proc shows the processes of a container, not those of the host\n" in done.stdout


@pytest.mark.root
def test_proc_without_the_hosts_root_is_refused(tmp_path: Path) -> None:
    before = f"mount -t tmpfs x {tmp_path} && mkdir {tmp_path}/proc && mount --rbind /proc {tmp_path}/proc &&"
    done = check_in("--mount", before, "--host-root", str(tmp_path), "--host-name", "x")
    assert done.returncode == 3
    assert f"wrong  the host root {tmp_path} is not the / of pid 1; " in done.stdout


@pytest.mark.root
def test_host_is_seen_through_a_bound_root_from_namespaces_of_ones_own(tmp_path: Path) -> None:
    before = f"mount --rbind / {tmp_path} && mount -t proc proc /proc &&"
    done = check_in("--mount --pid --net --cgroup --uts --ipc", before, "--host-root", str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert f"ok     the host root {tmp_path} is the / of pid 1\n" in done.stdout
    assert "no interfaces" not in done.stdout


def checked(script: str, *options: str) -> str:
    """What `shipper check` says in a mount namespace of its own, after ``script``."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "-", *SHIPPER, "check", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.root
def test_hidden_processes_are_told_with_the_way_out() -> None:
    less = "setpriv --regid=12345 --clear-groups --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace"
    said = checked(f'mount -t proc -o hidepid=2 proc /proc; exec {less} "$@"', "--host-name", "a")
    wrong = [line for line in said.splitlines() if line.startswith("wrong")]
    assert len([line for line in wrong if "hidepid=" in line and "CAP_SYS_PTRACE" in line]) == 1, said
    assert "bind the host's / there" not in said


@pytest.mark.root
@pytest.mark.parametrize("follows", [False, True])
def test_a_bind_that_does_not_follow_later_mounts_is_told(tmp_path: Path, follows: bool) -> None:
    bind = f'mount --rbind / {tmp_path}; exec "$@"'
    said = checked(
        f"mount --make-rshared /; {bind}" if follows else bind, "--host-root", str(tmp_path), "--host-name", "a"
    )
    assert ("mount --make-rshared /" in said) is not follows
