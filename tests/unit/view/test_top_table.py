"""Tables of ``shipper top``: order, filter, cells; and what it says without its libraries."""

import sys

import pytest

from shipper import cli
from shipper.view.fleet import Row, Seen
from shipper.view.top_table import HOSTS, Column, cell, matching, ordered, plain, span

NAME, CPU = HOSTS[0], HOSTS[1]
ROWS: list[Row] = [
    {"host.name": "b", CPU.field: 0.5},
    {"host.name": "a"},
    {"host.name": "c", CPU.field: 0.9},
]


@pytest.mark.parametrize(
    ("ms", "expected"),
    [(0, "0s"), (999, "0s"), (59_000, "59s"), (60_000, "1m 0s"), (3_600_000, "1h 0m"), (273_600_000, "3d 4h")],
)
def test_span(ms: int, expected: str) -> None:
    assert span(ms) == expected


@pytest.mark.parametrize(
    ("column", "turned", "expected"),
    [(CPU, False, "cba"), (CPU, True, "bca"), (NAME, False, "abc"), (NAME, True, "cba")],
)
def test_order_has_what_is_absent_last(column: Column, turned: bool, expected: str) -> None:
    found = ordered(ROWS, column, turned=turned)
    assert "".join(row["host.name"] for row in found) == expected


def test_filter_looks_at_texts_that_are_shown() -> None:
    rows: list[Row] = [{"host.name": "Web-1", "host.id": "db"}, {"host.name": "db-1", CPU.field: 0.5}]
    assert matching(rows, HOSTS, "wEB") == rows[:1]
    assert matching(rows, HOSTS, "db") == rows[1:]
    assert matching(rows, HOSTS, "0.5") == []


def test_cells_are_for_people_and_hostile_names_are_text() -> None:
    row: Row = {"host.name": "a\x1b[2J\u202eb[red]", CPU.field: 0.123, "system.uptime.duration.ms": 61_000}
    assert cell(row, NAME) == "a�[2J�b[red]"
    assert cell(row, CPU) == "12.3%"
    assert cell({}, CPU) == "–"
    assert "\x1b" not in "".join(plain(Seen("", [row])))


def test_plain_table_is_aligned() -> None:
    lines = plain(Seen("", ROWS), (NAME, CPU))
    assert lines == ["host    CPU", "c     90.0%", "b     50.0%", "a         –"]


def test_without_textual_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "shipper.view.top_screen", raising=False)
    monkeypatch.delattr("shipper.view.top_screen", raising=False)
    monkeypatch.setitem(sys.modules, "textual", None)
    assert cli.main(["top"]) == 1
    assert capsys.readouterr().err == "shipper: top needs textual: pip install 'metrics-shipper[view]'\n"
