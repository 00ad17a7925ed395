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


def host_after(case: str, directory: Path, changes: dict[str, str], seconds: float = 10) -> tuple[Host, dict[str, Any]]:
    """The tree's host and its host document ``seconds`` after its first moment, with these files changed between."""
    host = host_of(case, directory)
    host.host()
    for path, text in changes.items():
        host.tree.write(path, text)
    return host, host.host(seconds)


STAT = "cpu  {user} 0 500 {idle} 10 0 5 {steal} 0 0\ncpu0 1 0 2 3\ncpu1 1 0 2 3\nctxt 5000\n"


def test_06_a_steal_time_that_is_no_time_costs_itself(tmp_path: Path) -> None:
    host = host_of("06", tmp_path)
    values = host.host()
    expected = {
        "system.cpu.user.ns": 10_000_000_000,
        "system.cpu.idle.ns": 1_000_000_000_000,
        "system.cpu.steal.ns": None,
        "system.cpu.guest_nice.ns": 0,
        "system.cpu.cores": 2,
        "system.context_switches.count": 5000,
    }
    assert picked(values, expected) == expected
    assert values["system.load.norm.1"] == float(values["system.load.1"]) / 2  # type: ignore[arg-type]
    assert list(host.problems) == ["proc/stat"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(9000, 8000, id="falls"),
        pytest.param(9000, 9000 + 10_000, id="leaps"),
        pytest.param(9000, 9000 + 1_844_674_407, id="leaps far"),
        pytest.param(1_844_674_407_370_955, 1_844_674_407_370_955, id="is no time"),
    ],
)
def test_06_a_steal_time_that_cannot_be_costs_its_own_share_alone(before: int, after: int, tmp_path: Path) -> None:
    """10 s of 2 CPUs: half of it in user mode, the other half idle."""
    host = host_of("06", tmp_path)
    host.tree.write("proc/stat", STAT.format(user=1000, idle=100_000, steal=before))
    host.host()
    host.tree.write("proc/stat", STAT.format(user=2000, idle=101_000, steal=after))
    values = host.host()
    shares = {"user": 0.5, "idle": 0.5, "system": 0.0, "total": 0.5}
    assert {name: values.get(f"system.cpu.{name}.norm.pct") for name in shares} == shares
    assert "system.cpu.steal.norm.pct" not in values and "system.cpu.steal.pct" not in values


NET = (
    "Inter-|   Receive |  Transmit\n face |bytes packets |bytes packets\n    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n"
)
ETH0 = NET + "  eth0: {} 50 0 0 0 0 0 0 6000 60 0 0 0 0 0 0\n"


@pytest.mark.parametrize("speed", ["1000\n", "-1\n"])
def test_07_growth_that_no_link_explains_is_no_rate_and_in_no_total(speed: str, tmp_path: Path) -> None:
    host = host_of("07", tmp_path)
    host.tree.write("sys/class/net/eth0/speed", speed)
    host.tick()
    for received, total, ingress in ((1_063_244_811_824_168, 5000, None), (5100, 5000, None), (6100, 6000, 1000)):
        host.tree.write("proc/1/net/dev", ETH0.format(received))
        documents = host.tick()
        eth0, values = documents["network"]["eth0"], documents["host"][""]
        assert ("system.network.in.bytes_per_s" in eth0) is (ingress is not None)
        assert float(eth0.get("system.network.util.pct", 0.0)) <= 1  # type: ignore[arg-type]
        assert values["system.network.total.in.bytes"] == total
        assert values.get("host.network.ingress.bytes") == ingress


def test_a_disk_that_moves_more_than_a_disk_can_has_no_rate(tmp_path: Path) -> None:
    host, values = host_after(
        "07", tmp_path, {"proc/diskstats": f"254 0 vda 100 0 {1 << 50} 50 200 0 4000 80 0 100 130\n"}
    )
    assert values["system.diskio.total.read.bytes"] == 2000 * 512
    assert "system.diskio.total.read.bytes_per_s" not in host.tick()["disk"]["vda"]


def test_a_container_that_used_more_than_all_cpus_has_no_rate(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    [path] = [path for path, values in host.tick()["cgroup"].items() if values["cgroup.kind"] == "container"]
    host.tree.write(f"sys/fs/cgroup{path}/cpu.stat", "usage_usec 105000000\nuser_usec 5000000\nsystem_usec 2000000\n")
    values = host.tick()["cgroup"][path]
    assert "cgroup.cpu.cores" not in values and "cgroup.cpu.pct" not in values
    assert values["cgroup.cpu.user.cores"] == pytest.approx(0.2)
