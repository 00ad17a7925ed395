"""Where a value came from: the file and the line. For ``shipper once --explain FIELD``.

A field's declared source is a kernel file and what is taken from it (``proc/meminfo MemTotal``), or an expression over
other fields. The first is looked up in what was really read; the second is shown, then the fields in it are explained.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from shipper.fields import Field
from shipper.rates import Value
from shipper.source import File, Files, Root

_LONGEST: Final = 160
_NAME: Final = re.compile(r"[a-z][\w.]*\.[\w.]+")
_WORD: Final = re.compile(r"[\w()]+")


class TracedFile(File):
    """Notes what it read."""

    __slots__ = ("_reads",)

    def __init__(self, root: "TracedRoot", path: str) -> None:
        super().__init__(root, path)
        self._reads = root.reads

    def read(self) -> bytes:
        data = self._reads[self.path] = super().read()
        return data


class TracedFiles(Files):
    """Notes what it read."""

    __slots__ = ("_reads",)

    def __init__(self, root: "TracedRoot", path: Callable[[int], str], count: int) -> None:
        super().__init__(root, path, count)
        self._reads = root.reads

    def read(self, at: int) -> bytes:
        data = self._reads[self._path(at)] = super().read(at)
        return data


class TracedRoot(Root):
    """A host root that keeps the last contents of every file read, by path below it."""

    def __init__(self, root: Root) -> None:
        super().__init__(root.path, root.descriptors)
        self.reads: dict[str, bytes] = {}

    def file(self, path: str) -> File:
        return TracedFile(self, path)

    def files(self, path: Callable[[int], str], count: int) -> Files:
        return TracedFiles(self, path, count)

    def read(self, path: str) -> bytes:
        data = self.reads[path] = super().read(path)
        return data


class Explainer:
    """Of one document: its flat ``values``, the ``fields`` of its dataset by name, and what was ``read``."""

    def __init__(self, values: Mapping[str, Value], fields: Mapping[str, Field], reads: Mapping[str, bytes]) -> None:
        self._values = values
        self._fields = fields
        self._reads = reads
        self._told: set[str] = set()

    def lines(self, name: str, indent: str = "") -> Iterator[str]:
        """What tells where ``name`` came from."""
        field = self._fields[name]
        self._told.add(name)
        yield f"{indent}{name} = {self._values.get(name, 'absent')}  ({field.help})"
        yield f"{indent}  from {field.source}"
        cgroup = str(self._values.get("cgroup.path", ""))
        yield from (f"{indent}  {line}" for line in _lines(field.source, cgroup, self._reads))
        rate_of = [one.name for one in self._fields.values() if one.rate == name]
        for other in rate_of or _NAME.findall(field.source):
            if other in self._fields and other not in self._told:
                yield from self.lines(other, indent + "  ")


def _lines(source: str, cgroup: str, reads: Mapping[str, bytes]) -> Iterator[str]:
    """``file:line: text`` for each alternative of a source (``memory.stat anon; v1 total_rss``) that was read."""
    for alternative in source.split(";"):
        words = alternative.replace("v1 ", "").split()
        for path in sorted(path for path in reads if words and _is(path, words[0], cgroup)):
            number, text = _line(reads[path], words[1:])
            yield f"{path}:{number}: {text}"


def _is(path: str, file: str, cgroup: str) -> bool:
    """``file`` may have variable parts in capitals (proc/PID/stat) and is below the cgroup for those of a cgroup."""
    pattern = re.sub(r"[A-Z]+\\*", "[^/]+", re.escape(file))
    below = re.escape(cgroup) + "/" if cgroup and not file.startswith(("proc", "sys")) else ""
    return re.search(f"(^|/){below.lstrip('/')}{pattern}$", path) is not None


def _line(data: bytes, keys: list[str]) -> tuple[int, str]:
    """Number and text of the line that holds the key; the first where none does."""
    lines = data.decode("utf-8", "backslashreplace").splitlines() or [""]
    wanted = next((word for key in keys for word in _WORD.findall(key) if any(word in line for line in lines)), None)
    number = next((at for at, line in enumerate(lines) if wanted and wanted in _WORD.findall(line)), 0)
    return number + 1, lines[number][:_LONGEST]
