"""Hosts of 10 s and of 60 s on one board: no bucket is narrower than the longer period, so no line has gaps."""

import json
import re
from dataclasses import replace

import polars as pl
import pytest
import shipper_eslocal
from fleetdocs import Fleet
from grafana_target import ALL
from proof import Proven, loaded

from shipper.view.dashboards import ask, grafana
from shipper.view.dashboards.boards import overview
from shipper.view.dashboards.model import HOST, TIME

BOARD = overview.BOARD
PER_HOST = "CPU usage, busiest hosts"


@pytest.fixture(scope="module")
def mixed(es9: shipper_eslocal.Cluster) -> Proven:
    """Half an hour of one host each."""
    slow = Fleet(hosts=1, containers=1, ticks=30, period_s=60, names=("sixty",), namespace="mixed")
    fast = replace(slow, ticks=180, period_s=10, names=("ten",))
    parts = [loaded(es9, fleet) for fleet in (slow, fast)]
    columns = {
        name: pl.concat([part.columns[name] for part in parts], how="vertical_relaxed") for name in parts[0].columns
    }
    return replace(parts[0], columns=columns)


def floor_ms(data: Proven, host: str) -> int:
    """The least interval of the charts, as Grafana reads it: the first number with a unit."""
    page = data.page(BOARD, host=host)
    panel = next(one for one in json.loads(grafana.render(BOARD))["panels"] if one["title"] == PER_HOST)
    (period,) = page.options(data.cluster, "period")
    found = re.search(r"(\d+)(ms|s)", panel["interval"].replace("${period}", period))
    assert found
    return int(found[1]) * {"ms": 1, "s": 1000}[found[2]]


def test_the_least_interval_is_the_longest_period(mixed: Proven) -> None:
    assert floor_ms(mixed, ALL) == 60_000
    assert floor_ms(mixed, "ten") == 10_000


def test_the_reports_total_is_the_sum_of_the_hosts_means(mixed: Proven) -> None:
    """The fast host has six documents for one of the slow host: a plain mean would be mostly its own."""
    panel = next(one for one in BOARD.panels if one.title == "Fleet network")
    answer = replace(mixed, when=ask.span(mixed.when.first_ms, mixed.when.last_ms, least_s=300)).search(panel)
    for metric in panel.metrics:
        column = pl.col(metric.field)
        hosts = mixed.columns["host"].filter(column.is_not_null())
        buckets = hosts.with_columns((pl.col(TIME) // 300_000 * 300_000).alias("at"))
        means = buckets.group_by("at", HOST).agg(column.mean()).group_by("at").agg(column.sum())
        whole = means.sort("at")[1:-1]  # the first and the last one lack documents of a host
        right = {row["at"]: row[metric.field] for row in whole.iter_rows(named=True)}
        shown = dict(zip(answer.times, answer.series[metric.label], strict=True))
        assert len(right) >= 4  # of 30 minutes
        assert {at: shown[at] for at in right} == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize(("least_s", "gaps"), [(60, 0), (10, 100)])
def test_every_bucket_has_every_host(mixed: Proven, least_s: int, gaps: int) -> None:
    """In narrower buckets, which are here for comparison, the slow host is absent from most."""
    when = ask.span(mixed.when.first_ms, mixed.when.last_ms, least_s=least_s)
    page = replace(mixed, when=when).page(BOARD, host=ALL)
    answer = replace(mixed, when=when).by_grafana(page, PER_HOST)
    assert set(answer.series) == {"ten", "sixty"}
    absent = [value for line in answer.series.values() for value in line[1:-1] if value is None]
    assert len(absent) >= gaps if gaps else not absent
