"""What each host tree that went wrong once gives now; ``casetrees`` says what they are."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from casetrees import host_of
from trees import Host, config

from shipper.collect import COLLECTORS
from shipper.collect.cgroup import cgroups, container_network
from shipper.collect.cgroup.runtime import docker_state
from shipper.fields.rates import Value
from shipper.kernel.source import Reader

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


POD_UID = "36b6d6be-fdcc-454b-97bd-aadfdeb4c340"


def test_04_containers_whose_names_have_colons(tmp_path: Path) -> None:
    host = host_of("04", tmp_path)
    found = containers(host)
    names = ("container.runtime", "kubernetes.pod.uid", "cgroup.aggregate")
    known = {id_: tuple(values.get(name) for name in names) for id_, values in found.items()}
    assert known == {
        **dict.fromkeys(("a1", "b2", "c3"), ("containerd", POD_UID, False)),
        "d4": ("containerd", None, False),
    }
    assert found["a1"]["container.name"] == "web"
    services = [values for values in host.tick()["cgroup"].values() if values["cgroup.kind"] == "service"]
    assert [(values["cgroup.name"], values["cgroup.aggregate"]) for values in services] == [
        ("containerd.service", True)
    ]


def test_24_names_of_other_makers(tmp_path: Path) -> None:
    found = host_of("24", tmp_path).tick()["cgroup"]
    ends = {path.rpartition("/")[2][:24]: values for path, values in found.items()}
    pods = [values for values in found.values() if values["cgroup.kind"] == "pod"]
    assert sorted(str(pod.get("kubernetes.pod.uid")) for pod in pods) == [POD_UID, "None"]
    assert (ends["103.scope"]["cgroup.kind"], ends["103.scope"]["cgroup.name"]) == ("machine", "103")
    assert ends["runc-abc.scope"]["cgroup.kind"] == "scope"
    named = {
        str(values["container.id"])[:2]: values for values in found.values() if values["cgroup.kind"] == "container"
    }
    assert {id_: values["container.runtime"] for id_, values in named.items()} == {
        "a1": "docker",
        "b2": "containerd",
        "d4": "podman",
    }


def test_24_a_node_in_a_container_is_counted_once(tmp_path: Path) -> None:
    found = host_of("24", tmp_path).tick()["cgroup"]
    [node] = [path for path, values in found.items() if str(values.get("container.id")).startswith("a1")]
    within = [values["cgroup.aggregate"] for path, values in found.items() if path.startswith(f"{node}/")]
    assert found[node]["cgroup.aggregate"] is False
    assert len(within) == 5 and all(within)


def test_09_a_path_of_a_multipath_device_is_not_counted_beside_its_head(tmp_path: Path) -> None:
    documents = host_of("09", tmp_path).tick()
    assert set(documents["disk"]) == {"nvme0n1"}
    expected = {"system.diskio.total.read.bytes": 40_960_000, "system.diskio.total.write.bytes": 81_920_000}
    assert picked(documents["host"][""], expected) == expected


def test_21_disks_without_sysfs(tmp_path: Path) -> None:
    host = host_of("base", tmp_path)
    more = " 254 1 vda1 90 0 1000 50 200 0 4000 80 0 100 130\n 253 0 dm-0 90 0 1000 50 200 0 4000 80 0 100 130\n"
    host.tree.write("proc/diskstats", " 254 0 vda 100 0 2000 50 200 0 4000 80 0 100 130\n" + more)
    documents = host.tick()
    assert set(documents["disk"]) == {"vda", "dm-0"}
    assert documents["disk"]["vda"]["system.diskio.read.bytes"] == 1_024_000
    assert documents["host"][""]["system.diskio.total.read.bytes"] == 1_024_000


def test_totals_leave_out_what_has_no_document(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    for name, number in (("sr0", "11 0"), ("vda", "254 0")):
        host.tree.write(f"sys/block/{name}/device/model", "x\n")
        host.tree.write("proc/diskstats", f" {number} {name} 100 0 2000 50 200 0 4000 80 0 100 130\n")
    lines = (f" {number} {name} 1 0 2 5 0 0 0 0 0 1 1\n" for name, number in (("sr0", "11 0"), ("vda", "254 0")))
    host.tree.write("proc/diskstats", "".join(lines))
    host = Host(host.tree, *COLLECTORS, settings=config(device_exclude=("sr*",)))
    documents = host.tick()
    assert set(documents["disk"]) == {"vda"}
    assert documents["host"][""]["system.diskio.total.read.bytes"] == 1024


@pytest.mark.parametrize("sysfs", [True, False])
def test_a_bond_and_its_members_are_counted_once(sysfs: bool, tmp_path: Path) -> None:
    """A virtual machine whose interfaces have no device behind them."""
    host = host_of("base", tmp_path)
    names = ("lo", "eth0", "eth1", "bond0", "bond0.7")
    host.tree.write("proc/1/net/dev", NET + "".join(f"  {one}: 100 1 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n" for one in names))
    for name, lower in (("eth0", ""), ("eth1", ""), ("bond0", "eth0"), ("bond0.7", "bond0")) if sysfs else ():
        host.tree.write(f"sys/class/net/{name}/ifindex", "2\n")
        if lower:
            host.tree.write(f"sys/class/net/{name}/lower_{lower}/ifindex", "2\n")
    assert host.host()["system.network.total.in.bytes"] == 200


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (("eth0", "docker0", "veth1a2b", "br-0123456789ab", "eth0.5", "flannel.1"), 100),
        (("eth0", "net1"), 200),
        (("veth0",), 100),
    ],
)
def test_traffic_inside_a_container_is_not_its_traffic_to_the_outside(inside: tuple[str, ...], expected: int) -> None:
    text = NET + "".join(f"  {one}: 100 1 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n" for one in ("lo", *inside))
    assert container_network.parse(text.encode())["cgroup.network.in.bytes"] == expected


def test_io_of_a_stacked_device_is_left_out_by_the_device_tree(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    [path] = [path for path, values in host.tick()["cgroup"].items() if values["cgroup.kind"] == "container"]
    host.tree.write("sys/dev/block/250:0/slaves/vda/dev", "8:0\n")  # bcache, whose major number tells nothing
    host.tree.write("sys/dev/block/0:0/hidden", "1\n")
    host.tree.write("sys/dev/block/8:0/hidden", "0\n")
    rows = ("250:0 rbytes=5 wbytes=5", "8:0 rbytes=7000000 wbytes=9000000", "0:0 rbytes=3 wbytes=3", "253:1 rbytes=9")
    host.tree.write(f"sys/fs/cgroup{path}/io.stat", "\n".join((*rows, "")))
    values = host.tick()["cgroup"][path]
    assert (values["cgroup.io.read.bytes"], values["cgroup.io.write.bytes"]) == (7_000_000, 9_000_000)


def test_an_inactive_array_without_a_level_is_no_problem(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    for file, text in {"array_state": "inactive\n", "level": "\n", "raid_disks": "0\n"}.items():
        host.tree.write(f"sys/block/md1/md/{file}", text)
    assert host.tick()["raid"]["md1"]["system.raid.status"] == "inactive"
    assert "sys/block/md1/md/level" not in host.problems


def test_a_host_without_a_memory_controller_says_so(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    host.tree.write("sys/fs/cgroup/cgroup.controllers", "cpu io pids\n")
    reader = Reader(host.tree)
    list(cgroups.COLLECTOR.start(reader, config())())
    assert set(cgroups.COLLECTOR.absent(reader)) == {"cgroup.memory"}


def test_what_looks_like_a_container_and_is_not_known_is_counted_and_named(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    for name in ("a" * 32, "b" * 32):
        host.tree.write(f"sys/fs/cgroup/boxes/box-{name}/cpu.stat", "usage_usec 1\n")
    reader = Reader(host.tree)
    list(cgroups.COLLECTOR.start(reader, config())())
    [told] = cgroups.COLLECTOR.absent(reader).values()
    assert told.startswith(f"2 cgroups have an id in their names: /boxes/box-{'a' * 32}, ")


def test_v1_files_that_count_nothing_while_the_disk_works_give_no_io(tmp_path: Path) -> None:
    host = host_of("01", tmp_path)
    zero = "8:0 Read 0\n8:0 Write 0\nTotal 0\n"
    path = f"docker/{'a1' * 32}"
    for at, text in (("", zero), (f"{path}/", zero)):
        host.tree.write(f"sys/fs/cgroup/blkio/{at}blkio.throttle.io_service_bytes_recursive", text)
        host.tree.write(f"sys/fs/cgroup/blkio/{at}blkio.throttle.io_serviced_recursive", text)
    values = host.tick()["cgroup"][f"/{path}"]
    assert not [name for name in values if name.startswith("cgroup.io.")]
    assert host.absent["cgroup.io"].startswith("the kernel's blkio files count nothing")
    host.tree.write("sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes_recursive", "8:0 Read 5\nTotal 5\n")
    assert host.tick(61)["cgroup"][f"/{path}"]["cgroup.io.read.bytes"] == 0
    assert "cgroup.io" not in host.absent


def test_the_share_of_periods_in_which_a_container_was_throttled(tmp_path: Path) -> None:
    host = host_of("03", tmp_path)
    [path] = [path for path, values in host.tick()["cgroup"].items() if values["cgroup.kind"] == "container"]
    for periods, throttled, share in ((100, 10, None), (200, 35, 0.25), (200, 35, None)):
        usage = "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\n"
        host.tree.write(f"sys/fs/cgroup{path}/cpu.stat", f"{usage}nr_periods {periods}\nnr_throttled {throttled}\n")
        assert host.tick()["cgroup"][path].get("cgroup.cpu.throttled.pct") == share


DOCKER_29 = {
    "ID": "a1" * 32, "Name": "/web-1", "Driver": "overlayfs", "OS": "linux", "RestartCount": 3,
    "Image": "sha256:5a4b",
    "ImageManifest": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:9c"},
    "Config": {"Image": "registry.example/shop/web:2.1", "Labels": {}},
    "State": {
        "Running": True, "Paused": False, "Restarting": False, "OOMKilled": True, "Pid": 0, "ExitCode": 0,
        "StartedAt": "2026-11-23T18:00:05.5Z", "FinishedAt": "2026-11-23T18:00:00.123456789Z",
        "Health": {"Status": "unhealthy", "FailingStreak": 4, "Log": []},
    },
}  # fmt: skip


def docker_29(directory: Path, **changes: Any) -> dict[str, Value]:
    """With the containerd image store there is no image/overlay2/layerdb, from which cAdvisor takes names."""
    host = host_of("03", directory)
    content = {**DOCKER_29, **changes}
    host.tree.write(f"var/lib/docker/containers/{'a1' * 32}/config.v2.json", json.dumps(content))
    [values] = containers(host).values()
    return values


def test_docker_with_the_containerd_image_store(tmp_path: Path) -> None:
    values = docker_29(tmp_path)
    expected = {
        "container.name": "web-1",
        "container.image.name": "registry.example/shop/web:2.1",
        "container.health": "unhealthy",
        "container.state": "running",
        "container.restarts.count": 3,
        "container.oom_killed": True,
        "container.finished": "2026-11-23T18:00:00.123Z",
        "container.exit_code": None,
    }
    assert picked(values, expected) == expected


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {"Health": [], "ExitCode": "1", "OOMKilled": 1, "FinishedAt": 5, "Running": "yes"},
        {"Health": {"Status": "x" * 9}, "ExitCode": 1 << 70, "FinishedAt": "0001-01-01T00:00:00Z"},
        {"FinishedAt": "tomorrow", "ExitCode": True},
    ],
)
def test_a_state_of_another_form_gives_no_field(state: Any, tmp_path: Path) -> None:
    values = docker_29(tmp_path, State=state, RestartCount="x")
    names = {field.name for field in docker_state.FIELDS}
    assert not names & values.keys()
    assert values["container.name"] == "web-1"
