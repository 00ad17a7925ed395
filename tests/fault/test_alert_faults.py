"""Alert rules against real faults: each is made on this machine, read by the real collectors, found, and cleared.

Filesystems, containers and processes are real; only the time between ticks is not: 20 s pass for the clock of the
agent and in the documents, so that a window of a quarter of an hour takes seconds.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
import shipper_eslocal.errors
from captured import collecting
from engines import CGROUPS, IMAGE, Docker, docker, short_path
from fault.judged import MINUTE, NOW_MS, UNCHANGED, Judged, fast
from fault.line import configured
from fault.proxy import Proxy

from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.alerts import gap, output
from shipper.view.alerts.check import check
from shipper.view.alerts.model import Found

DATASETS = ("host", "filesystem", "agent")
_NANOSECONDS = 0x2000  # STA_NANO of <sys/timex.h>


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    fast(monkeypatch)


Make = Callable[..., Judged]


@pytest.fixture
def judged(es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(name: str = "here", url: str = "", **options: Any) -> Judged:
            collectors = {key: options.pop(key) for key in ("docker_roots", "host_root") if key in options}
            chosen = collecting(datasets=options.pop("datasets", DATASETS), period_s=20, **collectors)
            begin_ms, rack = options.pop("begin_ms", NOW_MS), options.pop("rack", "r1")
            base = configured(url or es.url, namespace, tmp_path / f"spool-{name}", **options)
            config = replace(
                base,
                collect=chosen.collect,
                collectors=chosen.collectors,
                host=replace(base.host, name=name, labels={"rack": rack}),
            )
            one = Judged(es, config, begin_ms)
            stack.callback(one.line.close)
            return one

        yield make


def of_rules(alerts: dict[tuple[str, str], Found], names: Sequence[str]) -> set[tuple[str, str]]:
    return {key for key in alerts if key[0] in names}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 16 MiB with 128 inodes on a loop device."""
    file, directory = tmp_path / "image", tmp_path / "disk"
    directory.mkdir()
    with file.open("wb") as image:
        image.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-N", "128", "-m", "0", str(file)], check=True)
    subprocess.run(["mount", "-o", "loop", str(file), str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


FILESYSTEM = ("filesystem-full", "filesystem-inodes", "filesystem-read-only")


def of_disk(one: Judged, disk: Path) -> set[tuple[str, str]]:
    """Other tests fill filesystems of their own."""
    return {key for key in of_rules(one.alerts(), FILESYSTEM) if key[1].startswith(f"{disk} ")}


@pytest.mark.root
@pytest.mark.needs("mkfs.ext4")
def test_a_filesystem_full_without_inodes_and_read_only(judged: Make, disk: Path) -> None:
    one = judged()
    one.run(2 * MINUTE)
    assert of_disk(one, disk) == set()

    subprocess.run(["head", "-c", "100000000", "/dev/zero"], stdout=(disk / "full").open("wb"), check=False)
    filled_ms = one.next_ms
    one.run(6 * MINUTE)
    where = f"{disk} on here"
    assert of_disk(one, disk) == {("filesystem-full", where)}
    (short,) = (short for short in one.why("here", filled_ms).own.short if short.resource.name == "filesystem")
    (episode,) = (episode for episode in short.episodes if episode.device == str(disk))
    assert 0 <= episode.first_ms - filled_ms <= 60_000 and not episode.over  # filesystems are read once a minute
    assert one.alerts()["filesystem-full", where].value > 0.97
    (disk / "full").unlink()

    number = 0
    while True:
        try:
            (disk / f"file-{number}").touch()
        except OSError:
            break
        number += 1
    one.run(6 * MINUTE)
    assert of_disk(one, disk) == {("filesystem-inodes", where)}
    for file in disk.glob("file-*"):
        file.unlink()

    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    one.run(6 * MINUTE)
    assert of_disk(one, disk) == {("filesystem-read-only", where)}
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    one.run(6 * MINUTE)
    assert of_disk(one, disk) == set()


RAID = ("raid-failed", "raid-missing")
NEW_IMAGE = "shop/web:1.3"
HOLD = "(head -c 58000000 /dev/zero; sleep 600) | tail -c 58000000"
FILL = "head -c 90000000 /dev/zero | tail -c 90000000"
CONTAINERS = {
    "memory": (["--memory", "64m"], HOLD),
    "killed": (
        ["--memory", "32m", "--restart", "always"],
        f"while :; do (echo 1000 > /proc/self/oom_score_adj; {FILL}); sleep 1; done",  # the shell is never killed
    ),
    "throttled": (["--cpus", "0.03"], "while :; do :; done"),
    "tasks": (["--pids-limit", "16"], "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 600 & done; wait"),
    "crashing": ([], "sleep 600"),  # and is restarted repeatedly
    "sick": (["--health-cmd", "exit 1", "--health-interval", "1s", "--health-retries", "1"], "sleep 600"),
    "stopped": ([], "sleep 600"),
    "deployed": ([], "sleep 600"),  # and is recreated from another image
    "fine": (["--memory", "64m", "--cpus", "1", "--pids-limit", "64"], "sleep 600"),
}
EXPECTED = {
    ("container-memory", "memory"),
    ("container-oom", "killed"),
    ("container-throttled", "throttled"),
    ("container-tasks", "tasks"),
    ("service-crash-loop", "crashing"),
    ("container-image-changed", "deployed"),
    ("container-unhealthy", "sick"),
    ("container-gone", "stopped"),
}
SHORT = {"memory": {"memory"}, "throttled": {"CPU"}, "tasks": {"tasks"}, "fine": set()}  # by `shipper why`
# Whether docker waits at the last tick, and how much pressure the kernel counts, is a matter of moments
SOMETIMES = {"container-restarting", "container-memory-pressure", "container-io-pressure", "container-cpu"}


@pytest.mark.root
@pytest.mark.needs("dockerd", "busybox")
def test_containers_in_trouble(judged: Make) -> None:
    with short_path() as short, docker(short / "d") as engine:
        one = judged(docker_roots=(str(engine.data_root),), datasets=("host", "cgroup", "agent"))
        _start(engine)
        one.run(1, deliver=False)
        _until(lambda: _in_trouble(engine))
        kills = _kills(engine)
        for restart in range(5):
            engine.run("restart", "-t", "0", "crashing")
            one.run(2 * MINUTE, deliver=False)
            if restart == 2:
                engine.run("stop", "-t", "0", "stopped")
                engine.run("tag", IMAGE, NEW_IMAGE)
                engine.run("rm", "-f", "deployed")
                _run(engine, "deployed", NEW_IMAGE)
        _until(lambda: _kills(engine) > kills)
        one.run(MINUTE)
        found = {(rule, who.partition("@")[0]): alert for (rule, who), alert in one.alerts().items()}
        mine = {key for key in found if key[1] in CONTAINERS and key[0] not in SOMETIMES} - {
            (f"{what}-crash-loop", "killed") for what in ("container", "service")
        }
        assert mine == EXPECTED
        assert ("host-oom", "here") in {(rule, "here") for rule, _ in found}
        assert found["container-memory", "memory"].culprits[0].startswith("its host: ")
        for name, resources in SHORT.items():
            lacking = one.why(f"{name}@here", one.now_ms - 300_000).own.short
            assert {one.resource.name for one in lacking} >= resources, name
            assert resources or not lacking, name
        engine.run("rm", "-f", *CONTAINERS)
        one.run(35 * MINUTE)
        assert {key for key in one.alerts() if key[1].partition("@")[0] in CONTAINERS} == set()


def _in_trouble(engine: Docker) -> bool:
    """Whether each container has come to the state that it is for, which takes long on a busy machine."""
    return (
        _number(engine, "memory", "memory.usage_in_bytes", "memory.current") > 57_000_000
        and _number(engine, "tasks", "pids.current") >= 15
        and _inspected(engine, "sick", "State.Health.Status") == "unhealthy"
    )


def _number(engine: Docker, name: str, *files: str) -> int:
    return int(_read(engine, name, *files))


def _kills(engine: Docker) -> int:
    """How many processes of the container that is short of memory the kernel has killed."""
    text = _read(engine, "killed", "memory.oom_control", "memory.events")
    return int(re.findall(r"oom_kill (\d+)", text)[0])


def _read(engine: Docker, name: str, *files: str) -> str:
    """The first of these files of the container's cgroup that there is."""
    tops = (*CGROUPS.glob("*"), CGROUPS)
    found = (top / "docker" / _inspected(engine, name, "Id") / file for top in tops for file in files)
    return next(path for path in found if path.exists()).read_text()


def _inspected(engine: Docker, name: str, what: str) -> str:
    return engine.run("inspect", "-f", f"{{{{.{what}}}}}", name)


def _start(engine: Docker) -> None:
    for name in CONTAINERS:
        _run(engine, name, IMAGE)


def _run(engine: Docker, name: str, image: str) -> None:
    options, work = CONTAINERS[name]
    engine.run("run", "-d", "--name", name, "--network", "none", *options, image, "/bin/sh", "-c", work)


def _shipper(es: shipper_eslocal.Cluster, namespace: str, directory: Path) -> subprocess.Popen[bytes]:
    """A real agent, which makes a tick each second."""
    words = [
        *(sys.executable, "-m", "shipper", "run", "--elasticsearch-hosts", es.url, "--index-namespace", namespace),
        *("--period", "1s", "--spool", str(directory), "--collect-datasets", "host,agent", "--host-name", "here"),
        *("--host-verify", "false"),
    ]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("ends_by", "why"), [(signal.SIGKILL, "down: "), (signal.SIGTERM, "stopped: ")], ids=["killed", "stopped"]
)
def test_an_agent_that_ends(
    es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path, ends_by: signal.Signals, why: str
) -> None:
    process = _shipper(es, namespace, tmp_path / "spool")
    try:
        _until(lambda: _stored(es, namespace) >= 3)
        process.send_signal(ends_by)
        process.wait(60)
    finally:
        process.kill()
    now_ms = time.time_ns() // 1_000_000
    config = Config(elasticsearch=Elasticsearch(hosts=(es.url,)), index=Index(namespace=namespace))
    es.request("POST", f"/metrics-shipper.*-{namespace}/_refresh")
    with client.connect(config) as connection:
        before = check(connection, config.index, now_ms, UNCHANGED)
        after = check(connection, config.index, now_ms + 360_000, UNCHANGED)
    assert "host-silent" not in {alert.rule.name for alert in before.alerts}
    (alert,) = (alert for alert in after.alerts if alert.rule.name == "host-silent")
    assert (alert.host, alert.severity) == ("here", "warning") and alert.note.startswith(why)
    stored, process = _stored(es, namespace), _shipper(es, namespace, tmp_path / "spool")
    try:
        _until(lambda: _stored(es, namespace) > stored)
        with client.connect(config) as connection:
            again = check(connection, config.index, time.time_ns() // 1_000_000, UNCHANGED)
        assert "host-silent" not in {alert.rule.name for alert in again.alerts}
    finally:
        process.kill()
        process.wait()


def _stored(es: shipper_eslocal.Cluster, namespace: str) -> int:
    try:
        es.request("POST", f"/metrics-shipper.agent-{namespace}/_refresh")
        return int(es.request("GET", f"/metrics-shipper.agent-{namespace}/_count")["count"])
    except shipper_eslocal.errors.Error:  # it is being made
        return 0


def _until(met: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_hosts_cut_off_and_back(es: shipper_eslocal.Cluster, between: Proxy, judged: Make) -> None:
    """Two hosts of a rack lose the server, a third does not. Their documents arrive late, and none is missing."""
    few = ("host", "agent")
    lost = [judged(name, between.url, datasets=few) for name in ("one", "two")]
    other = judged("three", datasets=few, rack="r2")
    for one in (*lost, other):
        one.run(3 * MINUTE)
    assert of_rules(other.alerts(), ["host-silent"]) == set()
    last_ms = lost[0].now_ms
    between.down()
    for one in lost:
        one.run(6 * MINUTE, deliver=False)
    silent = lost[0].alerts()
    assert {alert.note for alert in silent.values()} == {"cut off: all 3 hosts are silent"}
    other.run(6 * MINUTE)
    silent = lost[0].alerts()
    assert of_rules(silent, ["host-silent"]) == {("host-silent", "one"), ("host-silent", "two")}
    assert silent["host-silent", "one"].note == "cut off: all 2 hosts with labels.rack=r1 are silent"
    between.up()
    for one in lost:
        one.line.drain()
        one.run(1)
    assert of_rules(lost[0].alerts(), ["host-silent"]) == set()
    config = replace(lost[0].config, elasticsearch=Elasticsearch(hosts=(es.url,)))
    with client.connect(config) as connection:
        said = gap.explain(connection, config.index, "one", last_ms, lost[0].now_ms)
    assert said == "its documents arrived late; no collected document is missing"


def test_a_full_spool_loses_documents(es: shipper_eslocal.Cluster, between: Proxy, judged: Make) -> None:
    one = judged("here", between.url, datasets=("host", "agent"), spool={"max_bytes": 1 << 20})
    one.run(MINUTE)
    between.down()
    ticks = 0
    while not one.line.ledger.counts.dropped:
        one.run(1, deliver=False)
        ticks += 1
        assert ticks < 2000
    one.run(2 * MINUTE, deliver=False)
    between.up()
    one.run(1)
    assert ("shipper-dropped", "here") in one.alerts()
    one.run(16 * MINUTE)
    assert ("shipper-dropped", "here") not in one.alerts()


def test_two_agents_with_one_name(judged: Make, tmp_path: Path) -> None:
    one = judged("twin", datasets=("host", "agent"))
    one.run(MINUTE)
    other = judged("twin", datasets=("host", "agent"), begin_ms=one.next_ms, spool={"directory": str(tmp_path / "b")})
    for number in range(4 * MINUTE):  # whichever comes first at a tick is stored
        for agent in (one, other) if number % 2 else (other, one):
            agent.run(1)
    assert ("shipper-twins", "twin") in one.alerts()
    other.run(16 * MINUTE)
    assert ("shipper-twins", "twin") not in one.alerts(other.now_ms)


def test_a_clock_that_differs_from_its_source(judged: Make) -> None:
    """This test cannot set the clock: the answer of adjtimex(2) is that of such a host."""
    one = judged("here", datasets=("host", "agent"))
    root = one.line._ticker._root
    right = root.adjtimex

    def answer(offset_us: int) -> tuple[int, Any]:
        state, timex = right()
        timex.status &= ~_NANOSECONDS
        timex.offset = offset_us
        return state, timex

    root.adjtimex = lambda: answer(-80_000)  # type: ignore[method-assign]
    one.run(10 * MINUTE)
    alert = one.alerts()["host-clock-offset", "here"]
    assert (alert.severity, round(alert.value)) == ("warning", 80_000)
    root.adjtimex = lambda: answer(0)  # type: ignore[method-assign]
    one.run(11 * MINUTE)
    assert ("host-clock-offset", "here") not in one.alerts()


def test_a_degraded_array(judged: Make, tmp_path: Path) -> None:
    """This machine's kernel may have no md: its files are those of an array of two disks."""
    array = tmp_path / "root/sys/block/md0/md"
    files = {"level": "raid1", "array_state": "clean", "raid_disks": "2", "degraded": "0"}
    disks = {f"dev-sd{letter}1/state": "in_sync" for letter in "ab"}
    for name, text in {**files, **disks}.items():
        (array / name).parent.mkdir(parents=True, exist_ok=True)
        (array / name).write_text(f"{text}\n")
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    one = judged("here", datasets=("raid", "agent"), host_root=str(tmp_path / "root"))
    one.run(2 * MINUTE)
    assert of_rules(one.alerts(), RAID) == set()
    (array / "degraded").write_text("1\n")
    (array / "dev-sdb1/state").write_text("faulty\n")
    one.run(2 * MINUTE)
    assert of_rules(one.alerts(), RAID) == {(rule, "md0 on here") for rule in RAID}
    (array / "degraded").write_text("0\n")
    (array / "dev-sdb1/state").write_text("in_sync\n")
    one.run(6 * MINUTE)
    assert of_rules(one.alerts(), RAID) == set()


def test_the_json_of_a_real_fault_is_complete(judged: Make) -> None:
    one = judged("here", datasets=("host", "agent"))
    one.run(MINUTE)
    found = json.loads(output.as_json(one.checked(one.now_ms + 400_000)))
    (silent,) = (alert for alert in found["alerts"] if alert["rule"] == "host-silent")
    assert silent["labels"] == {"labels.rack": "r1"} and silent["docs"] == "docs/alerts.md#host-silent"
