"""Every field of a cgroup from the file that the kernel documents, the same from v1, hybrid and v2; distinct values."""

# ruff: noqa: E501 – tables

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Host, Tree, config

from shipper.collect.cgroup import cgroups, controllers
from shipper.fields.rates import Value
from shipper.kernel.hierarchy import Walker
from shipper.kernel.parse import ParseError
from shipper.kernel.source import Reader, Root

BOX = "/box.slice/a.service"
DEVICES = "Character devices:\n  1 mem\n\nBlock devices:\n  8 sd\n253 device-mapper\n"
SHARED = {
    "proc/devices": DEVICES,
    "proc/diskstats": "   8       0 sda 1 0 0 0\n   8      16 sdb 1 0 0 0\n",
    "sys/devices/system/cpu/online": "0-3\n",
}
V2 = {
    "cpu.stat": "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 11\nnr_throttled 12\nthrottled_usec 13\n",
    "cpu.max": "50000 100000\n", "cpu.weight": "79\n",
    "memory.current": "1000\n", "memory.peak": "1001\n", "memory.max": "2000\n", "memory.high": "1900\n",
    "memory.low": "14\n", "memory.min": "15\n", "memory.swap.current": "16\n", "memory.swap.max": "17\n",
    "memory.stat": "anon 21\nfile 22\nkernel 23\nslab 24\nsock 25\nshmem 26\nfile_mapped 27\nfile_dirty 28\ninactive_file 29\n"
    "pgfault 31\npgmajfault 32\nzswap 33\nzswapped 34\nworkingset_refault_anon 35\nworkingset_refault_file 36\npgscan 37\npgsteal 38\n",
    "memory.events": "low 41\nhigh 42\nmax 43\noom 44\noom_kill 45\noom_group_kill 46\n",
    "pids.current": "51\n", "pids.max": "52\n", "pids.peak": "53\n", "pids.events": "max 54\n", "cgroup.procs": "101\n102\n103\n",
    "cgroup.events": "populated 1\nfrozen 1\n",
    "io.stat": "8:0 rbytes=61 wbytes=62 rios=63 wios=64 dbytes=65 dios=66\n253:0 rbytes=9999 wbytes=9999 rios=9999 wios=9999 dbytes=9999 dios=9999\n",
    "hugetlb.2MB.current": "2097152\n", "hugetlb.1GB.current": "0\n", "hugetlb.32MB.current": "71\n",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n".replace("max", "5"),
    "misc.current": "sev 81\nsev_es 82\n",
}  # fmt: skip
V1 = {
    "cpuacct/cpuacct.usage": "7000\n", "cpuacct/cpuacct.usage_user": "4000\n", "cpuacct/cpuacct.usage_sys": "3000\n",
    "cpu/cpu.stat": "nr_periods 11\nnr_throttled 12\nthrottled_time 13000\n", "cpu/cpu.cfs_quota_us": "50000\n",
    "cpu/cpu.cfs_period_us": "100000\n", "cpu/cpu.shares": "809\n",
    "memory/memory.usage_in_bytes": "1000\n", "memory/memory.max_usage_in_bytes": "1001\n", "memory/memory.limit_in_bytes": "2000\n",
    "memory/memory.stat": "rss 9\ntotal_rss 21\ntotal_cache 22\ntotal_shmem 26\ntotal_mapped_file 27\ntotal_dirty 28\ntotal_inactive_file 29\n"
    "total_swap 16\ntotal_pgfault 31\ntotal_pgmajfault 32\ntotal_workingset_refault_anon 35\ntotal_workingset_refault_file 36\n"
    "hierarchical_memory_limit 1500\n",
    "memory/memory.kmem.usage_in_bytes": "23\n", "memory/memory.kmem.tcp.usage_in_bytes": "25\n", "memory/memory.failcnt": "43\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 45\n",
    "pids/pids.current": "51\n", "pids/pids.max": "52\n", "pids/pids.peak": "53\n", "pids/pids.events": "max 54\n",
    "pids/cgroup.procs": "101\n102\n103\n", "freezer/freezer.state": "FROZEN\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 61\n8:0 Write 62\n8:0 Sync 1\n8:0 Async 2\n8:0 Discard 65\n8:0 Total 188\n253:0 Read 9999\nTotal 188\n",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 63\n8:0 Write 64\n8:0 Discard 66\n8:0 Total 193\nTotal 193\n",
    "hugetlb/hugetlb.2MB.usage_in_bytes": "2097152\n", "hugetlb/hugetlb.1GB.usage_in_bytes": "0\n", "hugetlb/hugetlb.32MB.usage_in_bytes": "71\n",
    "rdma/rdma.current": V2["rdma.current"], "misc/misc.current": V2["misc.current"],
}  # fmt: skip
BOTH = {
    "cgroup.cpu.usage.ns": 7000, "cgroup.cpu.user.ns": 4000, "cgroup.cpu.system.ns": 3000, "cgroup.cpu.periods.count": 11,
    "cgroup.cpu.throttled.count": 12, "cgroup.cpu.throttled.ns": 13_000, "cgroup.cpu.limit.cores": 0.5, "cgroup.cpu.weight": 79,
    "cgroup.memory.usage.bytes": 1000, "cgroup.memory.peak.bytes": 1001, "cgroup.memory.limit.bytes": 2000,
    "cgroup.memory.limit.effective.bytes": 1500, "cgroup.memory.working_set.bytes": 971, "cgroup.memory.swap.usage.bytes": 16,
    "cgroup.memory.anon.bytes": 21, "cgroup.memory.file.bytes": 22, "cgroup.memory.kernel.bytes": 23, "cgroup.memory.sock.bytes": 25,
    "cgroup.memory.shmem.bytes": 26, "cgroup.memory.mapped.bytes": 27, "cgroup.memory.dirty.bytes": 28,
    "cgroup.memory.faults.count": 31, "cgroup.memory.major_faults.count": 32, "cgroup.memory.refaults.anon.count": 35,
    "cgroup.memory.refaults.file.count": 36, "cgroup.memory.events.max.count": 43, "cgroup.memory.events.oom_kill.count": 45,
    "cgroup.pids.current": 51, "cgroup.pids.limit": 52, "cgroup.pids.peak": 53, "cgroup.pids.events.max.count": 54,
    "cgroup.processes.count": 3, "cgroup.frozen": True,
    "cgroup.io.read.bytes": 61, "cgroup.io.write.bytes": 62, "cgroup.io.read.count": 63, "cgroup.io.write.count": 64,
    "cgroup.io.discard.bytes": 65, "cgroup.io.discard.count": 66,
    "cgroup.hugetlb.usage.bytes": 2_097_223, "cgroup.hugetlb.2mb.usage.bytes": 2_097_152, "cgroup.hugetlb.1gb.usage.bytes": 0,
    "cgroup.rdma.handles.count": 5, "cgroup.rdma.objects.count": 2005, "cgroup.misc.sev.count": 81, "cgroup.misc.sev_es.count": 82,
}  # fmt: skip
V2_ALONE = {
    "cgroup.memory.high.bytes": 1900, "cgroup.memory.low.bytes": 14, "cgroup.memory.min.bytes": 15, "cgroup.memory.swap.limit.bytes": 17,
    "cgroup.memory.slab.bytes": 24, "cgroup.memory.zswap.bytes": 33, "cgroup.memory.zswapped.bytes": 34,
    "cgroup.memory.scanned.count": 37, "cgroup.memory.reclaimed.count": 38, "cgroup.memory.events.low.count": 41,
    "cgroup.memory.events.high.count": 42, "cgroup.memory.events.oom.count": 44, "cgroup.memory.events.oom_group_kill.count": 46,
}  # fmt: skip
V1_BASE = "sys/fs/cgroup"
IO_LINE = "8:0 rbytes=61 wbytes=62 rios=63 wios=64 dbytes=65 dios=66\n"


def v2(directory: Path, *paths: str, excluded: tuple[str, ...] = ()) -> Host:
    base = "sys/fs/cgroup"
    own = {f"{base}{path}/{name}": text for path in paths or (BOX,) for name, text in V2.items()}
    around = {f"{base}/box.slice/memory.max": "1500\n", f"{base}/box.slice/memory.current": "1000\n"}
    files = {**SHARED, f"{base}/cgroup.controllers": "cpu memory\n", **around, **own}
    return Host(Tree(directory, files), cgroups.COLLECTOR, settings=config(cgroup_exclude=excluded))


def v1(directory: Path, *, hybrid: bool = False) -> Host:
    own = {f"{V1_BASE}/{name.replace('/', f'{BOX}/', 1)}": text for name, text in V1.items()}
    if hybrid:
        own |= {f"{V1_BASE}/unified/cgroup.controllers": "", f"{V1_BASE}/unified{BOX}/cpu.stat": "usage_usec 1\n"}
        own[f"{V1_BASE}/unified{BOX}/cgroup.events"] = "frozen 0\n"
    return Host(Tree(directory, {**SHARED, **own}), cgroups.COLLECTOR, settings=config(cgroup_exclude=()))


def box(host: Host, seconds: float = 10) -> dict[str, Value]:
    return host.tick(seconds)["cgroup"][BOX]


def picked(values: dict[str, Value], names: dict[str, Value]) -> dict[str, Value | None]:
    return {name: values.get(name) for name in names}


def test_each_field_of_v2(tmp_path: Path) -> None:
    host = v2(tmp_path)
    expected: dict[str, Value] = {**BOTH, **V2_ALONE}
    assert picked(box(host), expected) == expected
    assert host.problems == {}


@pytest.mark.parametrize("hybrid", [False, True])
def test_each_field_of_v1(tmp_path: Path, hybrid: bool) -> None:
    host = v1(tmp_path, hybrid=hybrid)
    values = box(host)
    expected: dict[str, Value] = {**BOTH}
    assert picked(values, expected) == expected
    assert not V2_ALONE.keys() & values.keys()
    assert host.problems == {}


IO_WORDS = st.sampled_from(["8:0", "8:16", "253:1", " ", "rbytes=1", "x", "\n", "8:0 rbytes=", "7", IO_LINE, IO_LINE])


@given(words=st.lists(IO_WORDS, max_size=8))
def test_the_usual_form_of_io_stat_changes_no_value(words: list[str]) -> None:
    def outcome(parse: controllers.Parse) -> object:
        try:
            return parse("".join(words).encode())
        except ParseError as error:
            return str(error), error.partial

    assert outcome(controllers._io_stat) == outcome(controllers._io_stat_carefully)


def test_busiest_device_is_named_with_its_rate(tmp_path: Path) -> None:
    host = v2(tmp_path)
    file = f"sys/fs/cgroup{BOX}/io.stat"
    assert "cgroup.io.busiest.name" not in box(host)
    host.tree.write(file, "8:0 rbytes=161 wbytes=62\n8:16 rbytes=300 wbytes=40\n253:0 rbytes=99999 wbytes=99999\n")
    values = box(host)
    assert (values["cgroup.io.busiest.name"], values["cgroup.io.busiest.bytes_per_s"]) == ("sdb", 34.0)
    assert "cgroup.io.busiest.name" not in box(host)


def test_no_limit_is_no_field(tmp_path: Path) -> None:
    host = v2(tmp_path)
    for name in ("memory.max", "memory.high", "memory.swap.max", "pids.max"):
        host.tree.write(f"sys/fs/cgroup{BOX}/{name}", "max\n")
    host.tree.write("sys/fs/cgroup/box.slice/memory.max", "max\n")
    host.tree.write(f"sys/fs/cgroup{BOX}/cpu.max", "max 100000\n")
    limits = {name for name in box(host) if ".limit." in name or name.endswith((".limit", ".high.bytes"))}
    assert limits == set()


def test_effective_limit_is_the_smallest_on_the_way_up(tmp_path: Path) -> None:
    deep = "/box.slice/box-in.slice/b.service"
    host = v2(tmp_path, BOX, deep)
    host.tree.write("sys/fs/cgroup/box.slice/box-in.slice/memory.max", "max\n")
    host.tree.write(f"sys/fs/cgroup{deep}/memory.max", "max\n")
    found = host.tick()["cgroup"]
    name = "cgroup.memory.limit.effective.bytes"
    assert [found[path][name] for path in ("/box.slice", BOX, deep)] == [1500] * 3
    assert "cgroup.memory.limit.bytes" not in found[deep]


def test_restarts_of_a_service_are_counted_and_what_is_read_slowly_is_read_anew(tmp_path: Path) -> None:
    host = v2(tmp_path)
    first = box(host)
    directory = tmp_path / f"sys/fs/cgroup{BOX}"
    directory.rename(tmp_path / "gone")
    for name, text in V2.items():
        host.tree.write(f"sys/fs/cgroup{BOX}/{name}", text)
    host.tree.write(f"sys/fs/cgroup{BOX}/cgroup.procs", "7\n")
    second = box(host)
    assert (first["cgroup.restarts.count"], second["cgroup.restarts.count"]) == (0, 1)
    assert second["cgroup.processes.count"] == 1
    assert not [name for name in second if name.endswith("_per_s")]


def test_what_is_read_each_minute_and_every_five(tmp_path: Path) -> None:
    host = v2(tmp_path)
    box(host)
    for name, text in (
        ("pids.max", "max\n"),
        ("cgroup.events", "frozen 0\n"),
        ("cgroup.procs", "1\n"),
        ("memory.swap.max", "max\n"),
        ("memory.max", "1250\n"),
        ("cpu.max", "max 100000\n"),
    ):
        host.tree.write(f"sys/fs/cgroup{BOX}/{name}", text)
    assert box(host)["cgroup.frozen"] is True
    values = box(host, 60)
    assert (values["cgroup.frozen"], values["cgroup.processes.count"]) == (False, 1)
    assert values["cgroup.memory.limit.bytes"] == values["cgroup.memory.limit.effective.bytes"] == 1250
    assert not {"cgroup.pids.limit", "cgroup.cpu.limit.cores"} & values.keys()
    assert "cgroup.memory.swap.limit.bytes" not in box(host, 300)


def test_a_controller_that_is_turned_on_later_is_found_within_a_minute(tmp_path: Path) -> None:
    host = v2(tmp_path)
    file = f"sys/fs/cgroup{BOX}/memory.current"
    host.tree.remove(file)
    assert "cgroup.memory.usage.bytes" not in box(host)
    host.tree.write(file, "5\n")
    assert box(host, 60)["cgroup.memory.usage.bytes"] == 5


@pytest.mark.parametrize("name", [name for name in V2 if name != "cgroup.procs"])
@pytest.mark.parametrize("text", ["", "\n", "x", "-1\n", "9" * 40 + "\n", "max", "\0\0", "a b c d\n" * 3])
def test_damaged_file_costs_its_own_values_only(name: str, text: str, tmp_path: Path) -> None:
    host = v2(tmp_path)
    sound = box(host)
    host = v2(tmp_path / "damaged")
    host.tree.write(f"sys/fs/cgroup{BOX}/{name}", text)
    values = box(host)
    lost = sound.keys() - values.keys()
    assert len(lost) <= 20
    derived = {"cgroup.memory.working_set.bytes", "cgroup.memory.limit.pct", "cgroup.start", "cgroup.uptime.ms"}
    assert {key: values[key] for key in values.keys() - derived if key.startswith("cgroup.") and values[key] != sound.get(key)}.keys() <= {
        "cgroup.memory.limit.effective.bytes", "cgroup.hugetlb.usage.bytes", "cgroup.rdma.handles.count",
    }  # fmt: skip


def test_walk_gives_the_same_tree_until_something_changes(tmp_path: Path) -> None:
    """A real file system with the kernel's number of links, or one without: the answer is the same."""
    top = tmp_path / "sys/fs/cgroup"
    (top / "a/b").mkdir(parents=True)
    (top / "c").mkdir()
    walker = Walker(Reader(Root(str(tmp_path))))
    hierarchies = {"unified": "sys/fs/cgroup"}
    first = walker.walk(hierarchies)
    assert (set(first.children), set(first.children["a"].children)) == ({"a", "c"}, {"b"})
    assert walker.walk(hierarchies) is first
    (top / "a/b").rmdir()
    (top / "a/d").mkdir()
    second = walker.walk(hierarchies)
    assert second is not first
    assert set(second.children["a"].children) == {"d"}
    (top / "c").rename(top / "e")
    assert set(walker.walk(hierarchies).children) == {"a", "e"}
    (top / "e/f").mkdir()
    assert set(walker.walk(hierarchies).children["e"].children) == {"f"}


def test_walk_of_many_hierarchies_looks_at_all_when_one_changed_or_a_read_failed(tmp_path: Path) -> None:
    tops = {name: tmp_path / "sys/fs/cgroup" / name for name in ("cpuacct", "memory")}
    for top in tops.values():
        (top / "a").mkdir(parents=True)
    (tops["memory"] / "old").mkdir()
    walker = Walker(Reader(Root(str(tmp_path))))
    hierarchies = {name: f"sys/fs/cgroup/{name}" for name in sorted(tops, reverse=True)}
    first = walker.walk(hierarchies)
    assert set(first.children) == {"a", "old"}
    (tops["memory"] / "old").rename(tops["memory"] / "new")
    walker.suspect()
    second = walker.walk(hierarchies)
    assert (set(second.children), set(second.children["new"].inodes)) == ({"a", "new"}, {"memory"})
    for top in tops.values():
        (top / "a").rename(top / "b")
    third = walker.walk(hierarchies)
    assert {name: set(node.inodes) for name, node in third.children.items()} == {
        "b": {"cpuacct", "memory"},
        "new": {"memory"},
    }
    (tops["memory"] / "more").mkdir()
    assert set(walker.walk(hierarchies).children) == {"b", "new", "more"}
    (tops["memory"] / "more").rmdir()
    assert set(walker.walk(hierarchies).children) == {"b", "new"}


def test_a_container_of_the_same_name_is_a_restart(tmp_path: Path) -> None:
    ids = ["a" * 64, "b" * 64]
    host = Host(
        Tree(tmp_path, {"sys/fs/cgroup/cgroup.controllers": "\n"}),
        cgroups.COLLECTOR,
        settings=config(cgroup_exclude=()),
    )
    found = []
    for id_, image in zip(ids, ("shop:1", "shop:2"), strict=True):
        content = {"Name": "/web-1", "Config": {"Image": image}}
        host.tree.write(f"sys/fs/cgroup/docker/{id_}/cpu.stat", "usage_usec 1\n")
        host.tree.write(f"var/lib/docker/containers/{id_}/config.v2.json", json.dumps(content))
        found += [host.tick()["cgroup"][f"/docker/{id_}"] for _ in range(2)]
        host.tree.remove(f"sys/fs/cgroup/docker/{id_}/cpu.stat")
        Path(host.tree.absolute(f"sys/fs/cgroup/docker/{id_}")).rmdir()
    assert [values["cgroup.restarts.count"] for values in found] == [0, 0, 1, 1]
    assert [values.get("cgroup.first") for values in found] == [True, None, True, None]
    assert [values.get("container.image.changed") for values in found] == [None, None, True, None]


@pytest.mark.parametrize(("age_s", "first"), [(5, True), (3600, None)])
def test_what_an_earlier_run_may_have_seen_is_not_first(tmp_path: Path, age_s: int, first: bool | None) -> None:
    """The first tick finds a cgroup that was created after the tick before, or long ago."""
    host = v2(tmp_path)
    directory = tmp_path / f"sys/fs/cgroup{BOX}"
    created = time.time() - age_s
    os.utime(directory, (created, created))
    assert box(host).get("cgroup.first") is first


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        ((), {"/box.slice", "/box.slice/a.service", "/docker", "/docker/c1", "/docker/c1/d"}),
        (("/docker",), {"/box.slice", "/box.slice/a.service"}),
        (("/docker/",), {"/box.slice", "/box.slice/a.service"}),
        (("*/c1",), {"/box.slice", "/box.slice/a.service", "/docker"}),
        (("/docker/*",), {"/box.slice", "/box.slice/a.service", "/docker"}),
        (("*.slice", "/doc"), {"/docker", "/docker/c1", "/docker/c1/d"}),
    ],
)
def test_what_is_excluded_takes_all_below_it_along(globs: tuple[str, ...], left: set[str]) -> None:
    paths = ("/box.slice", "/box.slice/a.service", "/docker", "/docker/c1", "/docker/c1/d")
    is_excluded, known = cgroups.excluded(globs), dict[str, bool]()
    assert {path for path in paths if not is_excluded(path, known)} == left
    assert is_excluded("/docker/c1/other", {}) == ("/docker" not in left or "/docker/c1" not in left)


def test_excluded_cgroups_and_those_below_make_no_documents(tmp_path: Path) -> None:
    host = v2(tmp_path, "/box.slice/a.service", "/other.slice/b.service", excluded=("/box.slice",))
    assert host.tick(0)["cgroup"].keys() == {"/other.slice/b.service"}
