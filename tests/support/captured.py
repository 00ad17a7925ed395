"""A captured host (see capture.py) served as a root, and a tick over collectors without pipeline, spool and server."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from shipper.collect import COLLECTORS, OPTIONS
from shipper.collect.contract import Collector
from shipper.fields.rates import Kept, Value
from shipper.kernel.source import Descriptors, Problem, Reader, Root
from shipper.kernel.timex import Timex
from shipper.schema.datasets import DATASETS
from shipper.settings.config import Collect, Config

# dataset → entity → values
Documents = dict[str, dict[str, dict[str, Value]]]


def collecting(**options: Any) -> Config:
    """A configuration in which ``options``, by their name in section ``collect``, have other values."""
    own = tuple(kind(**{name: value for name, value in options.items() if name in names(kind)}) for kind in OPTIONS)
    core = Collect(**{name: value for name, value in options.items() if name in names(Collect)})
    unknown = options.keys() - names(Collect).union(*map(names, OPTIONS))
    assert not unknown, unknown
    return Config(collect=core, collectors=own)


def names(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


class CapturedRoot(Root):
    """``host/0`` and ``host/1`` by turns at one path, with the clock, sizes and inode numbers noted beside them."""

    def __init__(self, host: Path, directory: Path) -> None:
        """``directory`` is where a link may be made that leads to the moment shown."""
        self._host = host.resolve()
        self._link = directory / f"root-of-{host.name}"
        super().__init__(str(self._link), Descriptors(0))
        self.show(0)

    def show(self, moment: int) -> None:
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(self._host / str(moment))
        self.forget()
        self._moment: dict[str, Any] = json.loads((self._link / "moment.json").read_text())

    def now_ns(self) -> int:
        return int(self._moment["now_ns"])

    def statvfs(self, path: str) -> os.statvfs_result:
        found = self._moment["statvfs"].get(path)
        if found is None:
            raise FileNotFoundError(2, "not captured", path)
        return os.statvfs_result(found)

    def adjtimex(self) -> tuple[int, Timex]:
        raise FileNotFoundError(2, "not captured", "adjtimex(2)")

    def directories(self, path: str) -> list[tuple[str, int]]:
        """A directory that is there at both moments is the same one: its number is made from its path."""
        return [(name, zlib.crc32(os.fsencode(f"{path}/{name}"))) for name, _ in super().directories(path)]

    def stat(self, path: str) -> os.stat_result:
        found = self._moment["stat"].get(path)
        if found is None:
            return super().stat(path)
        mode, device, inode, *times = found
        made = times[0] if times else 0
        return os.stat_result((mode, inode, device, 1, 0, 0, 0, made, made, made))

    def stats(self, path: str, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result | OSError]]:
        for name in names:
            try:
                yield name, self.stat(f"{path}/{name}")
            except OSError as error:
                yield name, error

    def wall_ns(self) -> int:
        return int(self._moment["wall"] * 1e9)


class Noting(CapturedRoot):
    """Notes the files that are opened."""

    def __init__(self, host: Path, directory: Path) -> None:
        self.opened: set[str] = set()
        super().__init__(host, directory)

    def open(self, path: str, flags: int) -> int:
        self.opened.add(path.lstrip("/"))
        return super().open(path, flags)


class Ticks:
    """All ``collectors`` on one root: each tick gives documents as the pipeline would, and the problems met."""

    def __init__(
        self,
        root: Root,
        collectors: Iterable[Collector] = COLLECTORS,
        config: Config | None = None,
        *,
        keep: bool = False,
    ) -> None:
        """``keep``: collectors may keep what they remember in the spool directory. All datasets are wanted."""
        found = config or Config()
        found = replace(found, collect=replace(found.collect, datasets=tuple(DATASETS)))
        self._config = found if keep else replace(found, spool=replace(found.spool, directory=""))
        self._collectors = tuple(collectors)
        self._readers = {collector.name: Reader(root) for collector in self._collectors}
        self._calls = {one.name: one.start(self._readers[one.name], self._config) for one in self._collectors}
        self._before: dict[tuple[str, str, str], Kept] = {}
        self.problems: list[Problem] = []

    @property
    def readers(self) -> dict[Collector, Reader]:
        return {collector: self._readers[collector.name] for collector in self._collectors}

    def tick(self) -> Documents:
        documents: Documents = {}
        inputs: dict[tuple[str, str], dict[str, int]] = {}
        for collector in self._collectors:
            for reading in self._calls[collector.name]():
                key = (collector.name, reading.dataset, reading.entity)
                counters = collector.outputs[reading.dataset].counted
                grown, self._before[key] = counters.rates(reading, self._before.get(key))
                reading.values |= grown
                documents.setdefault(reading.dataset, {}).setdefault(reading.entity, {}).update(reading.values)
                inputs.setdefault(key[1:], {}).update(reading.inputs)
        for collector in self._collectors:
            for dataset, output in collector.outputs.items():
                for entity, values in documents.get(dataset, {}).items():
                    values.update(output.derive(values, inputs[dataset, entity]))
        self.problems = [one for reader in self._readers.values() for one in reader.take_problems()]
        return documents

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
