"""One process: ``proc/PID/stat``.

    4211 (nginx: worker) S 4209 4209 4209 0 -1 4194368 812 0 3 0 1520 733 0 0 20 0 1 0 51020 …

State, parent, … user and system time in ticks (14th, 15th), threads (20th), start in ticks after boot (22nd), resident
pages (24th). The name is between the first and the *last* bracket. https://docs.kernel.org/filesystems/proc.html
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shipper.kernel.parse import LARGEST, ParseError, integer, name, shown
from shipper.kernel.source import Reader

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_LETTERS: Final = {
    b"R": "running", b"S": "sleeping", b"D": "disk_sleep", b"I": "idle", b"T": "stopped", b"t": "stopped",
    b"Z": "zombie", b"X": "dead", b"x": "dead",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stat:
    """``proc/PID/stat``: times in ticks, ``start`` since boot, memory in bytes; None for a damaged column."""

    pid: int
    name: str
    state: str
    parent: int | None
    cpu: int | None
    threads: int | None
    start: int | None
    rss: int | None

    @property
    def key(self) -> str:
        """Tells the process from others, also from a later one with its id."""
        return str(self.pid) if self.start is None else f"{self.pid}-{self.start}"


def parse(text: bytes) -> Stat:
    """The process. Raises ParseError; if only some columns are damaged, ``partial`` lacks only those."""
    pid, opened, rest = text.partition(b"(")
    comm, closed, rest = rest.rpartition(b")")
    words = rest.split()
    if not (opened and closed) or len(words) < 22:  # noqa: PLR2004
        raise ParseError(f"not a stat line: {shown(text)}")
    number, named, state = integer(pid), name(comm), _LETTERS.get(words[0], "unknown")
    try:
        return Stat(number, named, state, *_whole(words))
    except ParseError as error:
        raise ParseError(f"{error} in {shown(text)}", Stat(number, named, state, *_sound(words))) from None


def _whole(words: list[bytes]) -> tuple[int, int, int, int, int]:
    """Parent, CPU time, threads, start and memory; ``words`` begins with the third word of the file."""
    cpu, rss = integer(words[11]) + integer(words[12]), integer(words[21]) * _PAGE
    start = integer(words[19])
    if max(cpu * _NS_PER_TICK, start * _NS_PER_TICK, rss) > LARGEST:
        raise ParseError("absurd times or sizes")
    return integer(words[1]), cpu, integer(words[17]), start, rss


def _sound(words: list[bytes]) -> tuple[int | None, int | None, int | None, int | None, int | None]:
    """The same, with None for a damaged column."""
    user, system = _column(words[11], _NS_PER_TICK), _column(words[12], _NS_PER_TICK)
    cpu = None if user is None or system is None or (user + system) * _NS_PER_TICK > LARGEST else user + system
    rss = _column(words[21], _PAGE)
    start = _column(words[19], _NS_PER_TICK)
    return _column(words[1]), cpu, _column(words[17]), start, None if rss is None else rss * _PAGE


def _column(word: bytes, unit: int = 1) -> int | None:
    try:
        value = integer(word)
    except ParseError:
        return None
    return value if value * unit <= LARGEST else None


def processes(reader: Reader) -> Iterator[Stat]:
    """All processes of the host."""
    for pid in reader.names("proc"):
        if pid.isdigit():
            data = reader.read_once(f"proc/{pid}/stat")
            stat = reader.parsed(f"proc/{pid}/stat", data, parse) if data else None
            if stat:  # else the process has ended
                yield stat
