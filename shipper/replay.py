"""Rejected documents: read for the operator, and given back to the agent to be sent once more.

``shipper spool replay`` only moves the files into ``replay/``; the agent, now or at its next start, makes segments of
them. So one process alone writes the ledger. A crash between segment and removal makes the documents go twice: the
server answers 409 to the second.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shipper.ledger import Ledger
from shipper.spool import REJECTED_FILE, REPLAY, Entry, no_links, remove

_NAMES: Final = (f"{REJECTED_FILE}.1", REJECTED_FILE)  # oldest first
_TAKEN: Final = ".taken"
_MOST_PER_SEGMENT: Final = 1000


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that the server refused, and why."""

    status: int
    reason: str
    action: dict[str, Any]
    document: Any

    @property
    def index(self) -> str:
        return str(self.action["create"]["_index"])

    def entry(self) -> Entry:
        return Entry(_json(self.action), _json(self.document))

    def tick_ms(self) -> int:
        """Of its ``@timestamp``; 0 if it has none that can be read."""
        try:
            return int(datetime.fromisoformat(self.document["@timestamp"]).timestamp() * 1000)
        except (KeyError, TypeError, ValueError):
            return 0


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def rejected(directory: str) -> Iterator[Rejected | None]:
    """All that are kept, oldest first; None for a line that cannot be read. Raises OSError."""
    for name in _NAMES:
        with suppress(FileNotFoundError):
            yield from parse(os.path.join(directory, name))


def parse(path: str) -> Iterator[Rejected | None]:
    """The lines of a file with rejected documents. Raises OSError."""
    with open(path, "rb", opener=no_links) as file:
        for line in file:
            try:
                found = json.loads(line)
                one = Rejected(int(found["status"]), str(found["reason"]), found["action"], found["document"])
                yield one if one.index else None
            except (KeyError, TypeError, ValueError, RecursionError):
                yield None


def give_back(directory: str) -> int:
    """Put all rejected documents where the agent finds them; how many. Raises OSError."""
    count = sum(one is not None for one in rejected(directory))
    for name in _NAMES:
        number = 1
        while os.path.lexists(target := os.path.join(directory, REPLAY, f"{number:08d}.ndjson")) or os.path.lexists(
            target + _TAKEN
        ):
            number += 1
        with suppress(FileNotFoundError):
            os.rename(os.path.join(directory, name), target)
    return count


def take(ledger: Ledger) -> Iterator[str]:
    """Take given-back documents into the spool; lines about what went wrong."""
    try:
        paths = ledger.spool.replays()
    except OSError as error:
        yield f"spool: {REPLAY}: {error.strerror}"
        return
    for path in paths:
        with ledger.lock:  # not while a refused document is being added
            try:
                taken = path.removesuffix(_TAKEN) + _TAKEN
                os.rename(path, taken)  # what cannot be changed would be sent for ever
                entries, lost = _by_tick(taken)
            except OSError as error:
                yield f"spool: {path}: {error.strerror}"
                continue
            ledger.take_back(entries, lost)
            remove(taken)
        if lost:
            yield f"spool: {lost} rejected documents cannot be read, they are lost"


def _by_tick(path: str) -> tuple[list[tuple[int, list[Entry]]], int]:
    """Documents in the order of the file, those of one tick together; and how many lines cannot be read."""
    found: list[tuple[int, list[Entry]]] = []
    lost = 0
    for one in parse(path):
        if one is None:
            lost += 1
            continue
        tick_ms = one.tick_ms()
        if not found or found[-1][0] != tick_ms or len(found[-1][1]) >= _MOST_PER_SEGMENT:
            found.append((tick_ms, []))
        found[-1][1].append(one.entry())
    return found, lost
