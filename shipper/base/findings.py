"""The result of one check in one line: ok, a note, or wrong; and how a command shows them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from shipper.base.text import escaped


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``remedy``: a command or a step that mends it; empty if the text says it all."""

    level: Level
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line. Unprintable characters are escaped, because names of mounts and cgroups come from untrusted
        sources.
        """
        return f"{self.level:5}  {escaped(self.text)}"


def ok(text: str) -> Finding:
    """A finding that all is well."""
    return Finding(Level.OK, text)


def note(text: str, remedy: str = "") -> Finding:
    """A finding that is worth a note."""
    return Finding(Level.NOTE, text, remedy)


def wrong(text: str, remedy: str = "") -> Finding:
    """A finding that something is wrong."""
    return Finding(Level.WRONG, text, remedy)


class Listing:
    """Prints findings as they are made, or all of them as one JSON object at the end.

    ``quiet``: findings that are ok are only counted.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._all: list[Finding] = []

    def add(self, findings: Iterable[Finding]) -> bool:
        """Returns whether any is wrong."""
        bad = False
        for finding in findings:
            self._all.append(finding)
            bad |= finding.level is Level.WRONG
            if not self._as_json and not (self._quiet and finding.level is Level.OK):
                print(finding, flush=True)  # noqa: T201
                if finding.remedy:
                    print(f"       → {escaped(finding.remedy)}", flush=True)  # noqa: T201
        return bad

    def end(self) -> None:
        """Print what is left to print."""
        good = sum(finding.level is Level.OK for finding in self._all)
        if self._as_json:
            print(json.dumps({"findings": [asdict(finding) for finding in self._all]}))  # noqa: T201
        elif self._quiet:
            print(f"{good} of {len(self._all)} checks found nothing")  # noqa: T201
