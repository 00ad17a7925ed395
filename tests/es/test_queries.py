"""Every query of dashboards/queries.md is run as it stands there; its answer is computed anew from the documents.

The clock is the only thing put in its place: ``now`` becomes a fixed moment, so that the answers are fixed too.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import fleetload
import pytest
import requests
from fleetdocs import Fleet

import eslocal
from shipper.fields import Kind
from shipper.registry import DATASETS

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
    hosts=4, containers=8, ticks=TICKS, period_s=PERIOD_S, start_ms=int(START.timestamp() * 1000),
    reboots={2: tick_of(MIDNIGHT - 3 * HOUR)}, gone={1: tick_of(MIDNIGHT + 5 * HOUR)},
    late={0: range(tick_of(MIDNIGHT - HOUR), tick_of(MIDNIGHT + HOUR))}, deploys={"web": tick_of(MIDNIGHT + 2 * HOUR)},
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


@pytest.fixture(scope="module", params=eslocal.VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[eslocal.Cluster]:
    with eslocal.cluster(version=request.param) as cluster:
        fleetload.load([cluster.url], FLEET, workers=1)
        yield cluster


@pytest.fixture(scope="module")
def documents() -> dict[str, list[Values]]:
    found: dict[str, list[Values]] = {}
    for one in FLEET.documents():
        at = datetime.fromtimestamp(FLEET.tick_ms(one.tick) / 1000, UTC)
        found.setdefault(one.dataset, []).append({**one.values, "at": at})
    return found


def ask(server: eslocal.Cluster, curl: str) -> Values:
    """The aggregations that the command on the page gives, at NOW."""
    moment = f"{NOW:%Y-%m-%dT%H:%M:%SZ}||"
    command, _, url, _, header, _, body = shlex.split(curl.replace("$ES", server.url))
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
    number: int, server: eslocal.Cluster, documents: dict[str, list[Values]]
) -> None:
    ANSWERS[number - 1](ask(server, QUESTIONS[number - 1].curl), documents)


# https://www.elastic.co/docs/reference/query-languages/esql
COMMANDS = {"FROM", "WHERE", "STATS", "EVAL", "SORT", "LIMIT"}
FUNCTIONS = {"AVG": 1, "MAX": 1, "MIN": 1, "COUNT": 1, "COUNT_DISTINCT": 1, "PERCENTILE": 2, "DATE_TRUNC": 2, "NOW": 0}
WORDS = {"BY", "AND", "ASC", "DESC", "LIKE", "IS", "NOT", "NULL", "false", "true"}
SPANS = {"day", "hour", "hours", "minutes"}
FIELDS = {field.name: field for dataset in DATASETS.values() for field in dataset.fields}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: str(one.number))
def test_esql_has_known_commands_functions_and_fields(question: Question) -> None:
    """What can be told without a server that has ES|QL: see the next test."""
    bare = re.sub(r'"[^"]*"', '""', question.esql)
    commands = [part.strip() for part in bare.split("|")]
    assert commands[0].startswith("FROM metrics-shipper.")
    assert [one.split()[0] for one in commands if one.split()[0] not in COMMANDS] == []
    assert bare.count("(") == bare.count(")")
    for name, arguments in re.findall(r"(?=\b([A-Z_]+)\(((?:[^()]|\([^()]*\))*)\))", bare):
        if name not in WORDS:
            assert (len(arguments.split(",")) if arguments else 0) == FUNCTIONS[name]
    made = set(re.findall(r"(\w+) = ", bare))
    names = set(re.findall(r"(?<![\w.*])[@a-zA-Z][\w.@]*", "|".join(commands[1:])))
    assert names - COMMANDS - FUNCTIONS.keys() - WORDS - SPANS - made - FIELDS.keys() == set()
    for field in re.findall(r"(?:AVG|PERCENTILE)\(([\w.]+)", bare):
        assert FIELDS[field].kind is Kind.GAUGE


def test_esql_runs_where_the_server_has_it(server: eslocal.Cluster) -> None:
    """Whichever way it is: a server that begins to have the module is noticed."""
    answer = server.request("GET", "/_nodes/_local?filter_path=nodes.*.modules.name")
    modules = {module["name"] for node in answer["nodes"].values() for module in node["modules"]}
    for question in QUESTIONS:
        found = requests.post(f"{server.url}/_query", json={"query": question.esql}, timeout=30)
        assert found.ok == ("x-pack-esql" in modules), found.text


def test_the_check_of_esql_finds_what_is_wrong() -> None:
    good = QUESTIONS[0]
    for wrong in (
        ("AVG(cgroup.cpu.limit.pct)", "AVG(cgroup.cpu.usage.ns)"),
        ("cgroup.kind", "cgroup.sort"),
        ("| SORT", "| ORDER"),
        ("NOW()", "NOW(1)"),
    ):
        text = good.esql.replace(*wrong)
        assert text != good.esql
        with pytest.raises((AssertionError, KeyError)):
            test_esql_has_known_commands_functions_and_fields(Question(1, "", "", text))
