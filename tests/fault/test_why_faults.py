"""``shipper why`` and ``compare`` against real faults: made on this machine, read by the real collectors, explained.

Containers are cgroups with docker's names; the documents are a second apart, in real time, because the kernel computes
pressure in real time. tests/support/gallery.py declares what must be found; docs/why.md shows the same table.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import shipper_eslocal
from boxes import Boxes, memory, quota, tasks, weight, writes
from captured import collecting
from fault.line import Line, configured
from gallery import LIVE, Fault
from namespaces import fresh

from shipper.deliver import client
from shipper.settings.config import Config
from shipper.view.compare.compare import Compared, compare
from shipper.view.compare.variation import Verdict
from shipper.view.msearch import Asking
from shipper.view.why import explain, oom, text
from shipper.view.why.explain import Explanation

pytestmark = pytest.mark.root
DATASETS = ("host", "disk", "cgroup", "process", "agent", "event")
BEFORE, BETWEEN, DURING, AFTER = 14, 4, 10, 5  # ticks
SPIN = "while :; do :; done"
HOGS = f"for _ in {' '.join('1' * 3 * (os.cpu_count() or 1))}; do ({SPIN}) & done; wait"
HUNGRY = """exec {python} -c '
import time
held = bytearray({mib} << 20)
held[::4096] = b"x" * len(held[::4096])
while True:
    begin, used = time.monotonic(), time.process_time()
    while time.process_time() - used < {busy_s}: pass
    time.sleep(max(0, 0.1 - time.monotonic() + begin))'"""
LEAK = """exec {python} -c '
import time
held = []
while True:
    held.append(b"x" * (1 << 20))
    time.sleep(0.1)'"""
WRITER = "while :; do dd if=/dev/zero of={file} bs=1M count=64 oflag=direct ; done"
THRASH = "while :; do cat {file} > /dev/null; done"


class Gallery:
    """A host whose ticks are a second apart, with all faults, each in a container of its own."""

    def __init__(self, es: shipper_eslocal.Cluster, config: Config, boxes: Boxes) -> None:
        self._es, self.config, self._boxes = es, config, boxes
        self._line = Line(config)
        self.onset_ms: dict[str, int] = {}
        self.last_ms = 0

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.last_ms = (time.time_ns() // 1_000_000_000 + 1) * 1000
            time.sleep(self.last_ms / 1000 - time.time())
            self._line.tick(self.last_ms)

    def send(self) -> None:
        self._line.drain()
        self._es.request("POST", f"/metrics-shipper.*-{self.config.index.namespace}/_refresh")

    def go(self, *names: str) -> None:
        self.onset_ms |= dict.fromkeys(names, time.time_ns() // 1_000_000)
        self._boxes.go(*names)

    def why(self, name: str, onset_ms: int) -> Explanation:
        with client.connect(self.config) as connection:
            return explain.explain(connection, self.config.index, name, onset_ms, onset_ms + DURING * 1000)

    def compared(self, name: str) -> Compared:
        with client.connect(self.config) as connection:
            return compare(Asking(connection, self.config.index), name, self.last_ms, AFTER * 1000)

    def close(self) -> None:
        self._line.close()


def _uncached(path: Path, content: bytes) -> None:
    """A file of which no page is in memory, so that its reader pays for the pages."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture(scope="module")
def gallery(es: shipper_eslocal.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """Idle, then the faults of the CPU, then the others, then a new image."""
    directory = tmp_path_factory.mktemp("gallery")
    _uncached(directory / "file", os.urandom(1 << 20) * 48)
    namespace = fresh(es.url)
    boxes = Boxes(directory / "docker")
    chosen = collecting(datasets=DATASETS, period_s=1, docker_roots=(str(boxes.data_root),))
    base = configured(es.url, namespace, directory / "spool")
    config = replace(base, collect=chosen.collect, collectors=chosen.collectors, host=replace(base.host, name="here"))
    made = Gallery(es, config, boxes)
    try:
        python = sys.executable
        boxes.start("idle", "test/idle:1", "sleep 600")
        boxes.start("web", "test/web:1", HUNGRY.format(python=python, mib=16, busy_s=0.01))
        boxes.start("hog", "test/hog:1", HOGS, weight(8))
        boxes.start("steady", "test/steady:1", SPIN)
        boxes.start("throttled", "test/throttled:1", SPIN, quota(5000))
        boxes.start("leak", "test/leak:1", LEAK.format(python=python), memory(48 << 20))
        boxes.start("thrash", "test/thrash:1", THRASH.format(file=directory / "file"), memory(12 << 20))
        boxes.start("writer", "test/writer:1", WRITER.format(file=directory / "written"), writes(4 << 20, directory))
        boxes.start("forks", "test/forks:1", "while :; do sleep 600 & done", tasks(40))
        made.go("idle", "web")
        made.run(BEFORE)
        made.go("hog", "steady", "throttled")
        made.run(DURING)
        boxes.stop("hog", "steady", "throttled")
        made.run(BETWEEN)  # documents right before the next faults, however long it took to end these
        made.go("leak", "thrash", "writer", "forks")
        made.run(DURING)
        boxes.stop("thrash", "writer", "forks")
        boxes.stop("web")  # as late as possible: the new image is compared with the window right before
        boxes.start("web", "test/web:2", HUNGRY.format(python=python, mib=32, busy_s=0.02))
        made.go("web")
        made.run(AFTER + 1)
        made.send()
        yield made
    finally:
        made.close()
        boxes.close()


@pytest.mark.parametrize("fault", LIVE, ids=lambda fault: fault.container)
def test_resource_and_onset_of_a_container_are_right(gallery: Gallery, fault: Fault) -> None:
    onset_ms = gallery.onset_ms[fault.container]
    made = gallery.why(f"{fault.container}@here", onset_ms)
    short = {one.resource.name: one for one in made.own.short}
    assert fault.resource in short, "\n".join(text.lines(made))
    assert onset_ms - 1000 <= short[fault.resource].first_ms <= onset_ms + 1000 * fault.within_s
    assert {episode.signal.field for episode in short[fault.resource].episodes} >= set(fault.signals)
    assert not short[fault.resource].cut
    # Others may use the machine, so that every container that runs waits for a CPU
    assert made.main and made.main.resource.name in {fault.resource, "CPU"}


def test_the_victim_names_the_neighbour_without_a_limit(gallery: Gallery) -> None:
    use = gallery.why("steady@here", gallery.onset_ms["steady"]).use
    assert use
    assert [share.name for share in use.named[:2]] == ["steady@here", "hog@here"]
    assert use.named[1].used > use.named[0].used
    assert use.named[1].limit is None


def test_the_host_is_short_of_cpus_and_names_who_is_at_a_limit(gallery: Gallery) -> None:
    made = gallery.why("here", gallery.onset_ms["hog"])
    (cpu,) = (one for one in made.own.short if one.resource.name == "CPU")
    assert cpu.cut or abs(cpu.first_ms - gallery.onset_ms["hog"]) <= 4000  # others may have used the CPUs before
    assert ("throttled@here", "cgroup.cpu.throttled.pct") in {(one.name, one.signal.field) for one in made.cramped}


def test_a_container_that_sleeps_is_not_short_of_anything(gallery: Gallery) -> None:
    for name in ("hog", "leak"):
        made = gallery.why("idle@here", gallery.onset_ms[name])
        assert made.own.short == (), "\n".join(text.lines(made))


def test_the_post_mortem_of_the_leak(gallery: Gallery) -> None:
    with client.connect(gallery.config) as connection:
        first_ms = gallery.onset_ms["leak"]
        kill, *_ = oom.find(connection, gallery.config.index, first_ms, gallery.last_ms, "leak@here")
    assert kill.limit == 48 << 20
    assert max(kill.usage.values()) > 32 << 20  # the leak may lie within one time bucket, which has no slope
    assert kill.fields["process.name"].startswith("python")


def test_the_new_image_is_found_and_uses_more(gallery: Gallery) -> None:
    made = gallery.compared("test/web")
    assert made.subject.change and "test/web:1 to test/web:2" in made.subject.change.words
    assert abs(made.at_ms - gallery.onset_ms["web"]) <= 2000
    rows = {row.measure.name: row for row in made.rows}
    memory, cpu = rows["memory"], rows["CPU"]
    assert memory.verdict is Verdict.MORE
    assert memory.usual and memory.after and memory.after.highest - memory.usual > 12 << 20
    assert cpu.usual and cpu.after and cpu.after.highest > 1.3 * cpu.usual
