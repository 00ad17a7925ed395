"""Held files: whatever changes is seen at once if it shows a sign, and within a minute otherwise."""

import os
import re
import shutil
from pathlib import Path

import pytest
from cgroup_box import BOX, V1, V1_BASE, V2, box, v1, v2
from trees import Host

from shipper.collect.cgroup import controllers
from shipper.fields.rates import Value
from shipper.kernel.hierarchy import Walker
from shipper.kernel.source import Descriptors

USAGE = {"v1": f"{V1_BASE}/cpuacct{BOX}/cpuacct.usage", "v2": f"{V1_BASE}{BOX}/cpu.stat"}
MORE_USAGE = {"v1": "7001\n", "v2": V2["cpu.stat"].replace("usage_usec 7", "usage_usec 8")}
UNTIL_HELD = 4  # ticks


def held_host(layout: str, directory: Path) -> Host:
    """A host whose held files need not be read any more."""
    host = v2(directory) if layout == "v2" else v1(directory)
    for _ in range(UNTIL_HELD):
        box(host)
    return host


def files(layout: str, *, held: bool) -> list[tuple[str, str]]:
    """Path and text of the box's files."""
    specs = {(one.controller, one.name) for one in controllers.TABLES[layout] if one.held is held}
    if layout == "v2":
        return [(f"{V1_BASE}{BOX}/{name}", text) for name, text in V2.items() if ("unified", name) in specs]
    parts = [(*path.split("/", 1), text) for path, text in V1.items()]
    return [(f"{V1_BASE}/{one}{BOX}/{name}", text) for one, name, text in parts if (one, name) in specs]


def cases(*, held: bool) -> list[tuple[str, str, str]]:
    return [(layout, path, text) for layout in ("v1", "v2") for path, text in files(layout, held=held)]


def grown(text: str) -> str:
    """The text with other numbers, but for those of devices."""
    return re.sub(r"(?<![:\d])\d+(?![:\d])", lambda number: str(int(number[0]) + 4096), text)


def alike(one: dict[str, Value], other: dict[str, Value]) -> bool:
    """Equal but for what follows from time alone."""
    skipped = ("_per_s", ".cores", ".uptime.ms", ".pct")
    return all(one.get(name) == other.get(name) for name in one.keys() | other.keys() if not name.endswith(skipped))


def test_both_kinds_are_there() -> None:
    assert len(cases(held=True)) >= 9
    assert len(cases(held=False)) >= 12


@pytest.mark.parametrize(("layout", "path", "text"), cases(held=False))
def test_a_file_without_a_sign_is_read_at_every_tick(layout: str, path: str, text: str, tmp_path: Path) -> None:
    host = held_host(layout, tmp_path)
    before = box(host)
    host.tree.write(path, grown(text))
    assert not alike(box(host), before)


@pytest.mark.parametrize(("layout", "path", "text"), cases(held=True))
def test_a_held_file_is_read_after_a_sign_and_within_a_minute(
    layout: str, path: str, text: str, tmp_path: Path
) -> None:
    host = held_host(layout, tmp_path)
    first = box(host)
    host.tree.write(path, grown(text))
    unsigned = [box(host, 1) for _ in range(60)]
    assert not alike(unsigned[-1], first), "an operator's change is seen within a minute"
    for _ in range(UNTIL_HELD):
        box(host)
    second = box(host)
    host.tree.write(path, text)
    implying = path.replace("io_service_bytes", "io_serviced")
    if implying != path:  # a request is counted in both
        host.tree.write(implying, grown(V1[implying.removeprefix(f"{V1_BASE}/").replace(BOX, "")]))
    host.tree.write(USAGE[layout], MORE_USAGE[layout])
    assert not alike({**box(host), "cgroup.cpu.usage.ns": 0}, {**second, "cgroup.cpu.usage.ns": 0})


def test_bytes_are_read_again_when_requests_were_counted(tmp_path: Path) -> None:
    host = held_host("v1", tmp_path)
    for kind in ("io_service_bytes", "io_serviced"):
        name = f"blkio.throttle.{kind}_recursive"
        host.tree.write(f"{V1_BASE}/blkio{BOX}/{name}", grown(V1[f"blkio/{name}"]))
    host.tree.write(USAGE["v1"], MORE_USAGE["v1"])
    values = box(host, 1)
    assert (values["cgroup.io.read.bytes"], values["cgroup.io.read.count"]) == (61 + 4096, 63 + 4096)


def test_what_still_changes_is_read_although_no_task_ran(tmp_path: Path) -> None:
    host = held_host("v1", tmp_path)
    host.tree.write(USAGE["v1"], MORE_USAGE["v1"])
    for periods in range(20, 30):  # of a group that is throttled for seconds
        host.tree.write(f"{V1_BASE}/cpu{BOX}/cpu.stat", f"nr_periods {periods}\nnr_throttled 12\nthrottled_time 13\n")
        assert box(host, 1)["cgroup.cpu.periods.count"] == periods


@pytest.mark.parametrize("why", ["no CPU time", "a problem"])
def test_nothing_is_held_without_the_time_of_its_tasks_or_beside_a_problem(why: str, tmp_path: Path) -> None:
    host = v1(tmp_path)
    if why == "no CPU time":
        host.tree.remove(USAGE["v1"])
    else:
        host.tree.write(f"{V1_BASE}/pids{BOX}/pids.current", "x\n")
    for failures in range(50, 60):
        host.tree.write(f"{V1_BASE}/memory{BOX}/memory.failcnt", f"{failures}\n")
        assert box(host, 1)["cgroup.memory.events.max.count"] == failures
        assert bool(host.problems) is (why == "a problem")


def kept(host: Host, paths: list[str]) -> list[list[str]]:
    """The files of each cgroup that are open."""
    links = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()]
    tops = [host.tree.absolute(f"{V1_BASE}{path}/") for path in paths]
    return [[link.removeprefix(top) for link in links if link.startswith(top)] for top in tops]


def test_too_few_descriptors_are_shared_by_all_cgroups(tmp_path: Path) -> None:
    paths = [f"/box.slice/{number}.service" for number in range(20)]
    host = v2(tmp_path, *paths)
    for _ in range(UNTIL_HELD):
        documents = host.tick()["cgroup"]
    of_each = kept(host, paths)
    assert {len(one) for one in of_each} <= {2, 3}  # of 62 for 20 services and their slice
    assert all({"cpu.stat", "memory.current"} <= set(one) for one in of_each), "those that are read at every tick"
    assert {documents[path]["cgroup.pids.events.max.count"] for path in paths} == {54}
    for path in paths[5:]:
        shutil.rmtree(host.tree.absolute(f"{V1_BASE}{path}"))
    for _ in range(2):
        host.tick()
    assert min(len(one) for one in kept(host, paths[:5])) >= len(files("v2", held=False))


def test_a_file_that_stays_absent_makes_the_walker_look_everywhere_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = 0
    suspicions: list[int] = []
    monkeypatch.setattr(Walker, "suspect", lambda _: suspicions.append(tick))
    host = v1(tmp_path, hybrid=True)  # without pressure files
    host.tree.descriptors = Descriptors(0)  # a kept one of a plain file would outlive it
    for tick in range(21):
        if tick == 20:
            host.tree.remove(f"{V1_BASE}/pids{BOX}/pids.current")
        box(host)
    assert set(suspicions) == {0, 20}
