"""Which line of which file a value came from: change a line, collect again, and see whether the value changes.

The collector of the value runs again on the contents that it read. If a changed file, line or column changes the value, the
value is from there. So the answer is right for v1 and v2, for names and for totals, and does not depend on a table.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar
from zlib import crc32

from shipper.collect import COLLECTORS
from shipper.collect.contract import Collector
from shipper.collect.events import kernel_log
from shipper.fields.rates import Reading, Value
from shipper.kernel.source import Descriptors, Reader, Root
from shipper.kernel.timex import Timex
from shipper.settings.config import Config

T = TypeVar("T")
_Run = tuple[list[Reading], set[str]]

_LONGEST: Final = 160
_FEW_WORDS: Final = 3  # in such a line the column needs no number
_MOST_LINES: Final = 12
_NUMBER: Final = re.compile(rb"\d+")
_LETTERS: Final = re.compile(rb"[A-Za-z]+")
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY


class Replayed(Root):
    """``inner``, whose files have the contents of their first read, some of them changed."""

    def __init__(self, inner: Root, contents: dict[str, bytes], changed: Mapping[str, bytes]) -> None:
        super().__init__(inner.path, Descriptors(0))
        self._inner, self._contents, self._changed = inner, contents, changed
        self.opened: set[str] = set()

    def open(self, path: str, flags: int) -> int:
        name = path.lstrip("/")
        if flags & _DIRECTORY or name == kernel_log.FILE:
            return self._inner.open(path, flags)
        if name not in self._contents:
            self._contents[name] = self._inner.read(path)
        self.opened.add(name)
        fd = os.memfd_create("replayed", os.MFD_CLOEXEC)
        os.write(fd, self._changed.get(name, self._contents[name]))
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def stat(self, path: str) -> os.stat_result:
        return self._inner.stat(path)

    def stats(self, path: str, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result | OSError]]:
        return self._inner.stats(path, names)

    def statvfs(self, path: str) -> os.statvfs_result:
        return self._inner.statvfs(path)

    def names(self, path: str, most: int = 0) -> list[str]:
        return self._inner.names(path, most)

    def directories(self, path: str) -> list[tuple[str, int]]:
        return self._inner.directories(path)

    def link(self, path: str) -> str:
        return self._inner.link(path)

    def exists(self, path: str) -> bool:
        return self._inner.exists(path)

    def now_ns(self) -> int:
        return self._inner.now_ns()

    def adjtimex(self) -> tuple[int, Timex]:
        return self._inner.adjtimex()


class Provenance:
    """Sources of the values of a host at one moment; ``contents`` are the files that were read, by path below the root."""

    def __init__(self, root: Root, config: Config, contents: Mapping[str, bytes]) -> None:
        self._root, self._config = root, config
        self._contents = {path.lstrip("/"): data for path, data in contents.items()}
        # The fields of a collector need mostly the same changes
        self._runs: dict[tuple[str, frozenset[tuple[str, bytes]]], _Run] = {}

    def lines(self, dataset: str, document: Mapping[str, Value], field: str) -> Iterator[str]:
        """``proc/stat:1: cpu  1000 0 500 …`` for each line that ``field`` of the document came from."""
        for collector in COLLECTORS:
            output = collector.outputs.get(dataset)
            if output and field in {declared.name for declared in output.all_fields}:
                sources = _Subject(self, collector, dataset, document, field).sources()
                yield from (self._shown(*source) for source in sources[:_MOST_LINES])
                if len(sources) > _MOST_LINES:
                    yield f"and {len(sources) - _MOST_LINES} more lines"

    def _shown(self, path: str, line: int, column: int) -> str:
        text = self._contents[path].split(b"\n")[line].decode("utf-8", "backslashreplace")
        suffix = f"  (column {column + 1})" if len(text.split()) > _FEW_WORDS and column >= 0 else ""
        return f"{path}:{line + 1}: {text[:_LONGEST]}{suffix}"

    def run(self, collector: Collector, changed: Mapping[str, bytes]) -> _Run:
        """All readings, and the files that the collector opened; no readings if it fails."""
        asked = (collector.name, frozenset(changed.items()))
        if asked not in self._runs:
            self._runs[asked] = self._run(collector, changed)
        return self._runs[asked]

    def _run(self, collector: Collector, changed: Mapping[str, bytes]) -> _Run:
        root = Replayed(self._root, self._contents, changed)
        reader = Reader(root)
        try:
            readings = list(collector.start(reader, self._config)())
        except Exception:  # noqa: BLE001 – the files are damaged on purpose
            return [], root.opened
        finally:
            reader.close()
        for reading in readings:
            reading.values |= collector.outputs[reading.dataset].derive(reading.values, reading.inputs)
        return readings, root.opened

    def text(self, path: str) -> bytes:
        """The contents of a file that was read."""
        return self._contents[path]


class _Subject:
    """One field of one document."""

    def __init__(
        self, host: Provenance, collector: Collector, dataset: str, document: Mapping[str, Value], field: str
    ) -> None:
        self._host, self._collector, self._dataset, self._field = host, collector, dataset, field
        own = [declared.name for declared in collector.outputs[dataset].fields if declared.kind == "dimension"]
        self._entity = {name: document[name] for name in own if name in document}
        self._value, self._opened = self._read({})
        self._deciding: set[tuple[str, int, int]] = set()

    def sources(self) -> list[tuple[str, int, int]]:
        """File, line and column, counted from 0; the column is -1 for a whole line."""
        if self._value is None:
            return []
        files = sorted(path for path in self._opened if _concerns(path, str(self._entity.get("cgroup.path", ""))))
        for change in (_other_numbers, _other_letters, _nothing):
            places = self._places(files, change)
            if places:
                # A line that only decides whether there is a value (cgroup.controllers) is shown if there is no other
                return [place for place in places if place not in self._deciding] or places
        return []

    def _places(self, files: Sequence[str], change: Callable[[bytes], bytes]) -> list[tuple[str, int, int]]:
        def whole(paths: Sequence[str]) -> bool:
            return self._changes({path: change(self._host.text(path)) for path in paths})

        return [place for path in _narrowed(files, whole) for place in self._in_file(path, change)]

    def _in_file(self, path: str, change: Callable[[bytes], bytes]) -> Iterator[tuple[str, int, int]]:
        lines = self._host.text(path).split(b"\n")

        def some(numbers: Sequence[int]) -> bool:
            changed = {number: change(lines[number]) for number in numbers}
            return self._changes({path: b"\n".join(changed.get(at, line) for at, line in enumerate(lines))})

        for at in _narrowed([at for at, line in enumerate(lines) if line.strip()], some):
            column, gone = self._column(path, lines, at, change)
            if gone:
                self._deciding.add((path, at, column))
            yield path, at, column

    def _column(self, path: str, lines: list[bytes], at: int, change: Callable[[bytes], bytes]) -> tuple[int, bool]:
        """The column that changes the value and False; else the first without which there is no value, and True."""
        gone = -1
        for column, match in enumerate(re.finditer(rb"\S+", lines[at])):
            line = lines[at][: match.start()] + change(match[0]) + lines[at][match.end() :]
            value, _ = self._read({path: b"\n".join([*lines[:at], line, *lines[at + 1 :]])})
            if value not in (None, self._value):
                return column, False
            if value is None and gone < 0:
                gone = column
        return gone, gone >= 0

    def _changes(self, changed: Mapping[str, bytes]) -> bool:
        return self._read(changed)[0] != self._value

    def _read(self, changed: Mapping[str, bytes]) -> tuple[Value | None, set[str]]:
        readings, opened = self._host.run(self._collector, changed)
        for reading in readings:
            values = reading.values
            if reading.dataset == self._dataset and all(values.get(name) == own for name, own in self._entity.items()):
                return values.get(self._field), opened
        return None, opened


def _narrowed(items: Sequence[T], matters: Callable[[Sequence[T]], bool]) -> list[T]:
    """Those of ``items`` that matter, found by halving."""
    if not items or not matters(items):
        return []
    if len(items) == 1:
        return list(items)
    middle = len(items) // 2
    return [*_narrowed(items[:middle], matters), *_narrowed(items[middle:], matters)]


def _concerns(path: str, cgroup: str) -> bool:
    """Whether the file is not of a cgroup beside ``cgroup``: only of it, those around it and those below it, or of none."""
    if not cgroup or not path.startswith("sys/fs/cgroup/") or path.count("/") <= len(("sys", "fs", "cgroup")) + 1:
        return True
    directory = path.rpartition("/")[0]
    return directory.endswith(cgroup) or cgroup.startswith(_below(directory)) or f"{cgroup}/" in f"{directory}/"


def _below(directory: str) -> str:
    """The path of a cgroup without the directory of its hierarchy."""
    path = directory.removeprefix("sys/fs/cgroup")
    return "/" + path.split("/", 2)[2] if path.count("/") > 1 else path


def _other_numbers(text: bytes) -> bytes:
    """Each number with another last digit, changed in different ways, because a difference must not stay the same."""

    def other(match: re.Match[bytes]) -> bytes:
        number = match[0]
        return number[:-1] + b"%d" % ((number[-1] - ord("0") + 1 + crc32(number) % 8) % 10)

    return _NUMBER.sub(other, text)


def _other_letters(text: bytes) -> bytes:
    """Each word with another last letter."""
    return _LETTERS.sub(lambda match: match[0][:-1] + (b"y" if match[0].endswith(b"x") else b"x"), text)


def _nothing(_text: bytes) -> bytes:
    """For values that count lines."""
    return b""
