"""``shipper report`` against a real server, looked at in a real Chromium: what is drawn is what the documents say."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import shipper_eslocal
from chromium import Browser, answer, chromium
from fleetdocs import Fleet
from proof import Proven, Troubled, differences, loaded

from shipper import cli
from shipper.deliver import client
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.dashboards.model import ENTITY, HOST, TIME, Panel, View, narrowed, sorted_by
from shipper.view.report import NAMES
from shipper.view.report.search import MOST_MARKS

pytestmark = pytest.mark.needs("chromedriver")
HOSTILE = ("<script>alert(1)</script>", 'node"c', "a&amp;<b>b</b>")
REBOOT, PERIOD_S = 60, 30


@pytest.fixture(scope="module")
def data(es9: shipper_eslocal.Cluster) -> Proven:
    """An hour of three hosts with names that are markup: one rebooted, one gone."""
    return loaded(
        es9,
        Troubled(
            hosts=3,
            containers=6,
            ticks=120,
            period_s=PERIOD_S,
            namespace="report",
            names=HOSTILE,
            reboots={0: REBOOT},
            gone={1: 67},
        ),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def report(data: Proven, path: Path, *arguments: str) -> Path:
    when = ["--from", iso(data.when.first_ms), "--to", iso(data.when.last_ms)]
    where = ["--elasticsearch-hosts", data.cluster.url, "--index-namespace", data.namespace]
    assert cli.main(["report", *where, *when, "-o", str(path), *arguments]) == 0
    return path


@dataclass(frozen=True)
class Choice:
    """What the report is asked for, the boards that it then has, and how its findings begin."""

    arguments: tuple[str, ...]
    boards: list[tuple[str, dict[str, str]]]
    findings: str


CHOICES = {
    "fleet": Choice(
        (),
        [("overview", {}), ("containers", {}), ("agents", {}), ("coreos", {})],
        r"(OK|WARNING|CRITICAL): .* \(\d+ rules, 3 hosts, ",
    ),
    "host": Choice(
        ("--host", HOSTILE[0]),
        [("host", {HOST: HOSTILE[0]}), ("containers", {HOST: HOSTILE[0]})],
        rf"{re.escape(HOSTILE[0])}, \d\d:\d\d:\d\d to ",
    ),
    "container": Choice(
        ("--container", f"web-1@{HOSTILE[2]}"),
        [("container", {ENTITY: f"web-1@{HOSTILE[2]}", HOST: HOSTILE[2]})],
        rf"{re.escape(f'web-1@{HOSTILE[2]}')}, \d\d:\d\d:\d\d to ",
    ),
    "boards": Choice(
        ("--board", "host", "--board", "agents", "--host", HOSTILE[1]),
        [("host", {HOST: HOSTILE[1]}), ("agents", {HOST: HOSTILE[1]})],
        rf"{re.escape(HOSTILE[1])}, \d\d:\d\d:\d\d to ",
    ),
}


@pytest.fixture(scope="module")
def show(data: Proven, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Shows the report of that choice in a tab of its own: drawing one takes seconds."""
    tabs: dict[str, str] = {}

    def tab(name: str) -> None:
        if name in tabs:
            browser.driver.switch_to.window(tabs[name])
            return
        tabs[name] = browser.new_tab()
        browser.open(report(data, tmp_path_factory.mktemp(name) / "report.html", *CHOICES[name].arguments))

    return tab


@pytest.mark.parametrize("name", CHOICES)
def test_every_panel_shows_what_the_documents_say(
    data: Proven, browser: Browser, show: Callable[[str], None], name: str
) -> None:
    show(name)
    boards = browser.boards
    assert browser.console == []
    assert browser.run("return performance.getEntriesByType('resource').map((one) => one.name)") == []
    problems = []
    for seen, (board, chosen) in zip(boards, CHOICES[name].boards, strict=True):
        panels = list(NAMES[board].panels)
        assert [one["title"] for one in seen] == [panel.title for panel in panels]
        courses = {panel.title for panel, one in zip(panels, seen, strict=True) if panel.trend and not one["empty"]}
        assert courses == {one["title"] for one in seen if one["course"]}
        for one, panel in zip(seen, panels, strict=True):
            problems += [f"{board}, {panel.title}: {problem}" for problem in compared(data, panel, one, board, chosen)]
    assert problems == []


def compared(data: Proven, panel: Panel, seen: dict[str, object], board: str, chosen: Mapping[str, str]) -> list[str]:
    fields = {one.field for one in narrowed(NAMES[board], panel)}
    own = {field: (value,) for field, value in chosen.items() if field in fields}
    right, ranked = data.straight(panel, own), data.ranks(panel, own)
    if right.empty or seen["empty"]:
        return [] if right.empty and seen["empty"] else [f"empty: {seen['empty']} instead of {right.empty}"]
    shown = answer(panel, data.when, seen)
    problems = []
    if panel.view is View.TABLE:
        at = panel.metrics.index(sorted_by(panel))
        column = [row[at] for row in shown.rows.values()]
        there = [value for value in column if value is not None]
        down = not (panel.split and panel.split.rising)
        if column != [*sorted(there, reverse=down), *[None] * (len(column) - len(there))]:
            problems.append("rows are not in order")
        shown.rows = dict(sorted(shown.rows.items(), key=lambda row: (-1 if down else 1) * ranked.get(row[0], 0)))
    elif panel.view is not View.STAT:
        if panel.stacked:  # lines without any value are no part of the stack
            shown.series = {name: shown.series.get(name, [None] * len(right.times)) for name in right.series}
        if not seen["shapes"]:
            problems.append("nothing is drawn")
    return [*problems, *differences(panel, shown, right, ranked)]


def test_names_that_are_markup_are_shown_as_they_are(
    data: Proven, browser: Browser, show: Callable[[str], None], tmp_path: Path
) -> None:
    show("fleet")
    texts = set(
        browser.run("return [...document.querySelectorAll('bdi, .legendtext, .ytick text')].map((e) => e.textContent)")
    )
    assert set(HOSTILE) <= texts
    browser.new_tab()
    browser.open(report(data, tmp_path / "hosts.html", *(word for name in HOSTILE for word in ("--host", name))))
    assert browser.run("return [...document.querySelectorAll('h1')].map((e) => e.textContent)") == [
        *(f"Host {name}" for name in HOSTILE),
        "Containers",
    ]
    assert browser.run("return [...document.scripts].filter((one) => one.textContent.includes('alert(1)')).length") == 0
    assert browser.console == []


def test_hover_zoom_theme_sort_and_print(data: Proven, browser: Browser, show: Callable[[str], None]) -> None:
    show("fleet")
    browser.prefers("light")
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    browser.prefers("dark")
    dark = browser.run(paper)
    assert dark != light
    browser.run("theme.click()")
    assert browser.run(paper) == light

    browser.run("document.querySelector('.plot').scrollIntoView({block: 'center'})")  # below the findings
    browser.hover(".plot .nsewdrag")
    said = browser.until("return document.querySelector('.hoverlayer .legend')?.textContent")
    assert re.search(r"mean : [0-9.]+ %busiest host : [0-9.]+ %", said)

    first, last = data.when.buckets[40], data.when.buckets[80]
    zoom = "Plotly.relayout(document.querySelector('.plot'), {'xaxis.range': [...arguments]})"
    browser.run(zoom, first, last)
    range_of = (
        "[...document.querySelectorAll('.plot')].at(-1)._fullLayout.xaxis.range.map((one) => Date.parse(one + 'Z'))"
    )
    assert browser.until(f"const range = {range_of}; return range[0] === {first} && range[1] === {last}")

    names = "[...document.querySelectorAll('.table tbody')][1].innerText.split('\\n').map((one) => one.split('\\t')[0])"
    browser.run("document.querySelectorAll('.table thead')[1].querySelector('th').click()")
    assert browser.run(f"return {names}") == sorted(HOSTILE, key=str.lower)

    pages = re.findall(rb"/Type\s*/Page\b", browser.pdf())
    assert 4 <= len(pages) <= 20
    assert browser.run("return document.documentElement.className") == ""
    assert browser.console == []


def test_a_boot_is_one_mark_and_each_kill_is_one(data: Proven, browser: Browser, show: Callable[[str], None]) -> None:
    show("host")
    marks = browser.run("return document.querySelector('.plot').data.filter((one) => one.meta === 'marks')")
    times = {one["name"]: one["x"] for one in marks}
    assert times["Boots"] == [data.when.first_ms + REBOOT * PERIOD_S * 1000]
    hosts = data.columns["host"].filter(pl.col(HOST) == HOSTILE[0])
    kills = hosts.filter(pl.col("system.vm.oom_kills.count_per_s") > 0)[TIME].sort().to_list()
    assert min(later - kill for kill, later in pairwise(kills)) < 120_000
    assert times["OOM kills"] == kills[-MOST_MARKS:]
    assert browser.run("return document.querySelector('.marks summary').textContent") == "Boots: 1"


@pytest.mark.parametrize("name", CHOICES)
def test_findings_stand_at_the_top(browser: Browser, show: Callable[[str], None], name: str) -> None:
    show(name)
    assert re.match(CHOICES[name].findings, browser.run("return document.querySelector('.findings pre').textContent"))


def test_nothing_to_report_is_one_line(data: Proven, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--elasticsearch-hosts", data.cluster.url, "--index-namespace", data.namespace]
    path = tmp_path / "report.html"
    for arguments in (["--host", "nobody"], ["--container", "nobody@nowhere"]):
        assert cli.main(["report", *where, "-o", str(path), *arguments]) == 1
        assert re.fullmatch(
            r"shipper: no documents of nobody\S* in this time range: metrics-shipper\S+\n", capsys.readouterr().err
        )
    assert not path.exists()


def test_a_key_that_may_only_read_is_enough(
    secure: shipper_eslocal.Cluster, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = Fleet(hosts=1, containers=2, ticks=30, period_s=10, namespace=namespace)
    admin = Elasticsearch(
        hosts=(secure.url,),
        username=str(secure.username),
        password_file=str(secure.password_file),
        ca_file=str(secure.ca_file),
    )
    config = Config(elasticsearch=admin, index=Index(replicas=0, namespace=namespace))
    with client.connect(config, {}) as connection:
        setup.install(connection, config, lambda _line: None)
    for body in fleet.bulk():
        assert not secure.request("POST", "/_bulk?refresh=true", body.data)["errors"]
    rights = {"reader": {"index": [{"names": ["metrics-shipper.*"], "privileges": ["read"]}]}}
    made = secure.request("POST", "/_security/api_key", {"name": "reader", "role_descriptors": rights})
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(f"{made['id']}:{made['api_key']}\n")
    where = ["--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(secure.ca_file)]
    where += ["--index-namespace", namespace]
    path = tmp_path / "report.html"
    as_key = [*where, "--elasticsearch-api-key-file", str(key), "-o", str(path)]
    assert cli.main(["report", *as_key]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert fleet.host_name(0) in path.read_text(encoding="utf-8")
    assert made["api_key"] not in path.read_text(encoding="utf-8")
