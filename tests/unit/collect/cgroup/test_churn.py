"""200 containers made and removed: no descriptor, no memory and no wrong rate is left of them."""

import gc
import hashlib
import json
import os
import secrets
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from captured import collecting

from shipper.collect.cgroup import cgroups
from shipper.fields.rates import Kept
from shipper.kernel.hierarchy import detect
from shipper.kernel.source import Descriptors, Reader, Root

pytestmark = pytest.mark.root

ALIVE = 10
CONTAINERS = 200
# What the bounded caches of names may take; the states of all 200 containers would be 2 MiB
OF_A_CGROUP = {"Cgroup", "Files", "Naming", "Node", "Reading"}
MOST_GROWTH = 256 << 10


class Engine:
    """Makes containers as a runtime does: cgroups in every hierarchy and a file with names."""

    def __init__(self, data_root: Path) -> None:
        self._data_root = data_root
        self.parent = f"shipper-test-{secrets.token_hex(4)}"
        hierarchies = detect(Reader(Root())).hierarchies
        self._tops = [Path(f"/{base}/{self.parent}") for base in set(hierarchies.values())]
        for top in self._tops:
            top.mkdir()
        self.ids: list[str] = []

    def start(self, number: int) -> None:
        id_ = hashlib.sha256(f"{self.parent} {number}".encode()).hexdigest()
        content = {"Name": f"/web-{number}", "Config": {"Image": "shop/web:1.2", "Labels": {"n": str(number)}}}
        file = self._data_root / "containers" / id_ / "config.v2.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))
        for top in self._tops:
            (top / f"docker-{id_}.scope").mkdir()
        self.ids.append(id_)

    def stop(self) -> None:
        id_ = self.ids.pop(0)
        for top in self._tops:
            (top / f"docker-{id_}.scope").rmdir()
        (self._data_root / "containers" / id_ / "config.v2.json").unlink()

    def close(self) -> None:
        while self.ids:
            self.stop()
        for top in self._tops:
            with suppress(FileNotFoundError):
                top.rmdir()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    one = Engine(tmp_path)
    try:
        yield one
    finally:
        one.close()


class Later(Root):
    """Time passes ten times as fast, so that what is due each minute is due here too.

    Of the topmost cgroups only the engine's is listed: others of this machine come and go, and take memory too.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__("/", Descriptors(10_000))
        self._parent = engine.parent

    def directories(self, path: str) -> list[tuple[str, int]]:
        listed = super().directories(path)
        return [one for one in listed if one[0] == self._parent] or listed

    def now_ns(self) -> int:
        return super().now_ns() * 10


def descriptors(engine: Engine) -> int:
    """Open files of the engine's own containers: others come and go on a busy machine."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found += engine.parent in os.readlink(f"/proc/self/fd/{number}")
    return found


def objects() -> Counter[str]:
    """Objects that belong to one cgroup, by type."""
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one).__name__ in OF_A_CGROUP)


def test_churn_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    config = collecting(docker_roots=(str(tmp_path),), labels=("*",))
    reader = Reader(Later(engine))
    collect = cgroups.COLLECTOR.start(reader, config)
    before: dict[str, Kept] = {}
    counters = cgroups.COLLECTOR.outputs["cgroup"].counted

    def tick() -> dict[str, str]:
        """Container names by id, of our own."""
        readings = {one.entity: one for one in collect() if one.entity.startswith(f"/{engine.parent}/")}
        names, latest = {}, {}
        for path, reading in readings.items():
            found, latest[path] = counters.rates(reading, before.get(path))
            assert all(0 <= rate < 1e6 for rate in found.values())
            assert found.get("cgroup.cpu.cores", 0) == 0
            id_ = path.rpartition("docker-")[2].removesuffix(".scope")
            names[id_] = str(reading.values["container.name"])
        before.clear()
        before.update(latest)
        return names

    tracemalloc.start()
    try:
        for number in range(ALIVE):
            engine.start(number)
        for _ in range(3):
            tick()
        gc.collect()
        gc.disable()  # what is gone is freed at once, not when the collector reaches its oldest generation
        alive = objects()
        traced, fds = tracemalloc.get_traced_memory()[0], descriptors(engine)
        assert fds >= ALIVE
        for number in range(ALIVE, CONTAINERS):
            engine.stop()
            engine.start(number)
            found = tick()
            assert set(found) == set(engine.ids)
            assert found[engine.ids[-1]] == f"web-{number}"
            assert descriptors(engine) <= fds + 2
        tick()
        assert objects() == alive
        gc.enable()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - traced
    finally:
        gc.enable()
        tracemalloc.stop()
    assert descriptors(engine) == fds
    assert grown < MOST_GROWTH
    assert reader.take_problems() == []
    engine.close()
    assert tick() == {}
    reader.close()
