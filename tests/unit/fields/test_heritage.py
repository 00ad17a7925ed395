"""Nobody who leaves Diamond misses a metric: each of the twelve collectors' has a declared successor."""

import re
from pathlib import Path

import pytest

from shipper.fields.heritage import HERITAGE, Successor
from shipper.schema.datasets import DATASETS

TWELVE = {
    *("cpu", "memory", "loadavg", "diskspace", "diskusage", "vmstat", "network", "sockets", "tcp", "proc"),
    *("memory_cgroup", "cpuacct_cgroup"),
}
README = Path(__file__).parents[3] / "mappings" / "README.md"


@pytest.mark.parametrize("one", HERITAGE, ids=lambda one: one.metric)
def test_the_successor_is_declared(one: Successor) -> None:
    assert one.field in {field.name for field in DATASETS[one.dataset].fields}


def test_all_twelve_collectors_are_there_and_no_metric_twice() -> None:
    assert {one.collector for one in HERITAGE} == TWELVE
    assert len({one.metric for one in HERITAGE}) == len(HERITAGE)


def test_the_table_is_rendered() -> None:
    table = README.read_text().partition("## From Diamond")[2]
    assert set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)) == {one.metric for one in HERITAGE}
