"""One tick: every entity's document with its envelope, and what went wrong named in the agent's own."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from captured import CapturedRoot
from moments import HOSTS

from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import HostIdentity, Ticker
from shipper.collect import COLLECTORS, contract
from shipper.fields.rates import Reading
from shipper.kernel.source import File, Reader
from shipper.schema.datasets import DATASETS
from shipper.settings.config import Collect, Config, Host, Index

HOST = HOSTS / "debian-12-hybrid"
TICK_MS = 1_763_918_400_000
IDENTITY = HostIdentity("host-1", "0123456789abcdef0123456789abcdef", {"rack": "a1"})


class Hosted:
    """A copy of the captured host that a test may damage, and ticks on it."""

    def __init__(self, directory: Path, config: Config | None = None) -> None:
        self.directory = directory / "host"
        shutil.copytree(HOST, self.directory)
        self.root = CapturedRoot(self.directory, directory)
        self.ticker = Ticker(config or Config(), self.root, IDENTITY, SelfMetrics(None, None))

    def tick(self, moment: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Report]:
        """Documents, their bulk actions, and the report."""
        self.root.show(moment)
        report = Report(period_ms=10_000, ticks=moment + 1)
        entries = self.ticker.tick(TICK_MS + moment * 10_000, report)
        return [json.loads(one.document) for one in entries], [json.loads(one.action) for one in entries], report


@pytest.fixture
def hosted(tmp_path: Path) -> Hosted:
    return Hosted(tmp_path)


def of(documents: list[dict[str, Any]], dataset: str) -> list[dict[str, Any]]:
    return [one for one in documents if one["event"]["dataset"] == f"shipper.{dataset}"]


def test_all_documents_of_a_tick_carry_its_time_and_the_hosts_identity(hosted: Hosted) -> None:
    documents, _, report = hosted.tick()
    assert {one["@timestamp"] for one in documents} == {"2025-11-23T17:20:10.000Z"}
    assert {json.dumps(one["host"]["name"]) + one["host"]["id"] for one in documents} == {f'"host-1"{IDENTITY.id}'}
    assert all(one["labels"] == {"rack": "a1"} for one in documents)
    assert len(of(documents, "host")) == len(of(documents, "agent")) == 1
    assert report.failed == {}
    assert report.problems == []


def test_no_two_documents_of_a_tick_share_their_dimensions(hosted: Hosted) -> None:
    documents, _, _ = hosted.tick()
    seen = set()
    for one in documents:
        dataset = DATASETS[one["event"]["dataset"].removeprefix("shipper.")]
        key = (dataset.name, *(leaf(one, name) for name in dataset.dimensions))
        assert None not in key[:4], "all but the cgroup of a process, which may be hidden"
        assert key not in seen
        seen.add(key)


def leaf(document: dict[str, Any], name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def test_the_second_tick_has_rates(hosted: Hosted) -> None:
    first, _, _ = hosted.tick(0)
    second, _, _ = hosted.tick(1)
    assert leaf(of(first, "host")[0], "system.cpu.total.norm.pct") is None
    assert 0 <= leaf(of(second, "host")[0], "system.cpu.total.norm.pct") <= 1
    assert any(leaf(one, "cgroup.memory.faults.count_per_s") is not None for one in of(second, "cgroup"))


def test_actions_name_streams_or_dated_indices_with_ids_that_never_change(tmp_path: Path) -> None:
    _, streams, _ = Hosted(tmp_path).tick()
    assert {"create": {"_index": "metrics-shipper.host-default"}} in streams
    config = Config(index=Index(layout="dated"))
    results = [Hosted(tmp_path / name, config).tick()[1] for name in ("a", "b")]
    ids = [one["create"]["_id"] for one in results[0]]
    assert len(set(ids)) == len(ids)
    assert {one["create"]["_index"].rpartition("-")[2] for one in results[0]} == {"2025.11.23"}
    assert results[0] == results[1]


@pytest.mark.parametrize("garbage", [b"", b"\x00\xff garbage \n 1 2 3", b"-1\n" * 2000])
def test_garbage_in_every_file_is_survived_counted_and_named(hosted: Hosted, garbage: bytes) -> None:
    for path in (hosted.directory / "1").rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "moment.json":
            path.write_bytes(garbage)
    documents, _, report = hosted.tick()
    (agent,) = of(documents, "agent")
    assert report.failed == {}
    assert agent["agent"]["problems"]["count"] == len(report.problems)
    if garbage:
        named = " ".join(agent["agent"]["problems"]["files"])
        assert len(report.problems) > 10
        assert "proc/" in named
    healthy, _, _ = Hosted(hosted.directory.parent / "healthy").tick()
    assert len(documents) <= len(healthy)


def test_an_unreadable_file_is_named_and_the_others_are_there(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    read = File.read

    def forbidden(file: File) -> bytes:
        if file.path.endswith("proc/meminfo"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), file.path)
        return read(file)

    monkeypatch.setattr(File, "read", forbidden)
    documents, _, _ = hosted.tick()
    (agent,) = of(documents, "agent")
    assert agent["agent"]["problems"] == {"count": 1, "files": ["proc/meminfo: Input/output error"]}
    (host,) = of(documents, "host")
    assert "memory" not in host["system"]
    assert host["system"]["load"]["1"] >= 0


def test_a_collector_that_raises_is_named_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Reading]:
        raise ZeroDivisionError("oops")

    load = next(one for one in COLLECTORS if one.name == "load")
    changed = tuple(replace(one, start=lambda *_: broken) if one is load else one for one in COLLECTORS)
    monkeypatch.setattr("shipper.agent.tick.COLLECTORS", changed)
    documents, _, report = Hosted(tmp_path).tick()
    assert report.failed == {"load": "ZeroDivisionError: oops"}
    assert of(documents, "agent")[0]["agent"]["collectors"]["failed"] == ["load: ZeroDivisionError: oops"]
    assert "memory" in of(documents, "host")[0]["system"]


def test_a_collector_whose_start_raises_is_named_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = next(one for one in COLLECTORS if one.name == "load")
    starts: list[int] = []

    def start(reader: Reader, config: Config) -> contract.Collect:
        starts.append(1)
        if len(starts) < 2:
            raise PermissionError(errno.EACCES, "no")
        return load.start(reader, config)

    changed = tuple(replace(one, start=start) if one is load else one for one in COLLECTORS)
    monkeypatch.setattr("shipper.agent.tick.COLLECTORS", changed)
    host = Hosted(tmp_path)
    documents, _, report = host.tick()
    assert report.failed == {"load": "PermissionError: [Errno 13] no"}
    assert of(documents, "agent")[0]["agent"]["collectors"]["failed"] == ["load: PermissionError: [Errno 13] no"]
    assert "memory" in of(documents, "host")[0]["system"]
    documents, _, report = host.tick()
    assert report.failed == {}
    assert "load" in of(documents, "host")[0]["system"]


def test_a_slow_collector_that_failed_is_tried_at_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after its minute: it gave nothing."""
    processes = next(one for one in COLLECTORS if one.name == "processes")
    calls: list[int] = []

    def start(reader: Reader, config: Config) -> contract.Collect:
        collect = processes.start(reader, config)

        def flaky() -> Iterable[Reading]:
            calls.append(1)
            if len(calls) < 2:
                raise OSError(errno.EIO, "no")
            return collect()

        return flaky

    changed = tuple(replace(one, start=start) if one is processes else one for one in COLLECTORS)
    monkeypatch.setattr("shipper.agent.tick.COLLECTORS", changed)
    host = Hosted(tmp_path)
    summaries = ["summary" in of(host.tick(moment)[0], "host")[0]["system"].get("process", {}) for moment in (0, 1, 1)]
    assert summaries == [False, True, False]


def test_only_the_datasets_asked_for(tmp_path: Path) -> None:
    config = Config(collect=Collect(datasets=("disk",)), host=Host())
    documents, _, _ = Hosted(tmp_path, config).tick()
    assert {one["event"]["dataset"] for one in documents} == {"shipper.disk"}


def test_every_leaf_is_declared(hosted: Hosted) -> None:
    """Also on this machine, whatever it has: an undeclared leaf is reported as a failure of its dataset."""
    _, _, report = hosted.tick()
    assert not [name for name in report.failed if name.startswith("dataset ")]


def test_each_cgroup_has_a_name_that_is_its_own_in_the_fleet(hosted: Hosted) -> None:
    for moment in "01":
        (hosted.directory / moment / "proc/1/cgroup").write_text("0::/supervised\n")
    documents, _, _ = hosted.tick()
    cgroups = {one["cgroup"]["path"]: one["cgroup"]["entity"] for one in of(documents, "cgroup")}
    assert len(set(cgroups.values())) == len(cgroups) > 3
    assert cgroups["/supervised"] == "supervised@host-1"
    assert {"path": "/supervised", "entity": "supervised@host-1"} in [
        one.get("cgroup") for one in of(documents, "process")
    ]


def test_what_is_absent_is_told_with_its_cause_and_is_no_problem(hosted: Hosted) -> None:
    shutil.rmtree(hosted.directory / "0/proc/pressure")
    shutil.rmtree(hosted.directory / "1/proc/pressure")
    documents, _, report = hosted.tick()
    agent = of(documents, "agent")[0]["agent"]
    told = [
        one for one in agent["absent"]["what"] if one.startswith("stall times (system.pressure): the kernel has none")
    ]
    assert len(told) == 1
    assert agent["absent"]["count"] == len(report.absent) == len(agent["absent"]["what"])
    assert report.problems == []


def test_a_host_view_without_sys_is_told(hosted: Hosted) -> None:
    for moment in "01":
        shutil.rmtree(hosted.directory / moment / "sys")
    _, _, report = hosted.tick()
    assert report.absent["which disks are physical, their models"] == "sys is not mounted below the host root"
    assert report.absent["speed, state and kind of interfaces"] == "sys is not mounted below the host root"


def test_a_problem_that_stays_is_counted_once_and_then_told_as_absent(hosted: Hosted) -> None:
    """Linux after a live migration: a steal time that is no time, at every tick."""
    for moment in "01":
        path = hosted.directory / moment / "proc/stat"
        path.write_text(re.sub(r"^(cpu  (?:\d+ ){7})\d+", r"\g<1>1844674407370955", path.read_text()))
    hosted.ticker.prime()
    reports = [hosted.tick(moment)[2] for moment in (0, 1, 0)]
    assert [len(report.problems) for report in reports] == [1, 0, 0]
    assert ["proc/stat" in report.absent for report in reports] == [False, True, True]


def test_a_file_that_is_not_ours_to_read_is_told_as_such(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: File) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(File, "read", denied)
    _, _, report = hosted.tick()
    assert report.absent["proc/loadavg"] == "no permission"
    assert report.problems == []


def test_after_missed_ticks_a_containers_period_is_the_whole_of_them(tmp_path: Path) -> None:
    """What was added since the document before is divided by it: else three periods' traffic would be told as one's."""
    hosted = Hosted(tmp_path, Config(collect=replace(Collect(), period_s=10)))
    shutil.rmtree(hosted.directory)
    shutil.copytree(HOSTS / "debian-12-hybrid-docker", hosted.directory, symlinks=True)
    moments = {at: json.loads((hosted.directory / at / "moment.json").read_text()) for at in "01"}
    for late_s, expected in ((10, 10_000), (30, 30_000), (14, 10_000)):
        moments["1"]["now_ns"] = moments["0"]["now_ns"] + late_s * 1_000_000_000
        (hosted.directory / "1/moment.json").write_text(json.dumps(moments["1"]))
        hosted.ticker = Ticker(Config(), hosted.root, IDENTITY, SelfMetrics(None, None))
        hosted.tick(0)
        documents, _, _ = hosted.tick(1)
        periods = {one["metricset"]["period"] for one in of(documents, "cgroup") if "metricset" in one}
        assert periods == {expected}
