"""Real cgroups of the test's own against an independent witness: the accounting of the process in them."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shipper.collect.cgroup import cgroups
from shipper.fields.rates import Reading
from shipper.kernel.hierarchy import CGROUP_ROOT, Node, Walker, detect
from shipper.kernel.source import Descriptors, Reader, Root
from shipper.settings.config import Config

pytestmark = pytest.mark.root

MIB = 1 << 20
WORK_S = 10
ANON = 96 * MIB
IO = 32 * MIB
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# A memory cgroup's figures may lag by a batch of 64 pages per CPU (mm/memcontrol.c, MEMCG_CHARGE_BATCH)
LAG = 64 * os.sysconf("SC_PAGE_SIZE") * (os.cpu_count() or 1)

# Joins the cgroups named by its arguments, then on each line of input does one step and tells its own accounting.
WORKER = f"""
import json, mmap, os, resource, sys, time
import psutil
for path in sys.argv[2:]:
    with open(path + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
def tell():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    me = psutil.Process()
    print(json.dumps({{"user": usage.ru_utime, "system": usage.ru_stime, "anon": me.memory_full_info().uss,
        "io": me.io_counters()._asdict()}}), flush=True)
tell()
sys.stdin.readline()
kept = bytearray(b"x") * {ANON}
block = mmap.mmap(-1, {MIB})
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
for n in range({IO} // {MIB}):
    os.pwrite(file, block, n * {MIB})
for n in range({IO} // {MIB}):
    os.preadv(file, [block], n * {MIB})
end = time.monotonic() + {WORK_S}
while time.monotonic() < end:
    sum(range(20_000))
    os.stat("/")
tell()
sys.stdin.readline()
"""


class OwnCgroup:
    """A cgroup in every hierarchy of this machine; removed with what runs in it."""

    def __init__(self, name: str) -> None:
        self.path = f"/{name}"
        hierarchies = detect(Reader(Root())).hierarchies
        self.directories = {key: Path(f"/{base}{self.path}") for key, base in hierarchies.items()}
        self.make()

    def make(self) -> None:
        for directory in self.directories.values():
            directory.mkdir(exist_ok=True)

    def remove(self) -> None:
        for directory in self.directories.values():
            if directory.exists():
                directory.rmdir()


@pytest.fixture
def own() -> Iterator[OwnCgroup]:
    one = OwnCgroup(f"shipper-test-{secrets.token_hex(4)}")
    try:
        yield one
    finally:
        one.remove()


@pytest.fixture
def reader() -> Iterator[Reader]:
    one = Reader(Root("/", Descriptors(1000)))
    yield one
    one.close()


def of(readings: list[Reading], path: str) -> Reading | None:
    return next((one for one in readings if one.entity == path), None)


def count_io(own: OwnCgroup, device: str) -> bool:
    """Newer kernels count v1 io only where a throttle stands: set one that never bites. False: no io figures here."""
    directory = own.directories.get("blkio")
    if directory is None:
        return "io" in Path("/sys/fs/cgroup/cgroup.subtree_control").read_text()
    for what, limit in (("bps", 10**12), ("iops", 4 * 10**9)):
        for way in ("read", "write"):
            (directory / f"blkio.throttle.{way}_{what}_device").write_text(f"{device} {limit}")
    return True


def device_below(path: Path) -> str:
    """MAJ:MIN of the whole disk that ``path`` lies on."""
    number = path.stat().st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    entry = Path(f"/sys/dev/block/{name}").resolve()
    return (entry.parent / "dev").read_text().strip() if (entry / "partition").exists() else name


def test_cpu_memory_and_io_agree_with_the_process_itself(own: OwnCgroup, reader: Reader, tmp_path: Path) -> None:
    file = Path("/var/tmp") / f"{own.path[1:]}.io"
    counted = count_io(own, device_below(file.parent))
    collect = cgroups.COLLECTOR.start(reader, Config())
    arguments = [sys.executable, "-c", WORKER, str(file), *map(str, own.directories.values())]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin and worker.stdout
        try:
            before = json.loads(worker.stdout.readline())
            first = of(list(collect()), own.path)
            worker.stdin.write("\n")
            worker.stdin.flush()
            after = json.loads(worker.stdout.readline())
            second = of(list(collect()), own.path)
        finally:
            worker.kill()
            worker.wait()
            file.unlink(missing_ok=True)
    assert first and second
    ours, theirs = second.values, after
    seconds = (second.at_ns - first.at_ns) / 1e9

    def grown(name: str) -> float:
        new, old = second.values[name], first.values[name]
        assert isinstance(new, int) and isinstance(old, int)
        return new - old

    cpu = sum(theirs[kind] - before[kind] for kind in ("user", "system"))
    assert grown("cgroup.cpu.usage.ns") / 1e9 == pytest.approx(cpu, rel=0.02, abs=TICK_S)
    user, system = grown("cgroup.cpu.user.ns") / 1e9, grown("cgroup.cpu.system.ns") / 1e9
    # v1 samples these two at each tick (cpuacct_account_field), stolen time included; v2 scales them to the usage
    assert user + system == pytest.approx(cpu, rel=0.02 if ours["cgroup.mode"] == "v2" else 0.35, abs=TICK_S)
    assert user > 0 and system > 0

    counters = cgroups.COLLECTOR.outputs["cgroup"].counted
    values = {**ours, **counters.rates(second, counters.kept(first))[0]}
    values |= cgroups.COLLECTOR.outputs["cgroup"].derive(values, second.inputs)
    assert values["cgroup.cpu.cores"] == pytest.approx(cpu / seconds, rel=0.02, abs=TICK_S / seconds)
    assert values["cgroup.cpu.pct"] == pytest.approx(cpu / seconds / psutil.cpu_count(), rel=0.02, abs=TICK_S / seconds)

    assert grown("cgroup.memory.anon.bytes") == pytest.approx(theirs["anon"] - before["anon"], rel=0.02, abs=LAG)
    assert grown("cgroup.memory.anon.bytes") == pytest.approx(ANON, rel=0.02, abs=2 * MIB)
    assert (
        grown(
            "cgroup.memory.working_set.bytes"
            if "cgroup.memory.working_set.bytes" in ours
            else "cgroup.memory.usage.bytes"
        )
        >= ANON
    )
    assert ours["cgroup.pids.current"] == 1

    assert counted, "this machine counts no io per cgroup"
    for way in ("read", "write"):
        after_bytes = theirs["io"][f"{way}_bytes"] - before["io"][f"{way}_bytes"]
        now = ours[f"cgroup.io.{way}.bytes"]
        assert now == pytest.approx(after_bytes, rel=0.02, abs=MIB // 4)
        assert values[f"cgroup.io.{way}.count"] != 0


class Minutes(Root):
    """A host whose clock can be moved on."""

    later_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.later_ns


def test_a_limit_that_is_changed_by_hand_is_seen_within_a_minute(own: OwnCgroup) -> None:
    def limit(bytes_: int) -> None:
        files = [one / name for one in own.directories.values() for name in ("memory.limit_in_bytes", "memory.max")]
        [file] = [one for one in files if one.exists()]
        file.write_text(str(bytes_))

    def seen() -> tuple[object, object]:
        reading = of(list(collect()), own.path)
        assert reading
        values = reading.values
        return values.get("cgroup.memory.limit.bytes"), values.get("cgroup.memory.limit.effective.bytes")

    root = Minutes("/", Descriptors(1000))
    collect = cgroups.COLLECTOR.start(Reader(root), Config())
    limit(64 * MIB)
    assert seen() == (64 * MIB, 64 * MIB)
    limit(32 * MIB)
    root.later_ns = 60_000_000_000
    assert seen() == (32 * MIB, 32 * MIB)


def test_a_cgroup_that_is_gone_has_no_document_and_a_new_one_no_rate(own: OwnCgroup, reader: Reader) -> None:
    collect = cgroups.COLLECTOR.start(reader, Config())
    first = of(list(collect()), own.path)
    own.remove()
    assert of(list(collect()), own.path) is None
    own.make()
    second = of(list(collect()), own.path)
    assert first and second
    assert first.identity != second.identity
    counters = cgroups.COLLECTOR.outputs["cgroup"].counted
    assert counters.rates(second, counters.kept(first))[0] == {}
    assert reader.take_problems() == []


def test_a_cgroup_that_vanishes_between_listing_and_reading(
    own: OwnCgroup, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed_then_removed(walker: Walker, hierarchies: dict[str, str]) -> Node:
        tree = listed(walker, hierarchies)
        own.remove()
        return tree

    collect = cgroups.COLLECTOR.start(reader, Config())
    listed = Walker.walk
    monkeypatch.setattr(Walker, "walk", listed_then_removed)
    readings = list(collect())
    assert of(readings, own.path) is None
    assert len(readings) > 0
    assert reader.take_problems() == []


def test_a_kept_descriptor_of_a_removed_cgroup_does_not_speak_for_its_successor(own: OwnCgroup, reader: Reader) -> None:
    name = f"{CGROUP_ROOT}/unified{own.path}/cgroup.procs"
    if "unified" not in own.directories or not Path(f"/{name}").exists():
        name = f"{CGROUP_ROOT}{own.path}/cgroup.procs"
    file = reader.file(name)
    assert file.read() == b""
    own.remove()
    own.make()
    assert reader.attempt(name, file.read) is None
    assert reader.attempt(name, file.read) == b""
    file.close()
