"""Every panel of every dashboard on a real Elasticsearch shows what the documents say.

Each panel is asked in three ways – as Grafana's datasource does, as Kibana's Lens does, as the report does – and each
answer is compared with what polars computes from the documents themselves.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest
import shipper_eslocal
from fleetdocs import ODD_NAMES
from grafana_target import ALL, Page
from proof import CHOSEN, Proven, Troubled, check, differences, drawn, loaded
from straight import Chosen

from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import ENTITY, HOST, TIME, Panel, Row

BY_UID = {board.uid: board for board in BOARDS}


# Boards of many hosts; those of one host or container look alike in a fleet of any size
FLEETS = [uid for uid in BY_UID if uid not in CHOSEN]


@pytest.fixture(scope="module")
def day(es9: shipper_eslocal.Cluster) -> Proven:
    """Three hosts over six hours, several documents in each bucket: odd names, one rebooted, one gone, one late."""
    fleet = Troubled(
        hosts=3,
        containers=8,
        ticks=181,
        period_s=120,
        namespace="day",
        names=ODD_NAMES[:3],
        reboots={0: 90},
        gone={1: 150},
        late={2: range(50, 65)},
    )
    return loaded(es9, fleet, points=48)


@pytest.fixture(scope="module")
def fleet(es9: shipper_eslocal.Cluster) -> Proven:
    """Half an hour: more hosts than a panel draws, and over 3,000 containers, a cardinality's default precision."""
    return loaded(es9, Troubled(hosts=110, containers=30, ticks=4, period_s=600, namespace="fleet", gone={109: 3}))


@pytest.fixture(scope="module")
def single(es9: shipper_eslocal.Cluster) -> Proven:
    made = Troubled(hosts=1, containers=2, ticks=30, period_s=10, namespace="single")
    return loaded(es9, made, everywhere=True)


@pytest.mark.parametrize("uid", BY_UID)
def test_six_hours_of_three_hosts(day: Proven, uid: str) -> None:
    host = ODD_NAMES[0]
    check(day, BY_UID[uid], host, f"web-1@{host}")


@pytest.mark.parametrize("uid", FLEETS)
def test_half_an_hour_of_110_hosts(fleet: Proven, uid: str) -> None:
    check(fleet, BY_UID[uid], "node-007", "web-1@node-007")


@pytest.mark.parametrize("uid", BY_UID)
def test_one_host_alone(single: Proven, uid: str) -> None:
    """Asked as a data source asks: all streams, so that each panel chooses its documents by itself."""
    check(single, BY_UID[uid], "node-000", "web-1@node-000", quiet=("OOM kills", "OOM-killed", "Silent hosts"))


@pytest.mark.parametrize("host", ODD_NAMES[1:3])
def test_a_host_of_any_name_can_be_chosen(day: Proven, host: str) -> None:
    """One panel of each dataset and kind: the name is in all queries in the same way."""
    board = BY_UID["shipper-host"]
    kinds = {(panel.dataset, panel.view, panel.recent): panel for panel in drawn(board)}
    board = replace(board, rows=(Row("", tuple(kinds.values())),))
    now = [panel.title for panel in kinds.values() if panel.recent]
    gone = host == ODD_NAMES[1]  # its last documents are an hour old: nothing of them is now
    check(day, board, host, "", quiet=now if gone else ())
    for title in now if gone else ():
        assert not any(day.by_grafana(day.page(board, host=host), title).numbers.values()), title


@pytest.mark.parametrize("chosen", [[ODD_NAMES[1]], [ODD_NAMES[0], ODD_NAMES[2]], ALL, []])
def test_one_two_all_or_no_hosts_chosen(day: Proven, chosen: str | list[str]) -> None:
    board = BY_UID["shipper-coreos"]
    own = None if chosen == ALL else {HOST: tuple(chosen)}
    _right(day, day.page(board, host=chosen), list(drawn(board)), own)


@pytest.mark.parametrize("uid", FLEETS)
def test_all_is_no_condition_at_all(day: Proven, uid: str) -> None:
    """Lucene drops it; as alternatives, or as documents with the field, it would be evaluated for each document."""
    board = BY_UID[uid]
    page = day.page(board, **{variable.name: ALL for variable in board.variables if not variable.names})
    for panel in page.panels:
        body = {**page.search(panel["targets"][0]), "profile": True}
        shards = day.cluster.request("POST", "/metrics-shipper.*-day/_search", body)["profile"]["shards"]
        asked = " ".join(
            query["description"] for shard in shards for one in shard["searches"] for query in one["query"]
        )
        assert "*:*" not in asked, (panel["title"], asked)


def _right(day: Proven, page: Page, panels: Sequence[Panel], own: Chosen | None) -> None:
    shown = day.all_by_grafana(page, [panel.title for panel in panels])
    for panel in panels:
        right, ranked = day.straight(panel, own), day.ranks(panel, own)
        assert not list(differences(panel, shown[panel.title], right, ranked)), panel.title


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


def test_one_container_opens_on_a_busy_one(day: Proven) -> None:
    """One with processes among the busiest of its host: not a service, and not the first of the alphabet."""
    offered = day.page(BY_UID["shipper-container"]).options(day.cluster, "container")
    busy = day.columns["process"].group_by(ENTITY).len()
    assert offered[0] in set(busy.filter(pl.col("len") == pl.col("len").max())[ENTITY])
    assert offered[0] != min(offered)


def test_marks_are_boots_kills_and_starts(day: Proven) -> None:
    board = BY_UID["shipper-host"]
    shown = day.page(board, host=ODD_NAMES[0]).marks(day.cluster)
    hosts = day.columns["host"].filter(pl.col(HOST) == ODD_NAMES[0])
    boots = hosts.filter(pl.col("system.boot.first") == "true")[TIME].to_list()
    kills = hosts.filter(pl.col("system.vm.oom_kills.count_per_s") > 0)[TIME].to_list()
    assert boots
    starts = sorted(8 * boots)  # of its containers, once each
    assert {text for _, text in shown["Boots"]} == {ODD_NAMES[0]}
    assert {f"web-1@{ODD_NAMES[0]}", f"api-1@{ODD_NAMES[0]}"} < {text for _, text in shown["Container starts"]}
    assert {name: [at for at, _ in marks] for name, marks in shown.items()} == {
        "Boots": sorted(boots),
        "Shipper starts": [day.when.first_ms, *sorted(boots)],
        "OOM kills": sorted(kills),
        "Container starts": starts,
        "Image changes": [],
    }


def test_a_host_that_went_one_that_restarted_and_documents_that_came_late(day: Proven) -> None:
    """Gaps are gaps, a counter that begins anew is no spike, and the late stream is not forgotten."""
    board = BY_UID["shipper-coreos"]
    again, gone, late = ODD_NAMES[:3]
    shown = day.all_by_grafana(day.page(board, host=ALL), [panel.title for panel in drawn(board)])
    values = [one for answer in shown.values() for line in answer.series.values() for one in line if one is not None]
    assert min(values) >= 0
    load, traffic = shown["Load, 1 minute"], shown["Received"].series[again]
    assert load.series[gone][0] is not None
    assert set(load.series[gone][-5:]) == {None}
    there = [one for one in traffic if one is not None]
    assert max(there) < 10 * sorted(there)[len(there) // 2]
    assert day.cluster.request("GET", "/metrics-shipper.host.late-day/_count")["count"] == 15
    assert None not in load.series[late]


def test_a_total_has_a_gap_where_no_host_has_a_value(single: Proven) -> None:
    """Without a point for the bucket, Grafana would draw a line across the gap. The first document has no rates."""
    page = single.page(BY_UID["shipper-overview"])
    (panel,) = (one for one in page.panels if one["title"] == "Documents collected and stored")
    ((response,),) = single.responses(page, [panel]).values()
    shown = [
        one["id"] for one in panel["targets"][0]["metrics"] if one["type"] == "bucket_script" and not one.get("hide")
    ]
    first, *others = response["aggregations"]["4"]["buckets"]
    assert [first[id_]["value"] for id_ in shown] == [None, None]
    assert all(bucket[id_]["value"] > 0 for bucket in others for id_ in shown)


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
    panels = [one for one in drawn(board) if one.dataset == "host"]
    _right(day, replace(day.page(board), filters=filters), panels, {HOST: hosts})
