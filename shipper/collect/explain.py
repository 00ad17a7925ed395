"""Where a value came from, as text: file and line, for ``shipper once --explain FIELD``.

``provenance`` finds the lines in the files that were read. The declared source of the field is shown beside them; if it is
an expression over other fields, these are explained, too.
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
    """Records what it reads."""

    __slots__ = ("_reads",)

    def __init__(self, root: "TracedRoot", path: str) -> None:
        super().__init__(root, path)
        self._reads = root.reads

    def read(self) -> bytes:
        data = self._reads[self.path] = super().read()
        return data


class TracedFiles(Files):
    """Records what it reads."""

    __slots__ = ("_reads",)

    def __init__(self, root: "TracedRoot", path: Callable[[int], str], count: int) -> None:
        super().__init__(root, path, count)
        self._reads = root.reads

    def read(self, at: int) -> bytes:
        data = self._reads[self._path(at)] = super().read(at)
        return data


class TracedRoot(Root):
    """A host root that records the last contents of every file that is read, by path below it."""

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
    """Explains a document: its flat ``values``, the ``fields`` of its dataset by name, the ``provenance`` of its host."""

    def __init__(self, values: Mapping[str, Value], fields: Mapping[str, Field], provenance: Provenance) -> None:
        self._values = values
        self._fields = fields
        self._provenance = provenance
        self._explained: set[str] = set()

    def lines(self, name: str, indent: str = "") -> Iterator[str]:
        """Lines of text that explain where the field ``name`` came from."""
        field = self._fields[name]
        self._explained.add(name)
        yield f"{indent}{name} = {self._values.get(name, 'absent')}  ({field.help})"
        yield f"{indent}  from {field.source}"
        rate_of = [counter.name for counter in self._fields.values() if name in (counter.rate, counter.delta)]
        if name in self._values and not rate_of:
            dataset = str(self._values["event.dataset"]).removeprefix("shipper.")
            yield from (f"{indent}  {line}" for line in self._provenance.lines(dataset, self._values, name))
        for other in rate_of or _NAME.findall(field.source):
            if other in self._fields and other not in self._explained:
                yield from self.lines(other, indent + "  ")
