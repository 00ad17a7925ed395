"""A host root made of given texts, with a clock and filesystem sizes that the test sets."""

import os
from collections.abc import Mapping
from pathlib import Path

from captured import Documents, Ticks, collecting

from shipper.collect.contract import Collector
from shipper.fields.rates import Value
from shipper.kernel.source import Descriptors, Root
from shipper.settings.config import Config

SECOND = 1_000_000_000


class Tree(Root):
    def __init__(self, directory: Path, files: Mapping[str, bytes | str]) -> None:
        super().__init__(str(directory), Descriptors(64))
        self.now = 100 * SECOND
        self.sizes: dict[str, os.statvfs_result] = {}
        self.devices: dict[str, int] = {}
        for path, text in files.items():
            self.write(path, text)

    def write(self, path: str, text: bytes | str) -> None:
        """A new file each time: kept descriptors of an old one would see an overwrite half done."""
        target = Path(self.absolute(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def remove(self, path: str) -> None:
        Path(self.absolute(path)).unlink()

    def now_ns(self) -> int:
        return self.now

    def statvfs(self, path: str) -> os.statvfs_result:
        return self.sizes[path] if path in self.sizes else super().statvfs(path)

    def stat(self, path: str) -> os.stat_result:
        found = super().stat(path)
        device = self.devices.get(path)
        if device is None:
            return found
        return os.stat_result((found.st_mode, found.st_ino, device, 1, 0, 0, 0, 0, 0, 0))


def config(**collect: tuple[str, ...]) -> Config:
    """Defaults, with nothing excluded but what is named."""
    globs: dict[str, tuple[str, ...]] = {
        "filesystem_exclude": (), "filesystem_types_exclude": (), "interface_exclude": (), "device_exclude": (),
    }  # fmt: skip
    return collecting(**{**globs, **collect})


class Host:
    """``collectors`` on a Tree: ``tick(seconds)`` lets time pass and gives the documents."""

    def __init__(self, tree: Tree, *collectors: Collector, settings: Config | None = None, keep: bool = False) -> None:
        """``keep``: collectors may keep what they remember in the spool directory."""
        self.tree = tree
        self._ticks = Ticks(tree, collectors, settings or config(), keep=keep)

    def tick(self, seconds: float = 10.0) -> Documents:
        self.tree.now += int(seconds * SECOND)
        return self._ticks.tick()

    def host(self, seconds: float = 10.0) -> dict[str, Value]:
        """The host document; empty if there is none."""
        return self.tick(seconds).get("host", {}).get("", {})

    @property
    def problems(self) -> dict[str, str]:
        return {problem.file: problem.reason for problem in self._ticks.problems}

    @property
    def absent(self) -> dict[str, str]:
        """What is absent for good, and why."""
        readers = self._ticks.readers
        return {what: why for one in readers for what, why in one.absent(readers[one]).items()}
