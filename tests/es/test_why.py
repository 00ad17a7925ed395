"""``shipper why`` over a real Elasticsearch: verdict, users, onset and text for each simulated fault."""

import json
import re
import statistics
from collections import ChainMap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ailing
import pytest
import shipper_eslocal
from ailing import Ailing
from fleetdocs import Document
from fleetload import load

from bench.alerts import measured
from shipper import cli
from shipper.base.errors import UserError
from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.why import explain, text
from shipper.view.why.explain import Explanation

GOLDEN = Path(__file__).parents[1] / "golden" / "why"
PERIOD_S = 10
ONSET = 90
# By number of the host; the others are quiet
FAULTS = {
    1: ailing.cpu_hog,
    2: ailing.memory_leak,
    3: ailing.disk_writer,
    4: ailing.full_filesystem,
    5: ailing.throttled,
    6: ailing.packet_loss,
    7: ailing.fork_storm,
    8: ailing.clock_step,
}
# Host → resource, culprit
RIGHT = {
    1: ("CPU", "web-1"),
    2: ("memory", "db-1"),
    3: ("disk", "batch-1"),
    4: ("filesystem", "queue-1"),
    6: ("network", ""),
    7: ("tasks", "cache-1"),
    8: ("CPU", "web-1"),
}
FLEET = Ailing(
    hosts=18, containers=6, ticks=130, period_s=PERIOD_S, namespace="why", faults=FAULTS, onset=ONSET,
    deploys={"web": ONSET - 3},
)  # fmt: skip
LAST_MS = FLEET.tick_ms(FLEET.ticks - 1)
FIRST_MS = LAST_MS - 600_000


Cores = dict[str, dict[int, float]]


class CoresUsed:
    """The CPUs that each cgroup uses, by tick: noted while the documents are sent, as making them takes seconds."""

    def __init__(self) -> None:
        self._cores: Cores = {}

    def see(self, document: Document, _time_ms: int) -> None:
        if document.dataset == "cgroup" and "cgroup.cpu.cores" in document.values:
            found = self._cores.setdefault(document.values["cgroup.entity"], {})
            found[document.tick] = document.values["cgroup.cpu.cores"]

    def notes(self) -> Cores:
        return self._cores


@pytest.fixture(scope="module")
def cores(es9: shipper_eslocal.Cluster) -> Cores:
    """What ``FLEET``, which is loaded, uses."""
    return dict(ChainMap(*load([es9.url], FLEET, workers=1, notebook=CoresUsed).notes))


@pytest.fixture(scope="module")
def server(es9: shipper_eslocal.Cluster, cores: Cores) -> shipper_eslocal.Cluster:
    return es9


def explained(
    server: shipper_eslocal.Cluster, name: str, first_ms: int = FIRST_MS, last_ms: int = LAST_MS
) -> Explanation:
    config = Config(elasticsearch=Elasticsearch(hosts=(server.url,)), index=Index(namespace=FLEET.namespace))
    with client.connect(config) as connection:
        return explain.explain(connection, config.index, name, first_ms, last_ms)


@pytest.mark.parametrize("host", RIGHT)
def test_resource_culprit_and_onset_are_right(server: shipper_eslocal.Cluster, host: int) -> None:
    made = explained(server, FLEET.host_name(host))
    resource, culprit = RIGHT[host]
    assert made.main
    assert made.main.resource.name == resource
    assert abs(made.main.first_ms - FLEET.tick_ms(ONSET)) <= PERIOD_S * 1000
    assert not made.main.over
    if culprit:
        assert made.use
        name, _, where = made.use.named[0].name.partition("@")
        assert (name.rpartition("/")[2], where) == (culprit, FLEET.host_name(host))


@pytest.mark.parametrize("host", [one for one in range(FLEET.hosts) if one not in FAULTS])
def test_of_a_quiet_host_nothing_is_saturated(server: shipper_eslocal.Cluster, host: int) -> None:
    made = explained(server, FLEET.host_name(host))
    assert (made.main, made.own.short) == (None, ())
    assert "nothing is saturated" in "\n".join(text.lines(made))


def test_shares_add_up_to_the_hosts_use(server: shipper_eslocal.Cluster) -> None:
    for host, (_, culprit) in RIGHT.items():
        use = explained(server, FLEET.host_name(host)).use
        if culprit:
            assert use
            parts = sum(share.used for share in use.named) + use.others + use.unaccounted
            assert parts == pytest.approx(use.total), host
            assert all(0 <= share.share <= 1 for share in use.named)


def test_a_container_at_its_own_limit_is_told_apart_from_its_host(server: shipper_eslocal.Cluster) -> None:
    name = FLEET.host_name(5)
    host = explained(server, name)
    assert host.main is None
    assert [(one.name, one.signal.field) for one in host.cramped] == [(f"api-1@{name}", "cgroup.cpu.throttled.pct")]
    container = explained(server, f"api-1@{name}")
    assert container.main and container.host
    assert container.main.resource.name == "CPU"
    assert container.main.episodes[0].signal.field == "cgroup.cpu.throttled.pct"
    assert container.host.short == ()


def test_what_changed_before_is_named(server: shipper_eslocal.Cluster) -> None:
    hog = explained(server, FLEET.host_name(1)).changes
    assert any(
        re.fullmatch(r"web-1@node-001 changed its image from shop/web:1.2 to shop/web:2.0", one.words) for one in hog
    )
    clock = explained(server, FLEET.host_name(8)).changes
    assert clock[0].words == "the clock was set back by 90 s"
    quiet_before = [one.at_ms for one in hog]
    assert quiet_before == sorted(quiet_before, key=lambda at_ms: abs(at_ms - FLEET.tick_ms(ONSET)))


def test_a_host_is_compared_with_its_peers(server: shipper_eslocal.Cluster) -> None:
    usual = explained(server, FLEET.host_name(1)).usual
    assert usual and usual.unusual
    assert usual.number == FLEET.hosts - 1
    assert usual.earlier == {}


def test_an_explanation_of_an_earlier_time_ignores_later_documents(server: shipper_eslocal.Cluster) -> None:
    before_ms = FLEET.tick_ms(ONSET - 5)
    assert explained(server, FLEET.host_name(1), before_ms - 600_000, before_ms).main is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("nobody", "no host, container or unit of this name"), ("web-1", "several hosts have a container")],
)
def test_a_name_that_is_unknown_or_ambiguous(server: shipper_eslocal.Cluster, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        explained(server, name)


def test_no_more_than_twelve_requests_and_80_mib(
    server: shipper_eslocal.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most expensive question: a container, of which something is short. bench/why.py has the time."""
    requests: list[str] = []
    send = client.Connection.perform_request

    def counted(self: client.Connection, method: str, path: str, **more: Any) -> Any:
        requests.append(path)
        return send(self, method, path, **more)

    monkeypatch.setattr(client.Connection, "perform_request", counted)
    name = f"web-1@{FLEET.host_name(1)}"
    explained(server, name)
    assert 0 < len(requests) <= 12
    where = ["--elasticsearch-hosts", server.url, "--index-namespace", FLEET.namespace]
    at = datetime.fromtimestamp(LAST_MS / 1000, UTC).isoformat()
    output, resident_mib = measured(["why", name, "--at", at, "--last", "10m", *where])
    assert f"its host {FLEET.host_name(1)}: CPU: very short since" in output
    assert resident_mib <= 80


@pytest.mark.parametrize("host", FAULTS)
def test_the_text_is_that_of_the_golden_file(server: shipper_eslocal.Cluster, host: int, update_golden: bool) -> None:
    made = explained(server, FLEET.host_name(host))
    told = [line for line in text.lines(made) if not line.startswith('  board "')]  # boards change by themselves
    shown = "\n".join(map(_since_start, told)) + "\n"
    golden = GOLDEN / f"{FAULTS[host].__name__}.txt"
    if update_golden:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown)
    assert shown == golden.read_text()
    assert len(shown.splitlines()) <= 36


def _since_start(line: str) -> str:
    """Times as those of a fleet that began at midnight of the first day."""
    start = datetime.fromtimestamp(FLEET.start_ms / 1000, UTC)

    def moved(found: re.Match[str]) -> str:
        day, clock = found["day"] or f"{start:%Y-%m-%d}", found["clock"]
        since = datetime.fromisoformat(f"{day}T{clock}+00:00") - start
        since %= timedelta(days=1)
        return f"{'1970-01-01T' if found['day'] else ''}{datetime(1970, 1, 1, tzinfo=UTC) + since:%H:%M:%S}"

    line = re.sub(r"(?:(?P<day>\d{4}-\d\d-\d\d)T)?(?P<clock>\d\d:\d\d:\d\d)", moved, line)
    return re.sub(r"\d{4}-\d\d-\d\d(?!T)", "1970-01-01", line)


def test_the_command_prints_text_json_and_its_searches(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_HOSTS", server.url)
    monkeypatch.setenv("SHIPPER_INDEX_NAMESPACE", FLEET.namespace)
    at = datetime.fromtimestamp(LAST_MS / 1000, UTC).isoformat()
    words = ["why", FLEET.host_name(1), "--at", at, "--last", "10m"]
    assert cli.main([*words, "--show-queries"]) == 0
    shown = capsys.readouterr().out
    assert "CPU: very short since" in shown
    assert shown.count("\n# ") == len(explained(server, FLEET.host_name(1)).searches)
    assert cli.main([*words, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["main"] == "CPU"
    assert plain["own"]["short"][0]["since_ms"] == FLEET.tick_ms(ONSET)
    assert cli.main(["why", "x", "--at", "soon"]) == 2
    assert "must be a time such as 02:10" in capsys.readouterr().err


def growing(one: Document, after: int) -> dict[str, Any] | None:
    """The use of /var grows by a tenth a day on one host, and does not change on the others."""
    on_var = one.dataset == "filesystem" and one.values["system.filesystem.mount_point"] == "/var"
    return {"system.filesystem.used.pct": 0.4 + 0.1 * after / 24} if on_var else None


def still(one: Document, _after: int) -> dict[str, Any] | None:
    return {"system.filesystem.used.pct": 0.95} if one.dataset == "filesystem" else None


def test_forecast_names_what_is_full_and_when(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {0: growing, 1: still, 2: still}
    fleet = Ailing(hosts=3, containers=1, ticks=72, period_s=3600, namespace="days", faults=faults)
    load([server.url], fleet, workers=1)
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_HOSTS", server.url)
    monkeypatch.setenv("SHIPPER_INDEX_NAMESPACE", fleet.namespace)
    assert cli.main(["forecast", "--last", "4d"]) == 0
    shown = [one for one in capsys.readouterr().out.splitlines() if " filesystem " in f" {one}"]
    (only,) = [one for one in shown if "on node-000" in one and "/var" in one]
    assert re.fullmatch(r"full in 3\.[01] d +filesystem /var on node-000: (69|70) %, \+10\.0 % a day", only)
    assert not [one for one in shown if "node-001" in one]
    assert cli.main(["forecast", "--last", "4d", "--all", "--host", "node-001", "--json"]) == 0
    found = {
        tuple(one["entity"]): one["outlook"]
        for one in json.loads(capsys.readouterr().out)
        if one["kind"] == "filesystem"
    }
    assert found == {("node-001", "/"): "not growing", ("node-001", "/var"): "not growing"}


def test_post_mortem_of_an_oom_kill(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_HOSTS", server.url)
    monkeypatch.setenv("SHIPPER_INDEX_NAMESPACE", FLEET.namespace)
    whose = f"db-1@{FLEET.host_name(2)}"
    assert cli.main(["why", "--oom", whose]) == 0
    shown = capsys.readouterr().out
    assert f"the kernel OOM-killed postgres, pid 77, of {whose}" in shown
    assert "its cgroup reached the limit of 4 GiB" in shown
    assert "anon 3 GiB, file 128 MiB" in shown
    assert "largest processes before: db" in shown
    assert re.search(r"growth: [\d.]+ GiB per minute", shown)
    assert cli.main(["why", "--oom", "--json"]) == 0
    (kill,) = json.loads(capsys.readouterr().out)
    assert kill["event"]["cgroup.entity"] == whose
    assert kill["limit_bytes"] == 4 << 30
    assert kill["growth_bytes_per_minute"] > 1 << 30
    assert cli.main(["why", "--oom", FLEET.host_name(0)]) == 1
    assert "no OOM kill of node-000 is stored" in capsys.readouterr().err
    assert cli.main(["why"]) == 2


@pytest.mark.parametrize("by", ["container", "image", "host", "label.com.docker.compose.service"])
def test_usage_adds_up_to_the_hosts(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_HOSTS", server.url)
    monkeypatch.setenv("SHIPPER_INDEX_NAMESPACE", FLEET.namespace)
    assert cli.main(["usage", "--by", by, "--last", "2h", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = [*found["groups"], found["unaccounted"], found["idle"]]
    for hours in ("core_hours", "gib_hours"):
        assert sum(one[hours] for one in parts) == pytest.approx(found["hosts"][hours])
    cpus = 16 * FLEET.hosts * FLEET.ticks * PERIOD_S / 3600
    assert found["hosts"]["core_hours"] == pytest.approx(cpus, rel=0.01)
    assert found["groups"][0]["core_hours"] >= found["groups"][-1]["core_hours"] >= 0


def test_usage_of_one_container_is_the_sum_of_its_documents(
    server: shipper_eslocal.Cluster,
    cores: Cores,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_HOSTS", server.url)
    monkeypatch.setenv("SHIPPER_INDEX_NAMESPACE", FLEET.namespace)
    name = FLEET.host_name(1)
    assert cli.main(["usage", "--host", name, "--last", "2h", "--csv"]) == 0
    rows = dict(line.split(",")[:2] for line in capsys.readouterr().out.splitlines())
    used = sum(cores[f"web-1@{name}"].values())
    assert float(rows[f"web-1@{name}"]) == pytest.approx(used * PERIOD_S / 3600, rel=0.001)
    assert cli.main(["usage", "--by", "colour"]) == 2
    assert "must be one of container" in capsys.readouterr().err


@pytest.fixture
def told(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What a command prints about the fleet."""
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_HOSTS", server.url)
    monkeypatch.setenv("SHIPPER_INDEX_NAMESPACE", FLEET.namespace)

    def run(*words: str, code: int = 0) -> str:
        assert cli.main(list(words)) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


@pytest.mark.parametrize("name", ["shop/web", "shop/web:2.0", "web-1", "web-1@node-001"])
def test_compare_finds_the_new_image_and_what_it_uses_more(told: Callable[..., str], cores: Cores, name: str) -> None:
    found = json.loads(told("compare", name, "--last", "1m", "--json"))
    change = {"at_ms": FLEET.tick_ms(ONSET - 3), "words": "the image changed from shop/web:1.2 to shop/web:2.0"}
    assert (found["at_ms"], found["newest_change"]) == (change["at_ms"], change)
    number = 1 if "@" in name else FLEET.hosts
    assert found["entities"] == {"before": number, "after": number}
    rows = {row["name"]: row for row in found["rows"]}
    hosts = [1] if number == 1 else range(FLEET.hosts)
    used = [one for host in hosts for one in cores[f"web-1@{FLEET.host_name(host)}"].items()]
    after = [one for tick, one in used if ONSET - 3 <= tick <= ONSET + 3]
    before = [one for tick, one in used if ONSET - 9 <= tick < ONSET - 3]
    assert rows["CPU"]["mean"] == pytest.approx(sum(after) / len(after))
    assert rows["CPU"]["before"]["highest"] == pytest.approx(max(before))
    assert rows["CPU"]["before"]["p50"] == pytest.approx(statistics.median(before), rel=0.05)
    assert rows["CPU"]["verdict"] == "more than usual"
    assert (rows["memory"]["verdict"], rows["restarts"]["mean"]) == ("as usual", 0)


def test_compare_of_a_host_and_of_what_did_not_change(told: Callable[..., str]) -> None:
    at = datetime.fromtimestamp(FLEET.tick_ms(ONSET) / 1000, UTC).isoformat()
    shown = told("compare", FLEET.host_name(1), "--last", "1m", "--at", at, "--show-queries")
    assert "\nmore than usual: CPU, CPU pressure\n" in shown
    assert shown.count("\n# ") == 5
    assert "more than usual" not in told("compare", FLEET.host_name(0), "--last", "1m", "--at", at)
    assert "no start, boot or change of image" in told("compare", "api-1@node-000", code=1)
    assert "no host, container, unit or image" in told("compare", "nobody", code=1)
    assert "too few documents after" in told("compare", FLEET.host_name(1), "--at", "now", code=1)


def test_the_report_compares_around_a_time(told: Callable[..., str], tmp_path: Path) -> None:
    at = datetime.fromtimestamp(FLEET.tick_ms(ONSET) / 1000, UTC).isoformat()
    page = tmp_path / "report.html"
    told("report", "--around", at, "--last", "1m", "--host", FLEET.host_name(1), "--board", "host", "-o", str(page))
    (section,) = re.findall(r"<summary>Before and after</summary>\s*<pre>(.*?)</pre>", page.read_text(), re.DOTALL)
    assert "host node-001: 1 min before and after" in section
    assert "more than usual: CPU, CPU pressure\n" in section
    assert "--around needs --host or --container" in told("report", "--around", at, code=2)
    assert "--around takes --last" in told("report", "--around", at, "--host", "x", "--to", "now", code=2)
