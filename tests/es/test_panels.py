"""Every panel of every dashboard on a real Elasticsearch shows what the documents say.

Each panel is asked in three ways – as Grafana's datasource does, as Kibana's Lens does, as the report does – and each
answer is compared with what polars computes from the documents themselves.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import shipper_eslocal
from fleetdocs import ODD_NAMES, Fleet
from grafana_target import ALL
from proof import Proven, Troubled, check, differences, drawn, loaded
from sites import running

from shipper.schema import templates
from shipper.settings.config import Index
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import ENTITY, HOST, TIME

BY_UID = {board.uid: board for board in BOARDS}


@pytest.fixture(scope="module")
def server() -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(heap="1g") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def day(server: shipper_eslocal.Cluster) -> Proven:
    """Three hosts over 24 hours: odd names, one rebooted, one gone, one late."""
    fleet = Troubled(
        hosts=3,
        containers=8,
        ticks=721,
        period_s=120,
        namespace="day",
        names=ODD_NAMES[:3],
        reboots={0: 350},
        gone={1: 600},
        late={2: range(50, 65)},
    )
    return loaded(server, fleet)


@pytest.fixture(scope="module")
def fleet(server: shipper_eslocal.Cluster) -> Proven:
    """An hour of more hosts than a panel draws, and of over 3,000 containers: a cardinality's default precision."""
    return loaded(server, Troubled(hosts=110, containers=30, ticks=7, period_s=600, namespace="fleet", gone={109: 6}))


@pytest.fixture(scope="module")
def single(server: shipper_eslocal.Cluster) -> Proven:
    return loaded(server, Troubled(hosts=1, containers=2, ticks=30, period_s=10, namespace="single"))


@pytest.mark.parametrize("uid", BY_UID)
def test_a_day_of_three_hosts(day: Proven, uid: str) -> None:
    host = ODD_NAMES[0]
    check(day, BY_UID[uid], host, f"web-1@{host}")


@pytest.mark.parametrize("uid", BY_UID)
def test_an_hour_of_110_hosts(fleet: Proven, uid: str) -> None:
    check(fleet, BY_UID[uid], "node-007", "web-1@node-007")


@pytest.mark.parametrize("uid", BY_UID)
def test_one_host_alone(single: Proven, uid: str) -> None:
    check(single, BY_UID[uid], "node-000", "web-1@node-000", quiet=("OOM kills", "OOM-killed", "Silent hosts"))


@pytest.mark.parametrize("host", ODD_NAMES[:3])
def test_a_host_of_any_name_can_be_chosen(day: Proven, host: str) -> None:
    board = BY_UID["shipper-host"]
    now = [panel.title for panel in drawn(board) if panel.recent]
    gone = host == ODD_NAMES[1]  # its last documents are hours old: nothing of them is now
    check(day, board, host, "", quiet=now if gone else ())
    for title in now if gone else ():
        assert not any(day.by_grafana(day.page(board, host=host), title).numbers.values()), title


@pytest.mark.parametrize("chosen", [[ODD_NAMES[1]], [ODD_NAMES[0], ODD_NAMES[2]], ALL, []])
def test_one_two_all_or_no_hosts_chosen(day: Proven, chosen: str | list[str]) -> None:
    board = BY_UID["shipper-coreos"]
    page = day.page(board, host=chosen)
    own = None if chosen == ALL else {HOST: tuple(chosen)}
    for panel in drawn(board):
        right, ranked = day.straight(panel, own), day.ranks(panel, own)
        assert not list(differences(panel, day.by_grafana(page, panel.title), right, ranked)), panel.title


@pytest.mark.parametrize("uid", BY_UID)
def test_each_choice_offers_what_there_is(day: Proven, uid: str) -> None:
    board = BY_UID[uid]
    host, container = ODD_NAMES[0], f"web-1@{ODD_NAMES[0]}"
    page = day.page(board, host=host, container=container)
    for variable in board.variables:
        offered = page.options(day.cluster, variable.name)
        if variable.field == "_index":
            assert day.namespace in offered
            continue
        column = day.columns[variable.dataset][variable.field].drop_nulls()
        expected = set(column.unique())
        if variable.within:
            expected = {host}
        elif variable.field == ENTITY:
            expected = {one for one in expected if not one.startswith("system.slice@")}
        elif uid in ("shipper-containers", "shipper-compare") and variable.field != "labels.cluster":
            assert offered, variable.name
            expected &= set(offered)
        assert set(offered) == expected, variable.name


def test_marks_are_boots_and_kills(day: Proven) -> None:
    board = BY_UID["shipper-host"]
    shown = day.page(board, host=ODD_NAMES[0]).marks(day.cluster)
    hosts = day.columns["host"].filter(pl.col(HOST) == ODD_NAMES[0])
    boots = hosts.filter(pl.col("system.boot.first") == "true")[TIME].to_list()
    kills = hosts.filter(pl.col("system.vm.oom_kills.count_per_s") > 0)[TIME].to_list()
    assert boots
    assert shown == {"Boots": sorted(boots), "OOM kills": sorted(kills)}


def test_what_compose_provisions_is_what_the_shipper_needs(tmp_path: Path) -> None:
    """Templates by curl into a real Elasticsearch take the shipper's documents; dashboards go into Kibana.

    The servers here lack the module that knows look_back_time and fills routing_path.
    """
    root = Path(__file__).parents[2]
    for one in templates.render(Index(), templates.Features(look_back=False, routing_path=True)):
        file = tmp_path / f"{one.kind}_template" / f"{one.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(one.body))
        assert (root / "mappings" / file.relative_to(tmp_path)).exists()
    with shipper_eslocal.cluster() as cluster, running() as kibana_site:
        environment = {
            "PATH": os.environ["PATH"],
            "ELASTICSEARCH": cluster.url,
            "KIBANA": kibana_site.url,
            "TEMPLATES": str(tmp_path),
            "BOARDS": str(root / "dashboards/kibana/boards"),
        }
        for _ in range(2):
            subprocess.run(["sh", root / "dashboards/compose/provision.sh"], env=environment, check=True, timeout=60)
        fleet = Fleet(hosts=1, containers=1, ticks=2, period_s=10)
        for body in fleet.bulk():
            assert cluster.request("POST", "/_bulk", body.data)["errors"] is False
        caps = cluster.request("GET", "/metrics-shipper.host-default/_field_caps?fields=system.load.1")["fields"]
        assert caps["system.load.1"]["double"]["time_series_metric"] == "gauge"
        assert {id_ for _, type_, id_ in kibana_site.objects if type_ == "dashboard"} == set(BY_UID)


def test_a_host_that_went_one_that_restarted_and_documents_that_came_late(day: Proven) -> None:
    """Gaps are gaps, a counter that begins anew is no spike, and the late stream is not forgotten."""
    board = BY_UID["shipper-coreos"]
    again, gone, late = ODD_NAMES[:3]
    shown = {panel.title: day.by_grafana(day.page(board, host=ALL), panel.title) for panel in drawn(board)}
    values = [one for answer in shown.values() for line in answer.series.values() for one in line if one is not None]
    assert min(values) >= 0
    load, traffic = shown["Load, 1 minute"], shown["Received"].series[again]
    assert load.series[gone][0] is not None
    assert set(load.series[gone][-20:]) == {None}
    there = [one for one in traffic if one is not None]
    assert max(there) < 3 * sorted(there)[len(there) // 2]
    assert day.cluster.request("GET", "/metrics-shipper.host.late-day/_count")["count"] == 15
    assert None not in load.series[late]


@pytest.mark.parametrize(
    ("filters", "hosts"),
    [
        ([(HOST, "=", ODD_NAMES[0])], ODD_NAMES[:1]),
        ([(HOST, "!=", ODD_NAMES[0])], ODD_NAMES[1:3]),
        ([(HOST, "=~", "n.*b.1")], ODD_NAMES[1:2]),
        ([("labels.cluster", "=", "green"), ("system.load.1", ">", "0")], ODD_NAMES[:1]),
    ],
)
def test_ad_hoc_filters_narrow_every_panel(
    day: Proven, filters: list[tuple[str, str, str]], hosts: tuple[str, ...]
) -> None:
    board = BY_UID["shipper-coreos"]
    page = replace(day.page(board), filters=filters)
    for panel in (one for one in drawn(board) if one.dataset == "host"):
        right, ranked = day.straight(panel, {HOST: hosts}), day.ranks(panel, {HOST: hosts})
        assert not list(differences(panel, day.by_grafana(page, panel.title), right, ranked)), panel.title
