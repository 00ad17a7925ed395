"""Where a value came from: the file and the line. For ``shipper once --explain FIELD``.

The lines are found by ``provenance``, from what was really read. A field's declared source is shown beside them; where
it is an expression over other fields, those are explained too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from shipper.collect.provenance import Provenance
from shipper.fields.field import Field
from shipper.fields.rates import Value
from shipper.kernel.source import File, Files, Root

_NAME: Final = re.compile(r"[a-z][\w.]*\.[\w.]+")


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
    """Of one document: its flat ``values``, the ``fields`` of its dataset by name, and its host's ``provenance``."""

    def __init__(self, values: Mapping[str, Value], fields: Mapping[str, Field], provenance: Provenance) -> None:
        self._values = values
        self._fields = fields
        self._provenance = provenance
        self._told: set[str] = set()

    def lines(self, name: str, indent: str = "") -> Iterator[str]:
        """What tells where ``name`` came from."""
        field = self._fields[name]
        self._told.add(name)
        yield f"{indent}{name} = {self._values.get(name, 'absent')}  ({field.help})"
        yield f"{indent}  from {field.source}"
        rate_of = [one.name for one in self._fields.values() if name in (one.rate, one.delta)]
        if name in self._values and not rate_of:
            dataset = str(self._values["event.dataset"]).removeprefix("shipper.")
            yield from (f"{indent}  {line}" for line in self._provenance.lines(dataset, self._values, name))
        for other in rate_of or _NAME.findall(field.source):
            if other in self._fields and other not in self._told:
                yield from self.lines(other, indent + "  ")
