"""What holds for every dashboard without a server: sound JSON, links that lead somewhere, charts that can be read."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from grafana_target import Page, shares

from shipper.schema.datasets import DATASETS
from shipper.view.dashboards import grafana, kibana
from shipper.view.dashboards.ask import Span
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.colours import BAD, GOOD, WARNING, bands
from shipper.view.dashboards.grafana.unit_ids import unit_id
from shipper.view.dashboards.model import (
    HOST,
    MOST_SERIES,
    Board,
    BoardError,
    Panel,
    Row,
    Split,
    View,
    avg,
    key_label,
    lines,
    most,
    stat,
    table,
)
from shipper.view.dashboards.verify import verify
from shipper.view.thresholds import THRESHOLDS, Steps

IN_GRAFANA = {board.uid: json.loads(grafana.render(board)) for board in BOARDS}
IN_KIBANA = {board.uid: [json.loads(line) for line in kibana.render(board).splitlines()] for board in BOARDS}
UIDS = sorted(IN_GRAFANA)
ENTITIES = {"host.name": "shipper-host", "cgroup.entity": "shipper-container"}


def panels(uid: str) -> Iterator[dict[str, Any]]:
    """With the targets whose results they show."""
    return Page(IN_GRAFANA[uid], Span(0, 0, 1)).panels


def lenses(uid: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(IN_KIBANA[uid][1]["attributes"]["panelsJSON"])
    return found


def board(*panels: Panel) -> Board:
    return Board("x", "X", "x", (), (Row("x", panels),))


@pytest.mark.parametrize(
    ("panel", "why"),
    [
        (lines("A", "a", "host", avg("system.cpu.idle")), "no field of host"),
        (lines("A", "a", "hosts", avg("system.load.1")), "no such dataset"),
        (lines("A", "a", "host", avg("system.cpu.user.ns")), "counter is meaningless; use system.cpu.user.pct"),
        (lines("A", "a", "host", avg("host.os.name")), "cannot compute the avg of a keyword"),
        (lines("A", "a", "host", avg("system.load.1"), avg("system.cpu.total.pct")), "on one axis"),
        (lines("A", "", "host", avg("system.load.1")), "needs a title, a description"),
        (lines("A", "a", "host", avg("system.load.1"), split=Split("host.name", 26)), "more than 25 series"),
        (lines("A", "a", "disk", avg("system.diskio.queue.count"), split=Split("labels", 2)), "cannot split by a"),
        (stat("A", "a", "host", replace(most("system.load.1"), unit="bytes")), "is in load, not in bytes"),
        (table("A", "a", "host", Split("host.id"), avg("system.load.1", "x"), avg("system.load.5", "x")), "same name"),
        (lines("A", "a", "sensor", avg("system.sensor.temperature.celsius")), "read once a minute; the description"),
        (lines("A", "a", "host", avg("system.process.summary.total")), "read once a minute; the description"),
    ],
)  # fmt: skip
def test_a_panel_that_would_mislead_cannot_be_rendered(panel: Panel, why: str) -> None:
    with pytest.raises(BoardError, match=re.escape(why)):
        verify(board(panel))


def test_the_colour_follows_from_the_field() -> None:
    load, share = avg("system.load.norm.1", "load"), avg("system.cpu.total.norm.pct", "CPU")
    assert lines("A", "a", "host", load).steps == THRESHOLDS["system.load.norm.1"]
    assert lines("A", "a", "host", load, avg("system.load.norm.5", "5")).steps is None
    assert lines("A", "a", "host", load, coloured=False).steps is None
    made = json.loads(
        grafana.render(board(table("A", "a", "host", Split(HOST), load, share, avg("system.load.1", "1"))))
    )
    colours = {
        override["matcher"]["options"]: [
            step["value"]
            for one in override["properties"]
            if one["id"] == "thresholds"
            for step in one["value"]["steps"]
        ]
        for override in made["panels"][1]["fieldConfig"]["overrides"]
    }
    assert colours == {"host": [], "load": [None, 2, 4], "CPU": [None, 0.85, 0.95], "1": [None]}


@pytest.mark.parametrize(("value", "colour"), [(4, BAD), (5.1, WARNING), (11, GOOD)])
def test_bands_of_a_number_whose_low_values_are_bad(value: float, colour: str) -> None:
    assert [band for begin, band in bands(Steps(10, 5, falling=True)) if begin is None or value >= begin][-1] == colour


def test_a_title_is_used_once() -> None:
    one = lines("A", "a", "host", avg("system.load.1"))
    with pytest.raises(BoardError, match="used twice"):
        verify(board(one, one))


@pytest.mark.parametrize("uid", UIDS)
def test_grafana_panels_are_complete_and_do_not_overlap(uid: str) -> None:
    ids = [panel["id"] for panel in IN_GRAFANA[uid]["panels"]] + [panel["id"] for panel in panels(uid)]
    rows = [panel for panel in IN_GRAFANA[uid]["panels"] if panel["type"] == "row"]
    assert len(set(ids)) == len({*ids}) == len(rows) + len(list(panels(uid)))
    for panel in panels(uid):
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert shares(panel) or panel["datasource"] == {"type": "elasticsearch", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "elasticsearch", "uid": "${datasource}"}, "not the default one"
            numbers = [one["id"] for one in (*target["metrics"], *target["bucketAggs"])]
            assert len(set(numbers)) == len(numbers), panel["title"]
            assert all(number.isdigit() for number in numbers)
    shut = [row["panels"] for row in rows if row["collapsed"]]
    opened = [panel for panel in IN_GRAFANA[uid]["panels"] if panel["type"] != "row"]
    for group in (opened, *shut):  # panels of a closed row come to lie below it, and move the others
        for one, other in combinations([panel["gridPos"] for panel in group], 2):
            assert not _overlap(one, other)


@pytest.mark.parametrize("uid", UIDS)
def test_no_chart_draws_more_series_than_can_be_told_apart(uid: str) -> None:
    for panel in panels(uid):
        sizes = [
            int(bucket["settings"]["size"])
            for target in panel["targets"]
            for bucket in target["bucketAggs"]
            if bucket["type"] == "terms"
        ]
        drawn_rows = panel["type"] == "table" or panel["options"].get("reduceOptions", {}).get("calcs") == ["count"]
        if not drawn_rows:
            assert sum(sizes) <= MOST_SERIES, panel["title"]


@pytest.mark.parametrize("one", BOARDS, ids=lambda one: one.uid)
def test_a_gap_is_a_gap_unless_values_come_once_a_minute(one: Board) -> None:
    drawn = {panel["title"]: panel for panel in panels(one.uid)}
    for panel in (panel for panel in one.panels if panel.view is View.LINES):
        shown = drawn[panel.title]
        assert shown["fieldConfig"]["defaults"]["custom"]["spanNulls"] == (90_000 if panel.minutely else False)
        assert shown["interval"] == "0${period}ms 10s"


def test_the_line_behind_a_number_stays_below_it() -> None:
    """An axis that ends at the highest value lets it cross the number; that of a share is the same in all panels."""
    trends = {(board.uid, one.title): one.unit for board in BOARDS for one in board.panels if one.trend}
    shown = {(uid, panel["title"]): panel for uid in UIDS for panel in panels(uid)}
    for (uid, title), unit in trends.items():
        panel = shown[uid, title]
        assert panel["fieldConfig"]["defaults"]["min"] == 0
        if unit == "pct":
            assert panel["fieldConfig"]["defaults"]["max"] == 2
        else:
            (factor,) = [
                one["options"]["binary"]["right"] for one in panel["transformations"] if one["id"] == "calculateField"
            ]
            assert factor == "2", title
    assert set(trends.values()) == {"pct", "count"}


@pytest.mark.parametrize("uid", UIDS)
def test_a_legend_takes_a_quarter_of_the_panel_at_most(uid: str) -> None:
    for panel in (panel for panel in panels(uid) if panel["type"] == "timeseries"):
        legend, split = panel["options"]["legend"], len(panel["targets"][0]["bucketAggs"]) > 1
        assert legend["displayMode"] == "list"
        assert legend["placement"] == ("right" if split else "bottom"), panel["title"]
        if split:
            assert legend["width"] <= panel["gridPos"]["w"] * 1280 / 24 / 4
        else:
            assert len(panel["fieldConfig"]["overrides"]) <= 3 * panel["gridPos"]["w"] / 4 + 3, panel["title"]


@pytest.mark.parametrize("uid", UIDS)
def test_the_columns_of_a_table_fit_into_a_page_of_1280_pixels(uid: str) -> None:
    """Grafana divides what columns of a fixed width leave among the others, the names among them."""
    for panel in (panel for panel in panels(uid) if panel["type"] == "table"):
        columns = [
            {one["id"]: one["value"] for one in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
        ]
        fixed = [one["custom.width"] for one in columns if "custom.width" in one]
        share = (panel["gridPos"]["w"] * 1248 / 24 - 28 - sum(fixed)) / (len(columns) - len(fixed))
        assert share >= columns[0]["custom.minWidth"], panel["title"]
        bars = [one["custom.width"] for one in columns if "max" in one and "custom.width" in one]
        # Bars leave room for long names of containers, and no more
        assert not bars or min(bars) >= 140 or share <= 240 + len(bars), panel["title"]


@pytest.mark.parametrize("one", BOARDS, ids=lambda one: one.uid)
def test_the_heading_of_names_says_whose(one: Board) -> None:
    headings = {panel.title: key_label(panel) for panel in one.panels if panel.split}
    assert not [title for title, heading in headings.items() if heading in ("name", "id", "failed", "trouble")]


@pytest.mark.parametrize("uid", UIDS)
def test_charts_that_share_a_search_are_in_one_row(uid: str) -> None:
    """Opened or closed together. Grafana asks for the source also when it is above the window."""
    page = IN_GRAFANA[uid]
    groups = [page["panels"], *(row["panels"] for row in page["panels"] if row["type"] == "row")]
    for group in groups:
        by_id = {panel["id"]: (at, panel) for at, panel in enumerate(group)}
        for at, panel in ((at, panel) for at, panel in enumerate(group) if panel["type"] != "row" and shares(panel)):
            (target,) = panel["targets"]
            source_at, source = by_id[target["panelId"]]
            assert source_at < at
            assert not any(one["type"] == "row" for one in group[source_at:at])
            assert not shares(source)


def test_the_coreos_page_asks_few_questions() -> None:
    asking = [panel for panel in panels("shipper-coreos") if not shares(panel)]
    assert sum(len(panel["targets"]) for panel in asking) == 10


def test_a_total_is_a_line_over_the_stack() -> None:
    memory = (avg("system.memory.free", "free"), avg("system.memory.total", "total", over=True))
    one = lines("A", "a", "host", *memory, stacked=True)
    (_, panel) = json.loads(grafana.render(board(one)))["panels"]
    own = {item["id"]: item["value"] for item in panel["fieldConfig"]["overrides"][1]["properties"]}
    assert own["custom.stacking"]["mode"] == "none"
    assert own["custom.fillOpacity"] == 0
    (lens,) = json.loads(json.loads(kibana.render(board(one)).splitlines()[1])["attributes"]["panelsJSON"])
    layers = lens["embeddableConfig"]["attributes"]["state"]["visualization"]["layers"]
    assert [(layer["seriesType"], layer["accessors"]) for layer in layers] == [
        ("area_stacked", ["metric0"]),
        ("line", ["metric1"]),
    ]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("system.network.in.packets_per_s", "pps"),
        ("system.network.total.in.dropped_per_s", "pps"),
        ("system.diskio.read.count_per_s", "iops"),
        ("cgroup.io.write.count_per_s", "iops"),
        ("system.tcp.timeouts.count_per_s", "count:/s"),
    ],
)
def test_rates_say_what_they_count(name: str, unit: str) -> None:
    assert unit_id("per_s", name) == unit


@pytest.mark.parametrize("uid", UIDS)
def test_every_cell_that_names_an_entity_leads_to_its_page(uid: str) -> None:
    for panel in panels(uid):
        (terms,) = [one for one in panel["targets"][0]["bucketAggs"] if one["type"] == "terms"] or [{"field": ""}]
        if panel["type"] != "table" or terms["field"] not in ENTITIES:
            continue
        links = [
            link
            for override in panel["fieldConfig"]["overrides"]
            for one in override["properties"]
            if one["id"] == "links"
            for link in one["value"]
        ]
        (url,) = (link["url"] for link in links)
        target, query = url.removeprefix("/d/").split("?")
        assert target == ENTITIES[terms["field"]]
        there = {variable["name"] for variable in IN_GRAFANA[target]["templating"]["list"]}
        own = {variable["name"] for variable in IN_GRAFANA[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= there
        assert set(re.findall(r"\$\{(\w+):queryparam\}", query)) <= own
        assert query.endswith("${__url_time_range}")


@pytest.mark.parametrize("uid", UIDS)
def test_variables_that_a_query_names_are_there(uid: str) -> None:
    page = IN_GRAFANA[uid]
    there = {variable["name"] for variable in page["templating"]["list"]}
    queries = [target["query"] for panel in panels(uid) for target in panel["targets"]]
    queries += [one["target"]["query"] for one in page["annotations"]["list"]]
    queries += [str(one.get("query", "")) for one in page["templating"]["list"]]
    assert {name for query in queries for name in re.findall(r"\$(\w+)", query)} <= there
    assert page["schemaVersion"] == 39
    assert "id" not in page or page["id"] is None


@pytest.mark.parametrize("uid", UIDS)
def test_kibanas_references_lead_to_what_is_there(uid: str) -> None:
    view, saved = IN_KIBANA[uid]
    wanted = set()
    for panel in lenses(uid):
        assert panel["panelIndex"] == panel["gridData"]["i"]
        attributes = panel["embeddableConfig"]["attributes"]
        wanted |= {f"{panel['panelIndex']}:{one['name']}" for one in attributes["references"]}
        events = panel["embeddableConfig"]["enhancements"].get("dynamicActions", {}).get("events", [])
        for event in events:
            wanted.add(f"{panel['panelIndex']}:drilldown:{event['action']['factoryId']}:{event['eventId']}:dashboardId")
    for control in json.loads(saved["attributes"]["controlGroupInput"]["panelsJSON"]):
        wanted.add(f"controlGroup_{control}:optionsListDataView")
    assert {one["name"] for one in saved["references"]} == wanted
    known = {view["id"], *UIDS}
    assert {one["id"] for one in saved["references"]} <= known
    for one, other in combinations([panel["gridData"] for panel in lenses(uid)], 2):
        assert not _overlap(one, other)


@pytest.mark.parametrize("uid", UIDS)
def test_kibanas_columns_are_closed(uid: str) -> None:
    """Each accessor, order and reference names a column that is there, and each field is in the registry."""
    fields = {field.name for dataset in DATASETS.values() for field in dataset.fields} | {"___records___"}
    for panel in lenses(uid):
        state = panel["embeddableConfig"]["attributes"]["state"]
        layers = state["datasourceStates"]["formBased"]["layers"]
        shown = state["visualization"]
        parts = shown.get("layers", [{**shown, "layerId": "data"}])
        if "trendlineLayerId" in shown:
            course = {
                key: value
                for key, value in shown.items()
                if key in ("trendlineTimeAccessor", "trendlineMetricAccessor")
            }
            parts = [
                {"layerId": "data", "metricAccessor": shown["metricAccessor"]},
                {"layerId": shown["trendlineLayerId"], **course},
            ]
        assert {part["layerId"] for part in parts} - {"marks"} == set(layers), panel["title"]
        for layer in layers.values():
            columns = layer["columns"]
            assert sorted(layer["columnOrder"]) == sorted(columns)
            for column in columns.values():
                assert set(column.get("references", [])) <= set(columns)
                assert column.get("sourceField", "___records___") in fields
                by = column.get("params", {}).get("orderBy", {})
                assert by.get("columnId") in {None, *columns}
        for part in parts:
            if part["layerId"] != "marks":
                named = set(re.findall(r'"((?:metric|course|limit)\d+|split|times)"', json.dumps(part)))
                assert named
                assert named <= set(layers[part["layerId"]]["columns"]), panel["title"]


def test_what_is_shown_is_the_same_in_both() -> None:
    for one in BOARDS:
        drawn = {panel.title for panel in one.panels if panel.view is not View.TEXT}
        assert {panel["title"] for panel in panels(one.uid)} == drawn
        assert {panel["title"] for panel in lenses(one.uid)} == drawn


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
