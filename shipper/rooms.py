"""The rooms of this package and who imports whom, read from the source, for the picture in docs/architecture.md."""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from shipper.base.errors import UserError

PACKAGE: Final = Path(__file__).parent
_BLOCK: Final = re.compile(r"(?<=<!-- rooms: made by shipper render -->\n).*(?=<!-- end of rooms -->)", re.DOTALL)

Imports = Mapping[str, frozenset[str]]
"""Room → the rooms that its modules import."""


def imported(module: Path) -> set[str]:
    """``room.module`` of each of our modules that ``module`` imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(module.read_bytes())))
    dotted = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            dotted |= {f"{node.module}.{alias.name}" for alias in node.names}
    prefix = f"{PACKAGE.name}."
    return {name.removeprefix(prefix) for name in dotted if name.startswith(prefix)}


def imports() -> Imports:
    """What each room imports, except itself."""
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return {room: frozenset(_rooms_of(room)) & rooms - {room} for room in rooms}


def _rooms_of(room: str) -> set[str]:
    return {name.partition(".")[0] for module in (PACKAGE / room).rglob("*.py") for name in imported(module)}


def in_order(imports: Imports) -> list[str]:
    """The rooms, each after all that it imports. Raises UserError if rooms import each other."""
    order: list[str] = []
    while left := sorted(imports.keys() - set(order)):
        ready = [room for room in left if imports[room] <= set(order)]
        if not ready:
            raise UserError(f"rooms import each other: {', '.join(left)}")
        order += ready
    return order


def direct(imports: Imports) -> Imports:
    """``imports`` without those that follow from others: whoever imports ``deliver`` needs no arrow to ``base``."""
    reached: dict[str, frozenset[str]] = {}
    for room in in_order(imports):
        reached[room] = imports[room].union(*(reached[other] for other in imports[room]))
    return {room: others.difference(*(reached[other] for other in others)) for room, others in imports.items()}


def put_into(document: str) -> str:
    """``document`` with a Mermaid picture and a table of the rooms between its two marks."""
    every = imports()
    arrows, latest_first = direct(every), in_order(every)[::-1]
    return _BLOCK.sub(lambda _: "\n".join([*_picture(arrows, latest_first), "", *_table(latest_first), ""]), document)


def _picture(arrows: Imports, rooms: Iterable[str]) -> list[str]:
    lines = [f"    {room} --> {other}" for room in rooms for other in sorted(arrows[room])]
    return ["```mermaid", "flowchart TD", *lines, "```"]


def _table(rooms: Iterable[str]) -> list[str]:
    return ["| room | holds |", "|---|---|", *(f"| `{room}` | {_door(room)} |" for room in rooms)]


def _door(room: str) -> str:
    """The first paragraph of a room's docstring."""
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_bytes())) or ""
    return text.partition("\n\n")[0].replace("\n", " ").replace("``", "`").removesuffix(".")
