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
        return f"{self.level:5}  {self.text}"


def ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def note(text: str) -> Finding:
    return Finding(Level.NOTE, text)


def wrong(text: str) -> Finding:
    return Finding(Level.WRONG, text)
