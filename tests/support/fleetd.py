"""fleet's rules: how it reads a unit file, what it refuses, where its engine puts units. Debian has nothing of fleet.

Sections and keys of fleet 1.0 (job/job.go, unit/unit.go, Documentation/unit-files-and-scheduling.md), the last release.
"""

import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

SECTION = "X-Fleet"
KEYS = {"MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Global", "Replaces"}
OLD_KEYS = {"X-Conflicts", "X-ConditionMachineID", "X-ConditionMachineBootID", "X-ConditionMachineOf"}
REFUSED_WITH = {
    "MachineID": {"MachineOf", "Conflicts", "Global", "Replaces"},
    "Global": {"MachineOf", "Replaces"},
    "Conflicts": {"Replaces"},
}
TRUE = {"true", "yes", "1", "on", "t"}
NAME = re.compile(r"[a-zA-Z0-9:_.@-]+\.(service|socket|device|mount|automount|timer|path)")
LONGEST = 2047

Unit = dict[str, dict[str, list[str]]]


class Refused(ValueError):  # noqa: N818
    """fleetctl submit would not take it."""


def parse(text: str) -> Unit:
    """Section → option → values in their order."""
    found: Unit = {}
    section = ""
    for line in _lines(text):
        if line.startswith("["):
            name, closed, rest = line[1:].partition("]")
            if not closed or rest.strip():
                raise Refused(f"text after a section's name: {line}")
            section = name
            found.setdefault(section, {})
        else:
            option, equals, value = line.partition("=")
            if not equals or not section:
                raise Refused(f"not an option of a section: {line}")
            found[section].setdefault(option.strip(), []).extend(_values(section, value.strip()))
    return found


def _lines(text: str) -> list[str]:
    lines, held = [], ""
    for line in text.splitlines():
        if len(line.encode()) > LONGEST:
            raise Refused("a line of 2048 bytes or more")
        stripped = line.strip()
        if not held and (not stripped or stripped[0] in "#;"):
            continue
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        lines.append((held + line).strip())
        held = ""
    return lines


def _values(section: str, value: str) -> list[str]:
    quoted = section == SECTION and len(value) > 1 and value[0] == value[-1] == '"'
    return shlex.split(value) if quoted else [value]


def validate(name: str, unit: Unit) -> None:
    """Raises Refused."""
    if not NAME.fullmatch(name):
        raise Refused(f"name {name}")
    options = unit.get(SECTION, {})
    if unknown := options.keys() - KEYS - OLD_KEYS:
        raise Refused(f"unknown options {sorted(unknown)}")
    for key, others in REFUSED_WITH.items():
        if key in options and options.keys() & others:
            raise Refused(f"{key} with {sorted(options.keys() & others)}")
    if is_global(unit) and unit.get("Install"):
        raise Refused("a unit that is enabled is lost to fleet")
    for values in options.values():
        if any(specifier in value for value in values for specifier in ("%H", "%m", "%b")):
            raise Refused("fleet expands only %n, %N, %p and %i")


def is_global(unit: Unit) -> bool:
    return unit.get(SECTION, {}).get("Global", ["false"])[-1].lower() in TRUE


def conflicting(first: str, one: Unit, second: str, other: Unit) -> bool:
    """Either's globs count."""
    globs = [(second, one), (first, other)]
    return any(
        fnmatchcase(name, glob)
        for name, unit in globs
        for values in unit.get(SECTION, {}).get("Conflicts", [])
        for glob in values.split()
    )


@dataclass
class Engine:
    """The part of fleet's engine that units here ask for: least loaded machine without a conflict, and failover."""

    machines: list[str]
    units: dict[str, Unit] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, unit: Unit) -> None:
        validate(name, unit)
        self.units[name] = unit

    def lose(self, machine: str) -> None:
        self.machines.remove(machine)
        self.placed = {name: where for name, where in self.placed.items() if where != machine}

    def schedule(self) -> dict[str, str]:
        """Units that were placed by this: name → machine. What finds no machine waits."""
        placed = {}
        for name in self.units.keys() - self.placed.keys():
            free = [machine for machine in self.machines if not self._conflicts(name, machine)]
            if free:
                load = list(self.placed.values())
                placed[name] = self.placed[name] = min(free, key=load.count)
        return placed

    def _conflicts(self, name: str, machine: str) -> bool:
        here = [other for other, where in self.placed.items() if where == machine]
        return any(conflicting(name, self.units[name], other, self.units[other]) for other in here)
