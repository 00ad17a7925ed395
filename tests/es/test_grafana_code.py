"""What Grafana's own packages show of every panel: names as they are, numbers as they are, links that lead on.

Comparing queries does not see this. A panel's unit once formatted the names of hosts too ("NaN", "10100%"), and links
handed "All" to boards of one host, which were empty then.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import shipper_eslocal
from fleetdocs import ODD_NAMES
from grafana_target import Page
from grafanacode import VERSIONS, Drawn, Grafana, grafana
from pictures import opened
from proof import CHOSEN, Proven, Troubled, drawn, loaded

from shipper.view.dashboards import ask
from shipper.view.dashboards.ask import Answer
from shipper.view.dashboards.boards import BOARDS, EXPLORER
from shipper.view.dashboards.colours import BAD, GOOD, WARNING
from shipper.view.dashboards.grafana import render
from shipper.view.dashboards.model import ENTITY, HOST, Board, Stat, View, key_label, label, steps
from shipper.view.thresholds import Level

pytestmark = pytest.mark.needs("chromedriver", "npm")

# What a unit, a number or markup could make another text of
NAMES = ("101", "1e5", "2026-01-01", "NaN", ODD_NAMES[0], ODD_NAMES[1], "<b>x</b>")
BY_UID = {board.uid: board for board in BOARDS}
COLOUR_OF = {Level.OK: GOOD, Level.WARNING: WARNING, Level.BAD: BAD}
Rows = Mapping[str, Sequence[float | None]]
_NUMBER = re.compile(r"-?[\d.]+(?=\D*$)")


@pytest.fixture(scope="module")
def fleet(es9: shipper_eslocal.Cluster) -> Proven:
    made = Troubled(hosts=len(NAMES), containers=4, ticks=31, period_s=10, names=NAMES, namespace="code")
    return loaded(es9, made)


@pytest.fixture(scope="module", params=VERSIONS)
def code(request: pytest.FixtureRequest) -> Iterator[Grafana]:
    """The oldest version that the boards are made for, and the newest."""
    with grafana(request.param) as packages:
        yield packages


@dataclass(frozen=True)
class Opened:
    """A board as it opens: by title of a panel the responses, what they mean, and what Grafana shows of it."""

    page: Page
    responses: dict[str, list[Any]]
    right: dict[str, Answer]
    shown: dict[str, Any]


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def answered(fleet: Proven) -> Callable[[str, str], tuple[Page, dict[str, list[Any]]]]:
    """A board with a host chosen, and the responses to its panels: asked once, for both versions."""

    @cache
    def ask_for(uid: str, host: str) -> tuple[Page, dict[str, list[Any]]]:
        page = opened(fleet, BY_UID[uid], host)
        return page, fleet.responses(page, list(page.panels))

    return ask_for


@pytest.fixture(scope="module")
def open_board(answered: Callable[[str, str], tuple[Page, dict[str, list[Any]]]], code: Grafana) -> Open:
    @cache
    def made(uid: str, host: str = NAMES[0]) -> Opened:
        page, responses = answered(uid, host)
        right = {panel["title"]: page.answer(panel, responses[panel["title"]]) for panel in page.panels}
        return Opened(page, responses, right, code.panels(page, list(page.panels), responses))

    return made


@pytest.fixture(scope="module")
def draw(open_board: Open, code: Grafana) -> Callable[[str, int], Drawn]:
    @cache
    def made(uid: str, width: int) -> Drawn:
        board = open_board(uid)
        return code.draw(board.page, board.responses, width)

    return made


@pytest.mark.parametrize("uid", BY_UID)
def test_tables_show_names_and_numbers_as_they_are(open_board: Open, uid: str) -> None:
    board = open_board(uid)
    tables = [panel for panel in drawn(BY_UID[uid]) if panel.view is View.TABLE]
    for panel in tables:
        right, (table,) = board.right[panel.title].rows, board.shown[panel.title]
        names = [column["name"] for column in table["columns"]]
        shown = [i for i, metric in enumerate(panel.metrics) if not metric.where or _has_values(right, i)]
        assert names == [key_label(panel), *(label(panel, panel.metrics[i]) for i in shown)], panel.title
        assert [row[0]["text"] for row in table["rows"]] == list(right), panel.title
        for row, values in zip(table["rows"], right.values(), strict=True):
            for cell, value in zip(row[1:], [values[i] for i in shown], strict=True):
                assert (cell["text"] == "–") == (value is None), (panel.title, cell, value)
                assert "NaN" not in cell["text"], (panel.title, cell, value)
    assert tables or uid == "shipper-coreos"


def _has_values(rows: Rows, column: int) -> bool:
    """Whether there is such a column: a search of its own without results adds none."""
    return any(values[column] is not None for values in rows.values())


@pytest.mark.parametrize("uid", BY_UID)
def test_a_cell_leads_to_the_board_of_its_name(fleet: Proven, open_board: Open, uid: str) -> None:
    """All links of a board's first table of hosts, and of containers, are followed: all are made in the same way."""
    board, followed_of = open_board(uid), set()
    for panel in drawn(BY_UID[uid]):
        if panel.view is not View.TABLE or not panel.split or panel.split.field not in (HOST, ENTITY):
            continue
        (table,) = board.shown[panel.title]
        for row in table["rows"]:
            (link,) = row[0]["links"]
            target, when, chosen = followed(link)
            variable = "host" if panel.split.field == HOST else "container"
            assert (target.uid, chosen[variable]) == (f"shipper-{variable}", row[0]["text"]), link
            assert when == (board.page.when.first_ms, board.page.when.last_ms), link
            assert panel.split.field in followed_of or fleet_has(fleet, target, when, chosen), link
        followed_of |= {panel.split.field} if table["rows"] else set()


def test_a_table_of_chosen_fields_has_its_headings_and_labels_as_they_are(code: Grafana) -> None:
    """Grafana fills in variables in a target, but in no name of a column."""
    choices = {"metric": "metric.size", "split": "attributes.queue"}
    page = Page(json.loads(render(EXPLORER)), ask.span(0, 3_600_000), choices)
    (panel,) = (one for one in page.panels if one["title"] == "Values")
    target = json.dumps(panel["targets"])
    for name, value in choices.items():
        target = target.replace(f"${name}", value)
    rows = [
        {"key": key, "doc_count": 1, "10": {"value": 3}, "11": {"value": 2}, "12": {"value": 1}, "13": {"value": 4}}
        for key in NAMES
    ]
    (table,) = code.panel(page, {**panel, "targets": json.loads(target)}, [{"aggregations": {"3": {"buckets": rows}}}])
    assert [column["name"] for column in table["columns"]] == ["label", "maximum", "mean", "minimum", "last seen"]
    assert [[cell["text"] for cell in row[:4]] for row in table["rows"]] == [[key, "3", "2", "1"] for key in NAMES]


def test_the_menu_hands_on_only_what_the_other_board_takes(fleet: Proven, code: Grafana) -> None:
    for board in BOARDS:
        links = code.menu(opened(fleet, board, NAMES[0]))
        assert [link["title"] for link in links] == [other.title for other in BOARDS if other is not board]
        for link in links:
            target, when, chosen = followed(link["url"])
            assert when == (fleet.when.first_ms, fleet.when.last_ms), link
            single = {variable.name for variable in target.variables if not variable.multi} - {"namespace"}
            assert not single & chosen.keys(), (board.uid, link)
            assert chosen["namespace"] == fleet.namespace


def followed(link: str) -> tuple[Board, tuple[int, int], dict[str, str]]:
    """The board that a link opens, its time range and its choices."""
    parts = urlsplit(link)
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    when = int(given.pop("from")), int(given.pop("to"))
    return BY_UID[parts.path.removeprefix("/d/")], when, {name.removeprefix("var-"): given[name] for name in given}


def fleet_has(fleet: Proven, board: Board, when: tuple[int, int], chosen: dict[str, str]) -> bool:
    """Whether the board's first number has a value for these choices in this time range."""
    if "container" in chosen:
        chosen = {**chosen, "host": chosen["container"].rpartition("@")[2]}  # the hidden choice follows from the other
    names = {variable.name for variable in board.variables}
    page = fleet.page(board, **{name: value for name, value in chosen.items() if name in names})
    page.when = ask.span(*when)
    panel = next(panel for panel in drawn(board) if panel.view is View.STAT)
    return None not in fleet.by_grafana(page, panel.title).shown


@pytest.mark.parametrize("uid", BY_UID)
def test_numbers_are_shown_with_their_unit(open_board: Open, uid: str) -> None:
    board = open_board(uid)
    for panel in drawn(BY_UID[uid]):
        if panel.view is not View.STAT:
            continue
        answer, shown = board.right[panel.title], board.shown[panel.title]
        right = answer.shown or [None]
        assert len(shown) == len(right), panel.title
        if answer.rows:
            assert [number["name"] for number in shown] == list(answer.rows), panel.title
        for number, value in zip(shown, right, strict=True):
            assert (number["text"] in ("–", "0")) == (not value), (panel.title, number, value)
            if value is not None and panel.unit == "pct":
                assert float(_NUMBER.findall(number["text"])[0]) == pytest.approx(value * 100, abs=0.051), panel.title


@pytest.mark.parametrize("uid", BY_UID)
def test_lines_have_their_names_and_values(open_board: Open, uid: str) -> None:
    """Also those of charts that take their numbers from the answer to the chart beside them."""
    board = open_board(uid)
    for panel in (panel for panel in drawn(BY_UID[uid]) if panel.view is View.LINES):
        right, shown = board.right[panel.title], board.shown[panel.title]
        assert [line["name"] for line in shown] == list(right.series), panel.title
        if panel.split is None:
            names, over = [line["name"] for line in shown], [metric for metric in panel.metrics if metric.over]
            assert sorted(names) == sorted(label(panel, metric) for metric in panel.metrics)
            stack = [label(panel, metric) for metric in panel.metrics if metric not in over]
            assert not panel.stacked or [name for name in names if name in stack] == stack
        elif panel.split.field == HOST and len(panel.metrics) == 1:
            assert {line["name"] for line in shown} <= set(NAMES), panel.title
        below = [label(panel, metric) for metric in panel.metrics if metric.mirrored]
        for line, values in zip(shown, right.series.values(), strict=True):
            points = {time: value for time, value in line["points"] if value is not None}
            wanted = {time: value for time, value in zip(right.times, values, strict=True) if value is not None}
            assert points == wanted, (panel.title, line["name"])
            assert line["below"] == any(line["name"].endswith(name) for name in below), (panel.title, line["name"])


def test_colours_follow_the_thresholds(open_board: Open) -> None:
    seen = set()
    for board in BOARDS:
        opened_board = open_board(
            board.uid, NAMES[1] if board.uid in CHOSEN else NAMES[0]
        )  # a unit of that host failed
        for panel in drawn(board):
            right, shown = opened_board.right[panel.title], opened_board.shown[panel.title]
            if panel.view is View.STAT:
                found = [list(zip(panel.metrics, shown, right.shown or [None], strict=True))]
            elif panel.view is View.TABLE:
                rows = zip(shown[0]["rows"], right.rows.values(), strict=True)
                found = [list(zip(panel.metrics, row[1:], values, strict=True)) for row, values in rows]
            else:
                continue
            for metric, cell, value in (one for row in found for one in row):
                own = steps(panel, metric)
                if value is not None and own and metric.stat is not Stat.AGE:
                    level = own.level(value)
                    assert cell["colour"].lower() == COLOUR_OF[level].lower(), (panel.title, metric, value)
                    seen.add(level)
    assert seen == set(Level)


def test_a_host_has_one_colour_on_a_board(open_board: Open) -> None:
    for board in BOARDS:
        colours: dict[str, set[str]] = {}
        for panel in drawn(board):
            if panel.view is View.LINES and panel.split and len(panel.metrics) == 1 and panel.split.field == HOST:
                for line in open_board(board.uid).shown[panel.title]:
                    colours.setdefault(line["name"], set()).add(line["colour"])
        assert all(len(own) == 1 for own in colours.values()), colours


@pytest.mark.parametrize("uid", BY_UID)
def test_what_is_drawn_is_what_is_computed(open_board: Open, draw: Callable[[str, int], Drawn], uid: str) -> None:
    board, shown = open_board(uid), draw(uid, 1280).panels
    for panel in (
        panel for row in BY_UID[uid].rows if not row.collapsed for panel in row.panels if panel.view is not View.TEXT
    ):
        computed = board.shown[panel.title]
        if panel.view is View.STAT:
            for number in computed:
                assert plain(number["text"]) in plain(shown[panel.title]["text"]), panel.title
        if panel.view is View.TABLE:
            (table,) = computed
            right = [[plain(cell["text"]) for cell in row] for row in table["rows"]]
            rows = [[plain(cell) for cell in row] for row in shown[panel.title]["rows"]]
            assert bool(rows) == bool(right), panel.title
            assert all(any(row == whole[: len(row)] for whole in right) for row in rows), (panel.title, rows, right)
        if panel.view is View.LINES:
            for line in computed:
                assert line["name"] in shown[panel.title]["text"], panel.title


@pytest.mark.parametrize("period", ["60000", "10000", ""])
def test_buckets_are_not_narrower_than_the_period(fleet: Proven, code: Grafana, period: str) -> None:
    """The longest period is a variable's value; without documents it is empty."""
    for board in BOARDS:
        for title, width_ms in code.intervals_ms(fleet.page(board, period=period)).items():
            assert width_ms >= int(period or 0) or code.version == "11", title
            assert width_ms >= 10_000 or not period, title


@pytest.mark.parametrize("code", ["13"], indirect=True)
@pytest.mark.parametrize("width", [1280, 1600])
@pytest.mark.parametrize("uid", BY_UID)
def test_legends_and_tables_fit(draw: Callable[[str, int], Drawn], uid: str, width: int) -> None:
    shown = draw(uid, width).panels
    wide = []
    for title, panel in shown.items():
        legend = panel["legend"]
        if legend and (legend["height"] > 0.26 or legend["width"] > 0.3):
            wide.append(f"{title}: legend {legend}")
        if panel["scrolls"]:
            wide.append(f"{title}: scrolls sideways")
        if panel["cut"]:
            wide.append(f"{title}: no room for {panel['cut'][:3]}")
        if panel["headings"]:
            wide.append(f"{title}: no room for the headings {panel['headings']}")
    wide += [
        f"{one.title}: no room for its course"
        for one in drawn(BY_UID[uid])
        if one.trend and not shown[one.title]["plots"]
    ]
    assert not wide, "\n".join(wide)


def plain(text: str) -> str:
    """Without blanks: a number and its unit are apart on the screen."""
    return "".join(text.split())
