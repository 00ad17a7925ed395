"""The result of one check in one line: ok, a note, or wrong."""

from dataclasses import dataclass
from enum import StrEnum

from shipper.base.text import escaped


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    level: Level
    text: str

    def __str__(self) -> str:
        """One line. Unprintable characters are escaped, because names of mounts and cgroups come from untrusted
        sources.
        """
        return f"{self.level:5}  {escaped(self.text)}"


def ok(text: str) -> Finding:
    """A finding that all is well."""
    return Finding(Level.OK, text)


def note(text: str) -> Finding:
    """A finding that is worth a note."""
    return Finding(Level.NOTE, text)


def wrong(text: str) -> Finding:
    """A finding that something is wrong."""
    return Finding(Level.WRONG, text)
