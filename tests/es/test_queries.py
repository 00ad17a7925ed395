"""Every query of dashboards/queries.md is run as it stands there; its answer is computed anew from the documents.

Each ES|QL block is run where the server has ES|QL, and its answer compared with that of its search. Two things are put
in their place: ``now`` becomes a fixed moment, so that the answers are fixed too, and of the streams that a wildcard
names, those of the test's namespace are asked.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import fleetload
import pytest
import requests
import shipper_eslocal
from fleetdocs import Fleet

PAGE = (Path(__file__).parents[2] / "dashboards" / "queries.md").read_text()
NOW = datetime(2026, 11, 23, 9, 20, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0)
HOUR = timedelta(hours=1)
PERIOD_S = 600
TICKS = 36 * 3600 // PERIOD_S
START = NOW - timedelta(seconds=PERIOD_S) * TICKS


def tick_of(moment: datetime) -> int:
    return int((moment - START).total_seconds()) // PERIOD_S


FLEET = Fleet(
    hosts=4, containers=8, services=1, ticks=TICKS, period_s=PERIOD_S, start_ms=int(START.timestamp() * 1000),
    namespace="queries", datasets=("host", "filesystem", "cgroup"),
    reboots={2: tick_of(MIDNIGHT - 3 * HOUR)}, gone={1: tick_of(MIDNIGHT + 5 * HOUR)},
    late={0: range(tick_of(MIDNIGHT - HOUR), tick_of(MIDNIGHT + HOUR)), 3: range(TICKS)},
    deploys={"web": tick_of(MIDNIGHT + 2 * HOUR)},
)  # fmt: skip
Values = dict[str, Any]


@dataclass(frozen=True)
class Question:
    number: int
    title: str
    curl: str
    esql: str


def questions() -> list[Question]:
    parts = re.split(r"^## (\d+)\. (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return [
        Question(int(number), title, *(_block(text, kind) for kind in ("sh", "esql")))
        for number, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def _block(text: str, kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return str(found)


QUESTIONS = questions()


@pytest.fixture(scope="module")
def server(es: shipper_eslocal.Cluster) -> shipper_eslocal.Cluster:
    fleetload.load([es.url], FLEET, workers=1)
    return es


def of_fleet(text: str) -> str:
    """``text`` with a namespace where its patterns end: they match fewer streams than on the page, and no others."""
    return re.sub(r"(metrics-shipper\.[a-z.]+)(?:-\*|(\*))", rf"\1\2-{FLEET.namespace}", text)


@pytest.fixture(scope="module")
def documents() -> dict[str, list[Values]]:
    found: dict[str, list[Values]] = {}
    for one in FLEET.documents():
        at = datetime.fromtimestamp(FLEET.tick_ms(one.tick) / 1000, UTC)
        found.setdefault(one.dataset, []).append({**one.values, "at": at})
    return found


def ask(server: shipper_eslocal.Cluster, curl: str) -> Values:
    """The aggregations that the command on the page gives, at NOW."""
    moment = f"{NOW:%Y-%m-%dT%H:%M:%SZ}||"
    command, _, url, _, header, _, body = shlex.split(of_fleet(curl).replace("$ES", server.url))
    assert command == "curl"
    name, _, value = header.partition(": ")
    answer = requests.post(url, data=re.sub(r'"now(?=[-+/"])', f'"{moment}', body), headers={name: value}, timeout=30)
    assert answer.ok, answer.text
    found: Values = answer.json()
    assert found["_shards"]["failed"] == 0
    aggregations: Values = found["aggregations"]
    return aggregations


def within(documents: Iterable[Values], begin: datetime, end: datetime = NOW + HOUR, **equal: Any) -> list[Values]:
    names = {name.replace("__", "."): value for name, value in equal.items()}
    return [
        one for one in documents
        if begin <= one["at"] < end and all(one.get(name) == value for name, value in names.items())
    ]  # fmt: skip


def by(documents: Iterable[Values], field: str) -> dict[Any, list[Values]]:
    having = sorted((one for one in documents if field in one), key=lambda one: str(one[field]))
    return {key: list(group) for key, group in groupby(having, key=lambda one: one[field])}


def of(operation: Callable[[list[Any]], float], documents: Iterable[Values], field: str) -> float | None:
    values = [one[field] for one in documents if field in one]
    return operation(values) if values else None


def first(groups: dict[Any, Values], order: str, most: int, *, rising: bool = False) -> list[tuple[Any, Values]]:
    """As terms gives them: ordered by a metric, absent ones last, equal ones by key."""
    ranked = sorted(groups.items(), key=lambda one: str(one[0]))
    ranked.sort(key=lambda one: one[1][order] if one[1][order] is not None else float("inf" if rising else "-inf"),
                reverse=not rising)  # fmt: skip
    return ranked[:most]


def told(aggregation: Values) -> list[tuple[Any, Values]]:
    """Key and metrics of each bucket."""
    return [
        (
            one["key"],
            {name: metric["value"] for name, metric in one.items() if isinstance(metric, dict) and "value" in metric},
        )
        for one in aggregation["buckets"]
    ]


def equal(asked: list[tuple[Any, Values]], expected: list[tuple[Any, Values]]) -> None:
    assert [key for key, _ in asked] == [key for key, _ in expected]
    for (_, found), (_, wanted) in zip(asked, expected, strict=True):
        assert found == {
            name: None if value is None else pytest.approx(value, rel=1e-5) for name, value in wanted.items()
        }


def test_there_are_twelve_questions_numbered() -> None:
    assert [one.number for one in QUESTIONS] == list(range(1, 13))
    assert all(one.title.endswith("?") for one in QUESTIONS)


def throttled(answer: Values, documents: dict[str, list[Values]]) -> None:
    night = within(documents["cgroup"], MIDNIGHT - 2 * HOUR, MIDNIGHT + 6 * HOUR, cgroup__kind="container")
    groups = {
        entity: {
            "throttled": of(fmean, group, "cgroup.cpu.throttled.cores"),
            "of_quota": of(fmean, group, "cgroup.cpu.limit.pct"),
        }
        for entity, group in by(night, "cgroup.entity").items()
    }
    equal(told(answer["container"]), first(groups, "throttled", 5))


def fullest(answer: Values, documents: dict[str, list[Values]]) -> None:
    day, used = within(documents["filesystem"], NOW - 24 * HOUR), "system.filesystem.used"
    hosts = {host: {"used": of(max, group, f"{used}.pct")} for host, group in by(day, "host.name").items()}
    equal(told(answer["host"]), first(hosts, "used", 5))
    for bucket in answer["host"]["buckets"]:
        mounts = by([one for one in day if one["host.name"] == bucket["key"]], "system.filesystem.mount_point")
        groups = {
            mount: {
                "used": of(max, group, f"{used}.pct"),
                "least": of(min, group, f"{used}.bytes"),
                "most": of(max, group, f"{used}.bytes"),
            }
            for mount, group in mounts.items()
        }
        equal(told(bucket["mount"]), first(groups, "used", 1))
    assert answer["host"]["buckets"][0]["key"] == "node-000", "the page names it in question 3"


def wrote(answer: Values, documents: dict[str, list[Values]]) -> None:
    today = within(documents["cgroup"], MIDNIGHT, host__name="node-000", cgroup__aggregate=False)
    groups = {
        entity: {"written": of(fmean, group, "cgroup.io.write.bytes_per_s")}
        for entity, group in by(today, "cgroup.entity").items()
    }
    equal(told(answer["who"]), first(groups, "written", 5))


def headroom(answer: Values, documents: dict[str, list[Values]]) -> None:
    groups = {
        host: {
            "free": of(min, group, "system.memory.actual.free"),
            "stalled": of(max, group, "system.pressure.memory.some.avg60.pct"),
        }
        for host, group in by(within(documents["host"], NOW - HOUR), "host.name").items()
    }
    equal(told(answer["host"]), first(groups, "free", 5, rising=True))


def percentiles(answer: Values, documents: dict[str, list[Values]]) -> None:
    """A digest of some thousand values is not exact: each lies between the values one percent of ranks off."""
    api = [
        one
        for one in within(documents["cgroup"], NOW - 6 * HOUR)
        if one.get("container.image.name", "").startswith("shop/api:")
    ]
    for name, field in (("cpus", "cgroup.cpu.cores"), ("memory", "cgroup.memory.working_set.bytes")):
        values = sorted(one[field] for one in api if field in one)
        for percent, found in answer[name]["values"].items():
            rank, slack = float(percent) / 100 * len(values), len(values) / 100 + 1
            low, high = values[max(int(rank - slack), 0)], values[min(int(rank + slack), len(values) - 1)]
            assert low * 0.99999 <= found <= high * 1.00001
    assert answer["containers"]["value"] == len({one["container.id"] for one in api})


def deploy(answer: Values, documents: dict[str, list[Values]]) -> None:
    containers = [one for one in documents["cgroup"] if one["cgroup.kind"] == "container"]
    services = by(
        [{**one, "service": one["container.labels"]["com.docker.compose.service"]} for one in containers], "service"
    )
    assert {one["key"] for one in answer["service"]["buckets"]} == services.keys()
    for bucket in answer["service"]["buckets"]:
        for when, begin in (("before", MIDNIGHT), ("after", MIDNIGHT + 2 * HOUR)):
            group, found = within(services[bucket["key"]], begin, begin + 2 * HOUR), bucket["when"]["buckets"][when]
            assert found["cpus"]["value"] == pytest.approx(of(fmean, group, "cgroup.cpu.cores"))
            assert found["memory"]["value"] == pytest.approx(of(fmean, group, "cgroup.memory.working_set.bytes"))
            assert found["stalled"]["value"] == pytest.approx(of(max, group, "cgroup.pressure.memory.some.avg10.pct"))
            images = {one["key"] for one in found["image"]["buckets"]}
            assert images == {one["container.image.name"] for one in group}
            version = "2.0" if (bucket["key"], when) == ("web", "after") else "1.2"
            assert images == {f"shop/{bucket['key']}:{version}"}


def killed(answer: Values, documents: dict[str, list[Values]]) -> None:
    day = within(documents["cgroup"], NOW - 24 * HOUR, cgroup__aggregate=False)
    kills = by([one for one in day if one.get("cgroup.memory.events.oom_kill.count_per_s", 0) > 0], "cgroup.entity")
    assert kills
    expected = {
        entity: (len(group), *(pick(one["at"] for one in group).timestamp() * 1000 for pick in (min, max)))
        for entity, group in kills.items()
    }
    found = {
        one["key"]: (one["doc_count"], one["first"]["value"], one["last"]["value"]) for one in answer["who"]["buckets"]
    }
    assert found == expected


def rebooted(answer: Values, documents: dict[str, list[Values]]) -> None:
    groups = {
        host: {
            "boots": len({one["host.boot.id"] for one in group}),
            "up_ms": of(min, group, "system.uptime.duration.ms"),
        }
        for host, group in by(within(documents["host"], NOW - 24 * HOUR), "host.name").items()
    }
    equal(told(answer["host"]), first(groups, "boots", 20))
    assert [key for key, one in told(answer["host"]) if one["boots"] > 1] == ["node-002"]


def silent(answer: Values, documents: dict[str, list[Values]]) -> None:
    last = {
        host: {"last": max(one["at"] for one in group).timestamp() * 1000}
        for host, group in by(within(documents["host"], NOW - 24 * HOUR), "host.name").items()
    }
    assert told(answer["host"]) == first(last, "last", 20, rising=True)
    assert told(answer["host"])[0][0] == "node-001"


def nearest_to_limit(answer: Values, documents: dict[str, list[Values]]) -> None:
    hour = [one for one in within(documents["cgroup"], NOW - HOUR) if "cgroup.memory.limit.pct" in one]
    groups = {
        entity: {
            "of_limit": of(max, group, "cgroup.memory.limit.pct"),
            "limit": of(max, group, "cgroup.memory.limit.bytes"),
        }
        for entity, group in by(hour, "cgroup.entity").items()
    }
    equal(told(answer["container"]), first(groups, "of_limit", 10))


def hour_by_hour(answer: Values, documents: dict[str, list[Values]]) -> None:
    end = NOW.replace(minute=0)
    expected = []
    for hours in range(6, 0, -1):
        group = within(documents["host"], end - hours * HOUR, end - (hours - 1) * HOUR)
        values: Values = {
            "cpu": of(fmean, group, "system.cpu.total.norm.pct"),
            "busiest": of(max, group, "system.cpu.total.norm.pct"),
            "received_mean": of(fmean, group, "system.network.total.in.bytes_per_s"),
            "hosts": len(by(group, "host.name")),
        }
        expected.append((int((end - hours * HOUR).timestamp() * 1000), values))
    equal(told(answer["hour"]), expected)
    assert [one["hosts"] for _, one in expected] == [4, 4, 3, 3, 3, 3]


def versions(answer: Values, documents: dict[str, list[Values]]) -> None:
    groups = by(within(documents["cgroup"], NOW - timedelta(minutes=10)), "container.image.name")
    expected = [
        (
            image,
            {
                "containers": len({one["container.id"] for one in group}),
                "hosts": len({one["host.name"] for one in group}),
            },
        )
        for image, group in sorted(groups.items())
    ]
    equal(told(answer["image"]), expected)
    assert "shop/web:2.0" in groups


ANSWERS = (
    throttled, fullest, wrote, headroom, percentiles, deploy, killed, rebooted, silent, nearest_to_limit, hour_by_hour,
    versions,
)  # fmt: skip


@pytest.mark.parametrize("number", range(1, 13), ids=lambda one: f"{one}-{ANSWERS[one - 1].__name__}")
def test_the_answer_is_that_of_the_documents(
    number: int, server: shipper_eslocal.Cluster, documents: dict[str, list[Values]]
) -> None:
    ANSWERS[number - 1](ask(server, QUESTIONS[number - 1].curl), documents)


Rows = list[tuple[Any, Values]]


def table(server: shipper_eslocal.Cluster, esql: str) -> list[Values]:
    """The rows that an ES|QL block gives at NOW, by column; times as a search gives them, in ms."""
    text = of_fleet(esql).replace("NOW()", f'"{NOW:%Y-%m-%dT%H:%M:%SZ}"::DATETIME')
    url = f"{server.url}/_query?allow_partial_results=false"
    answer = requests.post(url, json={"query": text}, timeout=30)
    assert answer.ok, answer.json()["error"]["reason"]
    found = answer.json()
    assert not found["is_partial"]
    names, types = ([column[key] for column in found["columns"]] for key in ("name", "type"))
    return [
        {name: _ms(value) if kind == "date" else value for name, kind, value in zip(names, types, row, strict=True)}
        for row in found["values"]
    ]


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def same(rows: list[Values], by: str, answer: Rows) -> None:
    """Whether the rows have the keys of the buckets, in their order, and every number that the buckets have."""
    assert [row[by] for row in rows] == [key for key, _ in answer]
    for row, (_, numbers) in zip(rows, answer, strict=True):
        assert {name: row[name] for name in numbers} == {
            name: None if value is None else pytest.approx(value, rel=1e-6) for name, value in numbers.items()
        }


def same_fullest(rows: list[Values], answer: Values) -> None:
    mounts: dict[str, Values] = {}
    for row in rows:
        mounts.setdefault(row["host.name"], row)
    assert list(mounts) == [one["key"] for one in answer["host"]["buckets"]]
    for bucket in answer["host"]["buckets"]:
        same([mounts[bucket["key"]]], "system.filesystem.mount_point", told(bucket["mount"]))


def same_percentiles(rows: list[Values], answer: Values) -> None:
    """Both are estimates of a digest."""
    (row,) = rows
    assert row["containers"] == answer["containers"]["value"]
    wanted = {"p50": ("cpus", "50.0"), "p95": ("cpus", "95.0"), "memory": ("memory", "95.0")}
    for name, (aggregation, percent) in wanted.items():
        assert row[name] == pytest.approx(answer[aggregation]["values"][percent], rel=0.05)


def same_deploy(rows: list[Values], answer: Values) -> None:
    """ES|QL cannot read the label that the search splits by: the images take its place."""
    wanted = {
        (bucket["when"]["buckets"][when]["image"]["buckets"][0]["key"], when == "after"): bucket["when"]["buckets"][
            when
        ]
        for bucket in answer["service"]["buckets"]
        for when in ("before", "after")
        if bucket["when"]["buckets"][when]["doc_count"]
    }
    assert [(row["container.image.name"], row["after"]) for row in rows] == sorted(wanted)
    for row in rows:
        numbers = wanted[row["container.image.name"], row["after"]]
        for name in ("cpus", "memory", "stalled"):
            assert row[name] == pytest.approx(numbers[name]["value"])


def same_killed(rows: list[Values], answer: Values) -> None:
    buckets = [(one["key"], {"times": one["doc_count"]}) for one in answer["who"]["buckets"]]
    times = [
        (key, {**found, **numbers}) for (key, found), (_, numbers) in zip(told(answer["who"]), buckets, strict=True)
    ]
    same(sorted(rows, key=lambda row: (-row["times"], row["cgroup.entity"])), "cgroup.entity", times)


def same_silent(rows: list[Values], answer: Values) -> None:
    """Those of the same moment stand in any order."""
    silent = [one for one in told(answer["host"]) if one[1]["last"] < (NOW - timedelta(minutes=5)).timestamp() * 1000]
    same(sorted(rows, key=lambda row: (row["last"], row["host.name"])), "host.name", silent)


SAME: dict[int, Callable[[list[Values], Values], None]] = {
    1: lambda rows, answer: same(rows, "cgroup.entity", told(answer["container"])),
    2: same_fullest,
    3: lambda rows, answer: same(rows, "cgroup.entity", told(answer["who"])),
    4: lambda rows, answer: same(rows, "host.name", told(answer["host"])),
    5: same_percentiles,
    6: same_deploy,
    7: same_killed,
    8: lambda rows, answer: same(rows, "host.name", [one for one in told(answer["host"]) if one[1]["boots"] > 1]),
    9: same_silent,
    10: lambda rows, answer: same(rows, "cgroup.entity", told(answer["container"])),
    11: lambda rows, answer: same(rows, "hour", told(answer["hour"])),
    12: lambda rows, answer: same(rows, "container.image.name", told(answer["image"])),
}


@pytest.mark.parametrize("stream", ["series", "late"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: str(one.number))
@pytest.mark.parametrize("es", ["es8"], indirect=True)
def test_esql_gives_the_answer_of_its_search(server: shipper_eslocal.Cluster, question: Question, stream: str) -> None:
    series = re.compile(r"metrics-shipper\.(\w+)(?:-\*|\*)")
    wanted = r"metrics-shipper.\1.late-*" if stream == "late" else r"metrics-shipper.\1-*"
    answer = ask(server, series.sub(wanted, question.curl))
    SAME[question.number](table(server, series.sub(wanted, question.esql)), answer)


@pytest.mark.parametrize("es", ["es8"], indirect=True)
def test_what_the_page_says_of_esql(server: shipper_eslocal.Cluster) -> None:
    counter = "system.network.total.`in`.bytes"
    ((most,),) = (row.values() for row in table(server, f"FROM metrics-shipper.host-* | STATS MAX({counter}::LONG)"))
    assert most > 0
    with pytest.raises(AssertionError, match="counter_long"):
        table(server, f"FROM metrics-shipper.host-* | STATS MAX({counter})")
    with pytest.raises(AssertionError, match="different metric types"):
        table(server, "FROM metrics-shipper.host* | STATS MAX(system.load.`1`)")


@pytest.mark.needs("curl")
@pytest.mark.parametrize("es", ["es8"], indirect=True)
def test_the_shell_function_of_the_page_sends_a_block(server: shipper_eslocal.Cluster) -> None:
    (function,) = re.findall(r"^(esql\(\) .*?)    # then", PAGE, flags=re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-c", f"{function}\nesql"],
        input=of_fleet("FROM metrics-shipper.host-* | STATS hosts = COUNT_DISTINCT(host.name)"),
        env={"PATH": os.environ["PATH"], "ES": server.url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["hosts", "---------------", "3"]
