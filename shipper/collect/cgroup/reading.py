"""The files of a cgroup that change from tick to tick: those read at every tick, and those read only after a sign of change.

``controllers`` says which are which. The second kind is *held*: its values stay as they are until something that is read at
every tick changes (docs/decisions/0013-held-files.md).
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from shipper.collect.cgroup.controllers import table
from shipper.kernel.hierarchy import Layout, Node
from shipper.kernel.parse import ParseError, integer
from shipper.kernel.source import Reader

_NS_PER_S: Final = 1_000_000_000
# Stall times are updated every 2 s, quota periods take up to 1 s and end after the task that used them
_SETTLED_NS: Final = 3 * _NS_PER_S
_TIME: Final = "cgroup.cpu.usage.ns"  # without which nothing shows that no task of the cgroup ran
_NO_FILE: Final = -1


# Numbers of files, each with the number of the file whose text makes it unnecessary
_Files = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The files to read: at every tick, and of those that are held first the ``moving`` ones, then the others.

    ``implied``: those that are read only if the text of another of the others changed.
    """

    each_tick: _Files
    moving: _Files
    still: _Files
    implied: _Files


class FileTable:
    """The files to read in the cgroups of a host. A file's number is its rank: the first ones stay open."""

    def __init__(self, reader: Reader, layout: Layout) -> None:
        self.reader = reader
        self.specs = sorted(table(layout), key=lambda spec: spec.held)
        self._hierarchies = layout.hierarchies
        self._plans: dict[Hashable, _Plan] = {}
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def signs(self, texts: Mapping[int, bytes]) -> int:
        """Differs if something happened between two reads that gave these texts by the files' numbers."""
        return hash(tuple([sign(text) if (sign := self.specs[at].sign) else text for at, text in texts.items()]))

    def path(self, cgroup: str, at: int) -> str:
        """Path of file number ``at``, below the host root."""
        spec = self.specs[at]
        return f"{self._hierarchies[spec.controller]}{cgroup}/{spec.name}"

    def shared(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """``names``, always the same object for the same names: a row beside them takes a third of a dict's memory."""
        return self._shared.setdefault(names, names)

    def plan(self, node: Node, gone: Collection[int]) -> _Plan:
        """The files to read in the cgroup: not those ``gone``; if it has cgroups below, not those of its own tasks only.

        Most cgroups share one plan.
        """
        key = (tuple(node.inodes), bool(node.children), tuple(gone))
        if key not in self._plans:
            mine = [
                (at, spec)
                for at, spec in enumerate(self.specs)
                if at not in gone and spec.controller in node.inodes and not (spec.own and node.children)
            ]
            givers = {given: at for at, spec in mine if (given := spec.field or spec.gives)}
            with_instead = [(spec, (at, givers.get(spec.unless, _NO_FILE))) for at, spec in mine]
            self._plans[key] = _Plan(
                tuple(file for spec, file in with_instead if not spec.held),
                tuple(file for spec, file in with_instead if spec.held and spec.moving),
                tuple(file for spec, file in with_instead if spec.held and not (spec.moving or spec.implied)),
                tuple(file for spec, file in with_instead if spec.implied and spec.held),
            )
        return self._plans[key]


class TickFiles:
    """The files of one cgroup. ``missed``: at the last tick, a file was absent for the first time."""

    __slots__ = (
        "_files", "_first", "_gone", "_hold", "_mark", "_names", "_node", "_noted", "_path", "_plan", "_row", "_signs",
        "_since_ns", "_sound", "_still", "_table", "missed",
    )  # fmt: skip

    def __init__(self, table: FileTable, path: str, node: Node) -> None:
        self.missed = False
        self._table, self._path, self._node = table, path, node
        # A method of this object would make a cycle, which only the garbage collector frees, long after the cgroup is gone
        self._files = table.reader.root.files(partial(FileTable.path, table, path), len(table.specs))
        self._gone: tuple[int, ...] = ()
        self._noted: tuple[int, ...] = ()  # files that were absent: later tries do not make it ``missed``
        self._plan = table.plan(node, ())
        self._sound = True  # at this tick, every file was read and parsed, or is absent
        self._mark = 0  # of the texts of the last tick
        self._signs = 0
        self._names: tuple[str, ...] = ()  # of the values at the last tick
        self._row: tuple[Any, ...] = ()
        self._first = 0  # of the values that held files gave
        self._still = 0  # of the texts of held files that seldom change
        self._since_ns = 0  # when held files were read without a sign first; 0 before
        self._hold = False  # the values, as long as the signs stay the same

    def become(self, node: Node) -> None:
        """Update it after a change of the tree around the cgroup."""
        if bool(node.children) != bool(self._node.children):
            self._node = node
            self.read_all()
        self._node = node

    def read_all(self) -> None:
        """Read all files at the next tick, also those that are held, and those that were absent."""
        self._gone, self._hold, self._still = (), False, 0
        self._plan = self._table.plan(self._node, ())

    def keep(self, most: int) -> None:
        """Keep at most this number of files open."""
        self._files.keep(most)

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    def read(self, now_ns: int) -> dict[str, Any]:
        """Values of all files; the caller may change them. Empty if the cgroup is gone."""
        self._sound, self.missed = True, False
        texts = self._texts(self._plan.each_tick)
        # A hash takes 8 bytes, the texts a thousand
        mark = hash(tuple(texts.values()))
        if self._hold and mark == self._mark:
            return dict(zip(self._names, self._row, strict=True))
        values: dict[str, Any] = {}
        self._parse(texts, values)
        signs, first = self._table.signs(texts), len(values)
        if self._hold and signs == self._signs and first == self._first and self._sound:
            values.update(zip(self._names[first:], self._row[first:], strict=True))
            self._row = tuple(values.values())
        else:
            self._add_held(values)
            self._note(signs, first, values, now_ns)
        self._mark = mark
        return values

    def numbers(self) -> list[int]:
        """The files to read at the next tick, if nothing changes until then."""
        plan = self._plan
        each_tick = [at for at, instead in plan.each_tick if instead == _NO_FILE]
        held = (*plan.moving, *plan.still, *plan.implied)
        return each_tick if self._hold else [*each_tick, *(at for at, _ in held)]

    def _note(self, signs: int, first: int, values: dict[str, Any], now_ns: int) -> None:
        """Hold what held files gave, from number ``first``, if two reads gave the same, far enough apart, without a sign."""
        names, row = self._table.shared(tuple(values)), tuple(values.values())
        self._hold = False
        if signs != self._signs or _TIME not in values or not self._sound:
            self._since_ns = 0
        elif self._since_ns and names == self._names and row[first:] == self._row[first:]:
            self._hold = now_ns - self._since_ns >= _SETTLED_NS
        else:
            self._since_ns = now_ns
        self._signs, self._names, self._row, self._first = signs, names, row, first

    def _texts(self, files: _Files) -> dict[int, bytes]:
        """What the files hold; those that cannot be read, and those that another one makes unnecessary, are left out."""
        texts: dict[int, bytes] = {}
        read = self._files.read
        for at, instead in files:
            if instead in texts:
                continue
            try:
                text = read(at)
            except OSError as error:
                self._refused(at, error)
            else:
                if text:
                    texts[at] = text
        return texts

    def _parse(self, texts: Mapping[int, bytes], values: dict[str, Any]) -> None:
        """Add the values of the texts."""
        specs = self._table.specs
        for at, text in texts.items():
            spec = specs[at]
            try:
                if spec.field:
                    values[spec.field] = integer(text)
                else:
                    values.update(spec.parse(text))
            except ParseError as error:
                self._sound = False
                self._table.reader.problem(self._table.path(self._path, at), str(error))
                values.update(error.partial or {})

    def _add_held(self, values: dict[str, Any]) -> None:
        """Add the values of held files. Most of them have the same text as at the last tick, so the same values."""
        self._parse(self._texts(self._plan.moving), values)
        texts, first = self._texts(self._plan.still), len(values)
        still = hash((first, *texts.items()))
        if still == self._still:
            values.update(zip(self._names[first:], self._row[first:], strict=True))
        else:
            self._parse(dict(sorted({**texts, **self._texts(self._plan.implied)}.items())), values)
        self._still = still if self._sound else 0

    def _refused(self, at: int, error: OSError) -> None:
        """A controller was disabled (its files are tried again each minute), the cgroup is gone, or there is a problem."""
        if self._table.reader.refused(self._table.path(self._path, at), error):
            if at not in self._noted:
                self.missed, self._noted = True, (*self._noted, at)
            self._gone = (*self._gone, at)
            self._plan = self._table.plan(self._node, self._gone)
        else:
            self._sound = False
