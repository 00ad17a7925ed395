"""Uptime, what the host is, and its processes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from trees import Host, Tree

from shipper.collect.host import uptime
from shipper.collect.process import processes
from shipper.settings.config import Config, Spool

RELEASE = """\
# comment
PRETTY_NAME="Flatcar Container Linux by Kinvolk 3815.2.5 (Oklo)"
NAME='Flatcar Container Linux by Kinvolk'
ID=flatcar
ID_LIKE=coreos
VERSION_ID=3815.2.5
"""
FILES = {
    "proc/uptime": "1043.27 2011.60\n",
    "proc/sys/kernel/random/boot_id": "01234567-89ab-4cde-8f01-23456789abcd\n",
    "proc/sys/kernel/osrelease": "6.18.44\n",
    "proc/sys/kernel/arch": "aarch64\n",
    "etc/os-release": RELEASE,
}


def test_host_document_says_what_the_host_is(tmp_path: Path) -> None:
    assert Host(Tree(tmp_path, FILES), uptime.COLLECTOR).host() == {
        "system.uptime.duration.ms": 1_043_270,
        "host.boot.id": "01234567-89ab-4cde-8f01-23456789abcd",
        "host.os.name": "Flatcar Container Linux by Kinvolk",
        "host.os.full": "Flatcar Container Linux by Kinvolk 3815.2.5 (Oklo)",
        "host.os.version": "3815.2.5",
        "host.os.platform": "flatcar",
        "host.os.family": "flatcar",
        "host.os.kernel": "6.18.44",
        "host.os.type": "linux",
        "host.architecture": "aarch64",
    }


def booted(directory: Path, tree: Tree) -> list[object]:
    """What the first two documents of a shipper's run say."""
    settings = replace(Config(), spool=Spool(directory=str(directory)))
    host = Host(tree, uptime.COLLECTOR, settings=settings, keep=True)
    return [host.host(10).get("system.boot.first") for _ in range(2)]


def test_the_first_document_after_a_boot_says_so_however_late(tmp_path: Path) -> None:
    spool, tree = tmp_path / "spool", Tree(tmp_path / "root", FILES)
    spool.mkdir()
    assert booted(spool, tree) == [None, None]  # the first run of all, a quarter of an hour after the boot
    tree.write("proc/sys/kernel/random/boot_id", "11111111-89ab-4cde-8f01-23456789abcd\n")
    assert booted(spool, tree) == [True, None]
    assert booted(spool, tree) == [None, None]


def test_a_first_run_soon_after_a_boot_is_part_of_it(tmp_path: Path) -> None:
    spool, tree = tmp_path / "spool", Tree(tmp_path / "root", FILES | {"proc/uptime": "91.79 1.00\n"})
    spool.mkdir()
    assert booted(spool, tree) == [True, None]
    assert booted(spool, tree) == [None, None]


def test_without_a_spool_no_document_is_the_first(tmp_path: Path) -> None:
    tree = Tree(tmp_path, FILES | {"proc/uptime": "91.79 1.00\n"})
    assert Host(tree, uptime.COLLECTOR).host().get("system.boot.first") is None


@pytest.mark.parametrize(
    ("ids", "family"),
    [
        ("ID=debian", "debian"),
        ("ID=pop\nID_LIKE='ubuntu debian'", "debian"),
        ('ID=rocky\nID_LIKE="rhel fedora"', "redhat"),
        ("ID=nixos", None),
    ],
)
def test_family(ids: str, family: str | None) -> None:
    assert uptime.os_release(f"{ids}\n".encode()).get("host.os.family") == family


def test_release_below_usr_where_etc_has_none(tmp_path: Path) -> None:
    files = {"usr/lib/os-release": "ID=fedora\n", "proc/uptime": "1.00 1.00\n"}
    assert Host(Tree(tmp_path, files), uptime.COLLECTOR).host()["host.os.platform"] == "fedora"


def test_kernel_before_6_1_does_not_tell_its_architecture(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"proc/uptime": "1.00 1.00\n"})
    assert Host(tree, uptime.COLLECTOR).host()["host.architecture"] == os.uname().machine


def test_what_the_host_is_stays_in_every_document_and_is_read_each_minute(tmp_path: Path) -> None:
    tree = Tree(tmp_path, FILES)
    host = Host(tree, uptime.COLLECTOR)
    host.host()
    tree.write("etc/os-release", RELEASE.replace("3815", "3999"))
    tree.remove("proc/sys/kernel/osrelease")
    assert host.host()["host.os.version"] == "3815.2.5"
    later = host.host(seconds=60)
    assert (later["host.os.version"], later["host.os.kernel"]) == ("3999.2.5", "6.18.44")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    damaged = {
        "proc/uptime": "nan 1.0\n", "proc/sys/kernel/osrelease": "\x00\x01\n", "etc/os-release": "\n",
        "proc/sys/kernel/random/boot_id": "",
    }  # fmt: skip
    host = Host(Tree(tmp_path, {**FILES, **damaged}), uptime.COLLECTOR)
    assert set(host.host()) == {"host.os.type", "host.architecture"}
    assert set(host.problems) == set(damaged)


STATES = {
    "1": "R (running)", "2": "S (sleeping)", "3": "D (disk sleep)", "4": "Z (zombie)", "5": "I (idle)",
    "6": "T (stopped)", "7": "t (tracing stop)", "8": "X (dead)", "9": "P (parked)", "10": "S (sleeping)",
}  # fmt: skip


def process_tree(directory: Path) -> Tree:
    tree = Tree(directory, {"proc/stat": "cpu  1 1 1 1\nbtime 1795457308\n"})
    for pid, state in STATES.items():
        numbers = " ".join(str(n) for n in range(1, 50))
        tree.write(f"proc/{pid}/stat", f"{pid} (a) b) {state[0]} {numbers}\n")
        tree.write(f"proc/{pid}/status", f"Name:\ta\nState:\t{state}\n")
    return tree


def test_processes_by_state(tmp_path: Path) -> None:
    values = Host(process_tree(tmp_path), processes.COLLECTOR).host()
    assert {name.rpartition(".")[2]: value for name, value in values.items()} == {
        "total": 10, "running": 1, "sleeping": 2, "disk_sleep": 1, "zombie": 1, "idle": 1, "stopped": 2, "dead": 1,
        "unknown": 1,
    }  # fmt: skip


def test_process_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    tree = process_tree(tmp_path)
    tree.remove("proc/2/stat")
    tree.remove("proc/2/status")
    host = Host(tree, processes.COLLECTOR)
    assert host.host()["system.process.summary.total"] == 9
    assert not host.problems


def test_a_damaged_column_leaves_the_process_counted(tmp_path: Path) -> None:
    tree = process_tree(tmp_path)
    tree.write("proc/3/stat", f"3 (a) D {' '.join(['x', *map(str, range(2, 50))])}\n")
    host = Host(tree, processes.COLLECTOR)
    values = host.host()
    assert (values["system.process.summary.total"], values["system.process.summary.disk_sleep"]) == (10, 1)
    assert list(host.problems) == ["proc/3/stat"]


def test_no_proc_at_all_is_no_zero(tmp_path: Path) -> None:
    host = Host(Tree(tmp_path, {}), processes.COLLECTOR)
    assert host.host() == {}


def test_processes_are_counted_once_a_minute_at_most() -> None:
    assert processes.COLLECTOR.every_s == 60
