"""A finding of a check: ok, worth a note, or wrong, in one line."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str

    def __str__(self) -> str:
        """One line. Names of mounts and cgroups are anyone's: what is not printable is escaped."""
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in self.text)
        return f"{self.level:5}  {text}"


def ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def note(text: str) -> Finding:
    return Finding(Level.NOTE, text)


def wrong(text: str) -> Finding:
    return Finding(Level.WRONG, text)
