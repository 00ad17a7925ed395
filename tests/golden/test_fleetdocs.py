"""The simulated fleet is what the product would ship: the same each time, counters and rates that agree, odd cases."""

import json
from itertools import pairwise
from typing import Any

import pytest
from fleetdocs import ODD_NAMES, Document, Fleet

from shipper.deliver.document import flat
from shipper.fields.field import Kind
from shipper.schema.datasets import DATASETS

START_MS = 1_795_478_400_000
SMALL = Fleet(hosts=3, containers=6, ticks=8, period_s=60, start_ms=START_MS)


def of(fleet: Fleet, dataset: str, host: int, **equal: Any) -> list[Document]:
    """One entity's documents in time order."""
    found = [one for one in fleet.documents([host]) if one.dataset == dataset]
    return [one for one in found if all(one.values.get(name) == value for name, value in equal.items())]


def test_the_same_documents_each_time_whatever_part_is_asked_for() -> None:
    whole = [one.line for one in SMALL.documents() if one.host == 1]
    assert whole == [one.line for one in SMALL.documents([1])]
    bodies = list(SMALL.bulk([1], most_bytes=20_000))
    assert len(bodies) > 3
    lines = b"".join(body.data for body in bodies).splitlines()
    assert lines[1::2] == whole
    assert json.loads(lines[0]) == {"create": {"_index": "metrics-shipper.host-default"}}
    assert sum(body.documents for body in bodies) == len(whole)


def test_a_line_says_what_the_values_say() -> None:
    for one in SMALL.documents([0]):
        labels = {name: value for name, value in one.values.items() if isinstance(value, dict)}
        sent = {name: value for name, value in flat(json.loads(one.line)).items() if not name.startswith(tuple(labels))}
        told = {name: value for name, value in one.values.items() if name not in labels}
        assert sent == {
            name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value for name, value in told.items()
        }


def test_counters_grow_and_their_rates_are_their_growth() -> None:
    checked = 0
    for dataset in ("host", "disk", "network", "cgroup", "process", "agent"):
        counters = [one for one in DATASETS[dataset].fields if one.kind is Kind.COUNTER]
        key = {"cgroup": "cgroup.path", "disk": "system.diskio.name", "process": "process.pid"}.get(
            dataset, "host.name"
        )
        for entity in {str(one.values[key]) for one in of(SMALL, dataset, 0)}:
            series = [one.values for one in of(SMALL, dataset, 0) if str(one.values[key]) == entity]
            assert not [one.rate for one in counters if one.rate in series[0]]
            for (before, now), one in ((pair, one) for pair in pairwise(series) for one in counters):
                if one.name in now:
                    assert now[one.rate] == pytest.approx((now[one.name] - before[one.name]) / 60 * one.rate_scale)
                    assert now[one.name] >= before[one.name]
                    checked += 1
    assert checked > 3000


def test_shares_are_shares_and_containers_differ() -> None:
    for one in SMALL.documents():
        shares = {name: value for name, value in one.values.items() if name.endswith(".pct") and ".cpu." not in name}
        assert [name for name, value in shares.items() if not 0 <= value <= 1] == []
        if one.dataset == "host" and one.tick:
            assert 0 < one.values["system.cpu.total.norm.pct"] < 1
            assert one.values["system.network.total.in.bytes_per_s"] * 60 == one.values["host.network.ingress.bytes"]
    last = [one.values for one in SMALL.documents([0]) if one.tick == 7 and "container.id" in one.values]
    used = [one["cgroup.cpu.cores"] for one in last if one["event.dataset"] == "shipper.cgroup"]
    assert len(set(used)) == len(used) == 6
    limits = {"cgroup.memory.limit.bytes" in one for one in last if one["event.dataset"] == "shipper.cgroup"}
    assert limits == {True, False}


def test_every_ledger_is_even() -> None:
    fleet = Fleet(hosts=1, containers=2, ticks=6, start_ms=START_MS, late={0: range(2, 4)})
    for shipped, one in enumerate(fleet.documents(), 1):
        if one.dataset == "agent":
            count = {
                key: one.values[f"agent.ledger.{key}.count"]
                for key in ("collected", "stored", "late", "spooled", "rejected", "dropped")
            }
            assert count.pop("collected") == sum(count.values()) == shipped
    assert {one.tick for one in fleet.documents() if one.late} == {2, 3}
    assert {one.index for one in fleet.documents() if one.late and one.dataset == "host"} == {
        "metrics-shipper.host.late-default"
    }


def test_reboot_gone_and_deploy() -> None:
    fleet = Fleet(hosts=2, containers=7, ticks=6, start_ms=START_MS, reboots={0: 3}, gone={1: 2}, deploys={"web": 4})
    hosts = [one.values for one in of(fleet, "host", 0)]
    assert len({one["host.boot.id"] for one in hosts}) == 2
    assert ["system.network.total.in.bytes_per_s" in one for one in hosts] == [False, True, True, False, True, True]
    assert hosts[3]["system.uptime.duration.ms"] == 0 < hosts[2]["system.uptime.duration.ms"]
    assert {one.tick for one in fleet.documents([1])} == {0, 1}
    web = [one.values for one in of(fleet, "cgroup", 0, **{"container.name": "web-1"})]
    assert [one["container.image.name"] for one in web] == ["shop/web:1.2"] * 4 + ["shop/web:2.0"] * 2
    assert web[3]["container.id"] != web[4]["container.id"]
    assert "cgroup.cpu.cores" not in web[4]
    assert len({one.values["container.id"] for one in of(fleet, "cgroup", 0, **{"container.name": "api-1"})}) == 1


def test_odd_names_are_kept() -> None:
    fleet = Fleet(hosts=5, containers=1, ticks=1, start_ms=START_MS, names=ODD_NAMES)
    shipped = [json.loads(one.line)["host"]["name"] for one in fleet.documents() if one.dataset == "host"]
    assert shipped == [*ODD_NAMES, "node-004"]
