"""The report without a server: units, figures, colours, the heaviest page, and what the command refuses."""

import itertools
import sys
from typing import Any

import pytest

from shipper import cli, view
from shipper.fields.field import UNITS
from shipper.view import report, unit_formats
from shipper.view.dashboards import ask
from shipper.view.dashboards.ask import Answer
from shipper.view.dashboards.colours import COLOURS
from shipper.view.dashboards.model import HOST, Panel, Split, View, avg, label
from shipper.view.report import page
from shipper.view.report.figures import course, figure, shared
from shipper.view.report.search import Filled, Page
from shipper.view.thresholds import THRESHOLDS

WHEN = ask.span(0, 3_600_000)  # buckets of 15 s
GAP = [None] * 20


def drawn(panel: Panel, **series: list[float | None]) -> list[dict[str, Any]]:
    answer = Answer(times=list(WHEN.buckets)[: len(next(iter(series.values())))], series=dict(series))
    return list(figure(panel, WHEN, answer, {}, {})["data"])


def lines(*names: str, **more: Any) -> Panel:
    return Panel("CPU", "help", View.LINES, "host", tuple(avg("system.load.1", name) for name in names), **more)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "pct", "–"),
        (0.0, "pct", "0 %"),
        (0.1234, "pct", "12.3 %"),
        (1536.0, "bytes", "1.5 KiB"),
        (-3.0 * 1024**4, "bytes/s", "-3 TiB/s"),
        (1023.0, "bytes", "1023 B"),
        (12_345.0, "count", "12.3 k"),
        (0.5, "per_s", "0.5 /s"),
        (1500.0, "us", "1.5 ms"),
        (90_000.0, "ms", "1.5 min"),
        (3.2, "load", "3.2"),
        (1_795_473_860_123.0, "date", "2026-11-23 22:44:20"),
    ],
)
def test_values_for_people(value: float | None, unit: str, expected: str) -> None:
    assert unit_formats.shown(value, unit) == expected


def test_every_unit_has_a_scale() -> None:
    assert unit_formats.SCALES.keys() == UNITS.keys()


def test_a_gap_stays_a_gap_but_a_field_that_comes_once_a_minute_is_a_line() -> None:
    once_a_minute = [1.0, None, None, None, 2.0]
    panel = Panel("Processes", "once a minute", View.LINES, "host", (avg("system.process.summary.total", "a"),))
    (one,) = drawn(panel, a=[*once_a_minute, *GAP, 3.0, 4.0])
    assert one["x"][:2] == [0, 60_000]
    assert one["y"][:2] == [1, 2]
    assert one["y"][2:] == [*GAP, 3, 4]
    assert one["mode"] == "lines"


def test_two_minutes_without_power_are_a_gap() -> None:
    (one,) = drawn(lines("a"), a=[1.0, 1.0, *[None] * 5, 1.0, 1.0])
    assert one["y"] == [1, 1, *[None] * 5, 1, 1]


def test_a_total_is_a_line_over_the_stack() -> None:
    metrics = (avg("system.load.1", "a"), avg("system.load.5", "b", over=True))
    panel = Panel("Load", "help", View.LINES, "host", metrics, stacked=True)
    assert ["stackgroup" in one for one in drawn(panel, a=[1.0], b=[2.0])] == [True, False]


def test_a_point_between_gaps_is_a_point() -> None:
    (one,) = drawn(lines("a"), a=[1.0, 1.0, *GAP, 5.0, *GAP, 1.0, 1.0])
    assert one["mode"] == "lines+markers"


def test_a_stack_ends_at_a_gap() -> None:
    found = drawn(lines("a", "b", stacked=True), a=[1.0, 1.0, *GAP, 1.0], b=[2.0, None, *GAP, 2.0])
    assert [(one["name"], one["stackgroup"], one["y"]) for one in found] == [
        ("a", "0", [1, 1]),
        ("a", "1", [1]),
        ("b", "0", [2, None]),
        ("b", "1", [2]),
    ]


def test_a_threshold_far_above_all_values_is_not_drawn() -> None:
    panel = Panel("Load", "help", View.LINES, "host", (avg("system.load.norm.1"),))
    answer = Answer(times=[0], series={"Load": [1.9]})
    (line,) = figure(panel, WHEN, answer, {}, {})["layout"]["shapes"]
    assert line["y0"] == line["y1"] == THRESHOLDS["system.load.norm.1"].warning


def test_lines_above_and_below_zero_have_one_legend_entry() -> None:
    flows = "system.network.total.in.bytes_per_s", "system.network.total.out.bytes_per_s"
    metrics = avg(flows[0], "received"), avg(flows[1], "sent", mirrored=True)
    panel = Panel("Network", "help", View.LINES, "host", metrics, Split(HOST))
    answer = Answer(times=[0], series={title: [1.0] for title in ("a received", "a sent", "b received", "b sent")})
    found = figure(panel, WHEN, answer, {}, {})["data"]
    assert [one["name"] for one in found if one["showlegend"]] == ["a", "b"]
    assert [one["legendgroup"] for one in found] == ["a", "a", "b", "b"]  # a click hides both
    assert [one["meta"] for one in found] == list(answer.series)
    assert "sent" in found[1]["hovertemplate"]


def test_a_host_has_one_colour_on_all_charts() -> None:
    panel = Panel("Load", "help", View.LINES, "host", (avg("system.load.1"),), Split(HOST))
    first, second = (Answer(times=[0], series={key: [1.0] for key in names}) for names in ("ab", "ba"))
    colours = shared([(panel, first), (panel, second)])
    looks = [
        {one["name"]: one["line"]["color"] for one in figure(panel, WHEN, answer, {}, colours)["data"]}
        for answer in (first, second)
    ]
    assert looks == [{"a": COLOURS[0], "b": COLOURS[1]}] * 2
    many = Answer(times=[0], series={key: [1.0] for key in map(str, range(33))})
    assert shared([(panel, many)]) == {}


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ([0.0, 5.0, 10.0], "M0 1L0.5 0.5L1 0"),
        ([1.0, None, None, 2.0, 2.0], "M0 0.5M0.75 0L1 0"),
        ([0.0, 0.0], "M0 1L1 1"),
        ([None, None], ""),
        ([], ""),
    ],
)
def test_the_course_behind_a_number(line: list[float | None], path: str) -> None:
    assert course(line) == path


def test_the_heaviest_page_is_below_ten_megabytes() -> None:
    """As many series, points and rows as panels can have, of digits that do not repeat, for the fleet and ten hosts."""
    digits = (float(number) / 7 for number in itertools.count(1))
    boards = [
        *(report.NAMES[name] for name in ("overview", "containers", "agents", "coreos")),
        *[report.NAMES["host"]] * 10,
    ]
    pages = [
        Filled(
            Page(board, board.title, {}),
            WHEN,
            {panel.title: _full(panel, digits) for panel in board.panels},
            {panel.title: _full(ask.course(panel), digits) for panel in board.panels if panel.trend},
            {mark.name: [(i * 10_000, f"node-{i}") for i in range(100)] for mark in board.marks},
            frozenset({"Boots"}),
        )
        for board in boards
    ]
    made = page.render(pages)
    assert len(made.encode()) <= 10_000_000
    assert "<summary>Boots: the newest 100</summary>" in made


def _full(panel: Panel, digits: Any) -> Answer:
    times = list(WHEN.buckets)
    if panel.view is View.STAT:
        return Answer(numbers={label(panel, one): next(digits) for one in panel.metrics})
    keys = [f"{panel.title}-{i}" for i in range(panel.split.size)] if panel.split else [None]
    if panel.view is View.TABLE:
        return Answer(rows={str(key): [next(digits) for _ in panel.metrics] for key in keys})
    names = [ask.name(panel, metric, key) for key in keys for metric in panel.metrics]
    return Answer(times=times, series={name: [next(digits) for _ in times] for name in names})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--board", "host"], "--board host needs --host"),
        (["--board", "container", "--host", "a"], "--board container needs --container"),
        (["--from", "2026-11-23T02:00", "--to", "2026-11-23T01:00"], "the time range ends before it begins"),
        (
            ["--from", "tomorrow"],
            "argument --from: must be a time such as 02:10, -30m, yesterday 14:00 or 2026-11-23T02:10; UTC unless",
        ),
        (["--last", "1y"], "argument --last: must be a duration from 1s to 366d"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"shipper: {said}")
    assert error.count("\n") == 1


def test_without_plotly_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("shipper.view.report", "plotly"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(view, "report", raising=False)
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert cli.main(["report"]) == 1
    assert capsys.readouterr().err == "shipper: report needs plotly: pip install 'metrics-shipper[view]'\n"
