"""What each host tree that went wrong once gives now; ``casetrees`` says what they are."""

import os
from pathlib import Path
from typing import Any

import pytest
from casetrees import host_of
from trees import Host

from shipper.rates import Value

IO = {
    "cgroup.io.read.bytes": 7_000_000,
    "cgroup.io.write.bytes": 9_000_000,
    "cgroup.io.read.count": 10,
    "cgroup.io.write.count": 20,
}


def containers(host: Host) -> dict[str, dict[str, Value]]:
    """By the first two characters of their ids."""
    found = host.tick().get("cgroup", {}).values()
    return {str(values["container.id"])[:2]: values for values in found if values["cgroup.kind"] == "container"}


def picked(values: dict[str, Value], names: dict[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in names}


def test_01_an_unknown_device_of_blkio_costs_neither_container(tmp_path: Path) -> None:
    host = host_of("01", tmp_path)
    found = containers(host)
    assert {id_: picked(values, IO) for id_, values in found.items()} == {"a1": IO, "b2": IO}
    assert len([file for file in host.problems if "blkio" in file]) == 2
    assert len(host.problems) == 2


def test_03_an_unknown_device_of_io_stat_costs_its_line(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    [values] = containers(host).values()
    assert picked(values, IO) == IO
    assert len(host.problems) == 1


def test_05_a_memory_controller_in_cgroup2_of_a_hybrid_host(tmp_path: Path) -> None:
    host = host_of("05", tmp_path)
    [values] = containers(host).values()
    expected = {
        "cgroup.memory.usage.bytes": 104_857_600,
        "cgroup.memory.limit.bytes": 209_715_200,
        "cgroup.memory.anon.bytes": 50_000_000,
        "cgroup.memory.working_set.bytes": 94_857_600,
        "cgroup.memory.events.oom_kill.count": 1,
        "cgroup.cpu.usage.ns": 5_000_000_000,
        "cgroup.mode": "hybrid",
    }
    assert picked(values, expected) == expected
    assert host.problems == {}


def test_18_a_v1_kernel_before_4_16(tmp_path: Path) -> None:
    host = host_of("18", tmp_path)
    [values] = containers(host).values()
    assert picked(values, IO) == IO
    assert "cgroup.memory.limit.effective.bytes" not in values
    assert values["cgroup.memory.anon.bytes"] == 50_000_000
    assert host.problems == {}


def test_18_its_counts_are_not_given_for_a_cgroup_with_others_below(tmp_path: Path) -> None:
    host = host_of("18", tmp_path)
    host.tree.write("sys/fs/cgroup/blkio/docker/blkio.throttle.io_service_bytes", "8:0 Read 5\nTotal 5\n")
    host.tree.write("sys/fs/cgroup/cpuacct/docker/cpuacct.usage", "1\n")
    assert "cgroup.io.read.bytes" not in host.tick()["cgroup"]["/docker"]


@pytest.mark.parametrize("options", ["rw,memory", "rw,cpu,memory"])
def test_a_hierarchy_that_is_mounted_elsewhere(options: str, tmp_path: Path) -> None:
    """As before systemd, in /cgroup or /dev/cgroup."""
    host = host_of("18", tmp_path)
    (tmp_path / "sys/fs/cgroup/memory").rename(tmp_path / "cgroup")
    host.tree.write(
        "proc/1/mountinfo",
        f"27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:20 / /cgroup rw - cgroup cgroup {options}\n",
    )
    [values] = containers(host).values()
    assert values["cgroup.memory.anon.bytes"] == 50_000_000


def test_19_conntrack_of_a_kernel_without_its_proc_file(tmp_path: Path) -> None:
    values = host_of("19", tmp_path).host()
    expected = {"system.conntrack.count": 1234, "system.conntrack.limit.count": 262_144}
    assert picked(values, expected) == expected
    assert values["system.conntrack.used.pct"] == pytest.approx(0.0047, abs=1e-4)


@pytest.mark.parametrize(("namespace", "known"), [("net:[1]", False), (None, True)])
def test_19_the_count_of_another_network_namespace_is_not_the_hosts(
    namespace: str | None, known: bool, tmp_path: Path
) -> None:
    host = host_of("19", tmp_path)
    (tmp_path / "proc/1/ns").mkdir()
    (tmp_path / "proc/1/ns/net").symlink_to(namespace or os.readlink("/proc/self/ns/net"))
    assert ("system.conntrack.count" in host.host()) is known
