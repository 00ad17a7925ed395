"""The documents that are not aggregates are a partition: their sum is what the kernel counts for all together."""

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from captured import CapturedRoot, Documents, Ticks, collecting
from engines import CGROUPS, docker, swept
from moments import HOSTS

from shipper.collect.cgroup import cgroups
from shipper.kernel.source import Descriptors, Root

CAPTURED = sorted(path.name for path in HOSTS.iterdir() if (path / "0" / "moment.json").exists())
for without_tasks in ("debian-12-hybrid", "debian-12-odd-names"):
    CAPTURED.remove(without_tasks)
USAGE = "cgroup.cpu.usage.ns"
# The files of one moment are read one after the other while their processes run on
SKEW_NS = 50_000_000
# Half a second of one CPU and more while the others run on; its end is the event awaited
BUSY = "head -c 200000000 /dev/zero | md5sum"
FOREVER = "while :; do :; done & while :; do :; done & echo done; wait"


def usages(documents: Documents, below: str = "/") -> tuple[int, int]:
    """CPU time of all documents that are not aggregates, and of the topmost ones."""
    found = {path: values for path, values in documents["cgroup"].items() if path.startswith(below) and USAGE in values}
    leaves = sum(int(str(values[USAGE])) for values in found.values() if not values["cgroup.aggregate"])
    depth = min(path.count("/") for path in found)
    return leaves, sum(int(str(values[USAGE])) for path, values in found.items() if path.count("/") == depth)


@pytest.mark.parametrize("host", CAPTURED)
def test_on_every_captured_host_leaves_add_up_to_the_topmost(host: str, tmp_path: Path) -> None:
    """Growth from the first moment to the second: what came before may have been of cgroups that are gone."""
    root = CapturedRoot(HOSTS / host, tmp_path)
    ticks = Ticks(root, [cgroups.COLLECTOR])
    seen = []
    for moment in (0, 1):
        root.show(moment)
        documents = ticks.tick()
        seen.append(usages(documents))
    leaves, topmost = (seen[1][at] - seen[0][at] for at in (0, 1))
    assert topmost > 0
    # capture.py itself ran in one of them, and was a third of a second and more on its way from the topmost to its own
    assert leaves == pytest.approx(topmost, rel=0.12, abs=SKEW_NS)


def members(cgroup: str) -> list[int]:
    """The busy processes of a container; not its first, which only waits."""
    paths = [base / cgroup.lstrip("/") / "cgroup.procs" for base in (CGROUPS / "pids", CGROUPS)]
    file = next(path for path in paths if path.exists())
    return sorted(int(pid) for pid in file.read_text().split())[1:]


@contextmanager
def nested(parent: str, pids: list[int]) -> Iterator[tuple[str, str]]:
    """Docker in docker: another container's cgroup inside ``parent`` with the first pid, the second in ``init``."""
    id_ = hashlib.sha256(parent.encode()).hexdigest()
    names = (f"docker/{id_}", "init")
    bases = [base for base in (CGROUPS, *CGROUPS.glob("*")) if (base / parent.lstrip("/") / "cgroup.procs").exists()]
    for base in bases:
        for name, pid in zip(names, pids, strict=True):
            directory = base / parent.lstrip("/") / name
            directory.mkdir(parents=True)
            for level in (directory.parent, directory) if "/" in name else (directory,):
                for file in ("cpuset.cpus", "cpuset.mems"):
                    if (level / file).exists():
                        (level / file).write_text((level.parent / file).read_text())
            (directory / "cgroup.procs").write_text(str(pid))
    yield f"{parent}/{names[0]}", f"{parent}/{names[1]}"


@contextmanager
def stopped(parent: str) -> Iterator[None]:
    """What is read one after the other is then of one moment, however long it takes on a busy machine."""
    tops = [base / parent.lstrip("/") for base in (CGROUPS / "pids", CGROUPS)]
    files = [file for top in tops for file in top.rglob("cgroup.procs")]
    processes = [psutil.Process(int(pid)) for file in files for pid in file.read_text().split()]
    for process in processes:
        process.suspend()
    while any(process.status() != psutil.STATUS_STOPPED for process in processes):
        time.sleep(0.01)
    yield
    for process in processes:
        process.resume()


@pytest.mark.root
def test_real_containers_nested_ones_included(short: Path) -> None:
    parent = f"/shipper-test-{secrets.token_hex(3)}"  # no container of others is in it
    with swept(short, parent.lstrip("/")), docker(short / "d") as engine:
        outer = f"{parent}/" + engine.started("outer", "--cgroup-parent", parent, "--cpus", "0.8", work=FOREVER)
        engine.started("other", "--cgroup-parent", parent, "--cpus", "0.4", work=FOREVER)
        with nested(outer, members(outer)[:2]) as (inner, rest):
            config = collecting(docker_roots=(str(engine.data_root),))
            ticks = Ticks(Root("/", Descriptors(1000)), [cgroups.COLLECTOR], config)
            with stopped(parent):
                before = ticks.tick()
            engine.run("exec", "other", "/bin/sh", "-c", BUSY)
            with stopped(parent):
                after = ticks.tick()
            ticks.close()
    flags = {path: after["cgroup"][path]["cgroup.aggregate"] for path in (outer, inner)}
    assert flags == {outer: False, inner: True}  # the outer container counts as a whole
    assert rest not in after["cgroup"]
    grown = [new - old for new, old in zip(usages(after, parent), usages(before, parent), strict=True)]
    assert grown[1] > 1_500_000_000
    assert grown[0] == pytest.approx(grown[1], rel=0.02, abs=SKEW_NS)
    for path in (outer, inner):
        assert int(str(after["cgroup"][path][USAGE])) > int(str(before["cgroup"][path][USAGE]))
