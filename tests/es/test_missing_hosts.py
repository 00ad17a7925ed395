"""Silent hosts are visible: their number, and a table with names and times, even if no host sends any more."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import shipper_eslocal
from fleetdocs import Fleet
from grafanacode import VERSIONS, Grafana, grafana
from proof import Proven, differences, loaded

from shipper.view.dashboards.boards import overview
from shipper.view.dashboards.colours import BAD

pytestmark = pytest.mark.needs("chromedriver", "npm")
_LATER_MS = 600_000
TITLES = ("Hosts", "Missing hosts", "Silent hosts")


@pytest.fixture(scope="module")
def fleet(es9: shipper_eslocal.Cluster) -> Proven:
    """Five minutes of three hosts; the second one is silent for more than three."""
    made = Fleet(hosts=3, containers=1, ticks=31, period_s=10, gone={1: 10}, namespace="missing")
    return loaded(es9, made)


@pytest.fixture(scope="module", params=VERSIONS)
def code(request: pytest.FixtureRequest) -> Iterator[Grafana]:
    with grafana(request.param) as packages:
        yield packages


def shown(fleet: Proven, code: Grafana) -> list[Any]:
    """The three panels as Grafana shows them, each compared with what the documents say."""
    page, found = fleet.page(overview.BOARD), []
    for title in TITLES:
        panel = next(one for one in overview.BOARD.panels if one.title == title)
        right, ranked = fleet.straight(panel), fleet.ranks(panel)
        for answer in (fleet.search(panel), fleet.by_grafana(page, title)):
            assert not list(differences(panel, answer, right, ranked)), title
        drawn = next(one for one in page.panels if one["title"] == title)
        found.append(code.panel(page, drawn, fleet.responses(page, [drawn])[title]))
    return found


def texts(numbers: list[dict[str, str]]) -> list[str]:
    return [number["text"] for number in numbers]


def test_one_host_is_silent(fleet: Proven, code: Grafana) -> None:
    hosts, missing, (table,) = shown(fleet, code)
    assert texts(hosts) == ["2"]
    assert texts(missing) == ["1"]
    assert missing[0]["colour"].lower() == BAD.lower()
    assert [column["name"] for column in table["columns"]] == ["host", "last seen", "silent since", "last clean stop"]
    ((name, seen, since, stopped),) = table["rows"]
    assert name["text"] == "node-001"
    assert stopped["text"] == seen["text"]
    assert since["text"].endswith("minutes ago")
    assert since["colour"].lower() == BAD.lower()


def test_no_host_sends_any_more(fleet: Proven, code: Grafana) -> None:
    later = replace(fleet, when=replace(fleet.when, last_ms=fleet.when.last_ms + _LATER_MS))
    hosts, missing, (table,) = shown(later, code)
    assert texts(hosts) == ["0"]
    assert texts(missing) == ["3"]
    assert [row[0]["text"] for row in table["rows"]] == ["node-001", "node-000", "node-002"]
    assert [row[3]["text"] == "–" for row in table["rows"]] == [False, True, True]


def test_no_host_is_missing(fleet: Proven, code: Grafana) -> None:
    earlier = replace(fleet, when=replace(fleet.when, last_ms=fleet.when.first_ms + 100_000))
    hosts, missing, _ = shown(earlier, code)
    assert texts(hosts) == ["3"]
    assert texts(missing) == ["0"]
    assert missing[0]["colour"].lower() != BAD.lower()
