"""Every field of a cgroup from the file that the kernel documents, the same from v1, hybrid and v2; distinct values."""

# ruff: noqa: E501 – tables

import json
import os
import time
from pathlib import Path

import pytest
from cgroup_box import BOX, V2, box, v1, v2
from hypothesis import given
from hypothesis import strategies as st
from trees import Host, Tree, config

from shipper.collect.cgroup import cgroups, controllers
from shipper.fields.rates import Value
from shipper.kernel.hierarchy import Walker
from shipper.kernel.parse import ParseError
from shipper.kernel.source import Reader, Root

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
IO_LINE = "8:0 rbytes=61 wbytes=62 rios=63 wios=64 dbytes=65 dios=66\n"


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
