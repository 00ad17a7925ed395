"""Rejected documents: shown to the operator, and handed to the agent to be resent or deleted.

``shipper spool replay`` and ``discard`` only sort the lines of the files into ``replay/``; the agent, now or when it
starts, does what the file names ask for. So only one process writes the ledger. After a crash between writing the
segment and removing the file, the documents are sent twice, and the server answers 409 to the second.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Final

from shipper.base.durable import NEW, no_links, remove
from shipper.deliver.ledger import Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import REJECTED_FILE, REPLAY
from shipper.deliver.verdict import kind

_NAMES: Final = (f"{REJECTED_FILE}.1", REJECTED_FILE)  # oldest first
_SORTING: Final = ".sorting"  # a file whose lines are not sorted yet
_AGAIN: Final = ".ndjson"
_TAKEN: Final = ".ndjson.taken"
_DISCARD: Final = ".discard"
_KEEP: Final = ".keep"  # lines that do not match go back to where they were
_MOST_PER_SEGMENT: Final = 1000
_READING_S: Final = 30.0  # for up to 32 MiB


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that the server rejected, and why."""

    status: int
    reason: str
    action: dict[str, Any]
    document: Any

    @property
    def index(self) -> str:
        return str(self.action["create"]["_index"])

    @property
    def kind(self) -> str:
        """``400 document_parsing_exception``."""
        return kind(self.status, self.reason)

    def entry(self) -> Entry:
        return Entry(_json(self.action), _json(self.document))

    def tick_ms(self) -> int:
        """The time of its ``@timestamp``; 0 if it has no readable one."""
        try:
            return int(datetime.fromisoformat(self.document["@timestamp"]).timestamp() * 1000)
        except (KeyError, TypeError, ValueError):
            return 0

    def is_meant(self, text: str) -> bool:
        """Whether ``text`` occurs in its index, its kind or its reason."""
        return text in f"{self.index} {self.kind} {self.reason}"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def rejected(directory: str) -> Iterator[Rejected | None]:
    """All rejected documents on disk, oldest first; None for a line that cannot be read. Raises OSError."""
    for name in _NAMES:
        with suppress(FileNotFoundError):
            yield from parse(os.path.join(directory, name))


def parse(path: str) -> Iterator[Rejected | None]:
    """The lines of a file with rejected documents. Raises OSError."""
    with open(path, "rb", opener=no_links) as file:
        for line in file:
            yield _parse(line)


def _parse(line: bytes) -> Rejected | None:
    try:
        content = json.loads(line)
        document = Rejected(int(content["status"]), str(content["reason"]), content["action"], content["document"])
        known = bool(document.index)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return document if known else None


def give_back(directory: str, text: str = "") -> int:
    """Ask the agent to resend the rejected documents that match ``text``; returns how many. Raises OSError."""
    return _sort(directory, text, _AGAIN)


def discard(directory: str, text: str = "") -> int:
    """Ask the agent to delete the rejected documents that match ``text``; returns how many. Raises OSError."""
    return _sort(directory, text, _DISCARD)


def _sort(directory: str, text: str, suffix: str) -> int:
    folder = os.path.join(directory, REPLAY)
    for name in _NAMES:
        with suppress(FileNotFoundError):
            os.rename(os.path.join(directory, name), _free(folder) + _SORTING)
    waiting = sorted(name for name in os.listdir(folder) if name.endswith(_SORTING))
    return sum(_sort_file(os.path.join(folder, name), text, suffix) for name in waiting)


def _free(folder: str) -> str:
    """An unused path in ``folder``."""
    stems = {name.partition(".")[0] for name in os.listdir(folder)}
    number = 1
    while f"{number:08d}" in stems:
        number += 1
    return os.path.join(folder, f"{number:08d}")


def _sort_file(path: str, text: str, suffix: str) -> int:
    """Move matching lines to a file with ``suffix`` and the others to one with _KEEP. Returns how many match."""
    stem = path.removesuffix(_SORTING)
    meant = 0
    with (
        open(path, "rb", opener=no_links) as lines,
        open(stem + suffix + NEW, "wb") as chosen,
        open(stem + _KEEP + NEW, "wb") as others,
    ):
        for line in lines:
            document = _parse(line)
            # An unreadable line goes where it is counted
            is_meant = document is None or document.is_meant(text)
            meant += is_meant and document is not None
            (chosen if is_meant else others).write(line)
        for file in (chosen, others):
            _sync(file)
    for name in (stem + suffix, stem + _KEEP):
        os.replace(name + NEW, name)
    remove(path)
    return meant


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def take(ledger: Ledger) -> Iterator[str]:
    """Do what the files in ``replay/`` ask for. Returns log lines about errors."""
    try:
        paths = ledger.spool.replays()
    except OSError as error:
        yield f"spool: {REPLAY}: {error.strerror}"
        return
    for path in paths:
        work = next((work for suffix, work in _WORK.items() if path.endswith(suffix)), None)
        if work is None:
            continue
        try:
            with ledger.lock:  # not while a rejected document is being added
                lost = work(ledger, path)
        except OSError as error:
            yield f"spool: {REPLAY}/{os.path.basename(path)}: {error.strerror}"
            continue
        if lost:
            yield f"spool: {lost} unreadable rejected documents are lost"


def _send_again(ledger: Ledger, path: str) -> int:
    taken = path if path.endswith(_TAKEN) else path.removesuffix(_AGAIN) + _TAKEN
    ledger.spool.on_disk(lambda: os.rename(path, taken))  # a file that cannot be removed would be resent for ever
    given = ledger.spool.on_disk(lambda: _by_tick(taken), _READING_S)
    ledger.take_back(given.entries, given.lost, given.kinds)
    ledger.spool.on_disk(lambda: remove(taken))
    return given.lost


def _forget(ledger: Ledger, path: str) -> int:
    kinds = ledger.spool.on_disk(lambda: Counter(document.kind for document in parse(path) if document), _READING_S)
    ledger.spool.on_disk(lambda: remove(path))
    ledger.forget(kinds)
    return 0


def _keep(ledger: Ledger, path: str) -> int:
    def put_back() -> None:
        with open(path, "rb", opener=no_links) as file:
            lines = file.read()
        if lines:
            ledger.spool.append_rejected(lines)
        remove(path)

    ledger.spool.on_disk(put_back, _READING_S)
    return 0


_WORK: Final[dict[str, Callable[[Ledger, str], int]]] = {
    _AGAIN: _send_again,
    _TAKEN: _send_again,
    _DISCARD: _forget,
    _KEEP: _keep,
}


@dataclass
class _Given:
    """The documents of a file in order, grouped by tick, and how many lines cannot be read."""

    entries: list[tuple[int, list[Entry]]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    lost: int = 0


def _by_tick(path: str) -> _Given:
    given = _Given()
    for document in parse(path):
        if document is None:
            given.lost += 1
            continue
        tick_ms = document.tick_ms()
        if not given.entries or given.entries[-1][0] != tick_ms or len(given.entries[-1][1]) >= _MOST_PER_SEGMENT:
            given.entries.append((tick_ms, []))
        given.entries[-1][1].append(document.entry())
        given.kinds[document.kind] += 1
    return given
