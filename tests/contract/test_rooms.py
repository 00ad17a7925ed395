"""Who may import whom: the rooms of shipper/, each from those before it, and nothing for its type alone."""

import ast

import pytest

from shipper import rooms
from shipper.base.errors import UserError

SHIPPER = rooms.PACKAGE
ROOMS = [
    "base",
    "kernel",
    "fields",
    "settings",
    "collect",
    "schema",
    "deliver",
    "server",
    "agent",
    "view",
    "deploy",
    "rooms",
    "doctor",
    "commands",
    "cli",
    "release",
]
FILES = {"rooms", "cli"}
# A room that takes less than all before it
ONLY = {
    "base": set(),
    "kernel": {"base"},
    "fields": {"base"},
    "settings": {"base", "fields"},
    "collect": {"base", "kernel", "fields", "settings"},
    "schema": {"base", "fields", "settings", "collect"},
    "deliver": {"base", "fields", "settings", "schema.stream_names"},
    "server": {"base", "fields", "settings", "schema", "deliver"},
    "view": {"base", "fields", "settings", "schema", "deliver"},
    "deploy": {"base", "settings"},
    "rooms": {"base"},
}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_before_it(room: str) -> None:
    place = SHIPPER / room
    allowed = ONLY.get(room, set(ROOMS[: ROOMS.index(room)])) | {room, "__version__"}
    for module in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
        wrong = {
            name
            for name in rooms.imported(module)
            if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
        }
        assert not wrong, f"{module.relative_to(SHIPPER)} imports {sorted(wrong)}"


def test_nothing_is_imported_for_its_type_alone() -> None:
    """Such an import hides a circle. Commands, which nothing imports, do so to start fast."""
    modules = [path.relative_to(SHIPPER) for path in SHIPPER.rglob("*.py") if "TYPE_CHECKING" in path.read_text()]
    assert [str(module) for module in modules if module.parts[0] != "commands"] == []


def test_every_room_has_a_sentence_at_its_door() -> None:
    doors = [SHIPPER / room / "__init__.py" for room in ROOMS if room not in FILES]
    assert [door.parent.name for door in doors if not ast.get_docstring(ast.parse(door.read_text()))] == []
    assert {path.name for path in SHIPPER.iterdir() if (path / "__init__.py").exists()} == set(ROOMS) - FILES


def test_the_picture_leaves_out_arrows_that_follow_from_others() -> None:
    imports = {"base": frozenset[str](), "kernel": frozenset({"base"}), "collect": frozenset({"base", "kernel"})}
    assert rooms.in_order(imports) == ["base", "kernel", "collect"]
    assert rooms.direct(imports) == {**imports, "collect": {"kernel"}}


def test_rooms_that_import_each_other_are_named() -> None:
    circle = {"base": frozenset[str](), "kernel": frozenset({"collect"}), "collect": frozenset({"base", "kernel"})}
    with pytest.raises(UserError, match="rooms import each other: collect, kernel"):
        rooms.in_order(circle)
