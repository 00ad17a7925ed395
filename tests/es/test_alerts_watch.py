"""``shipper alerts check --watch``: a real Alertmanager receives what begins and ends; late documents end a silence."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fleetload
import pytest
import shipper_eslocal
import urllib3
from alertmanager import running
from calm import Breach, Calm

from shipper.base.errors import ServerError
from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.alerts import gap, watch
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.check import Checked, check
from shipper.view.dashboards.publish import Site

pytestmark = pytest.mark.needs("prometheus-alertmanager")
TICKS, SILENT, EVERY_S = 40, range(30, 40), 60


@pytest.fixture(scope="module")
def server(es9: shipper_eslocal.Cluster) -> shipper_eslocal.Cluster:
    return es9


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[str]:
    with running(tmp_path) as url:
        yield url


def active(url: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Alerts that last, by rule and host."""
    found = urllib3.request("GET", f"{url}/api/v2/alerts?active=true").json()
    return {(one["labels"]["alertname"], one["labels"].get("host_name", "")): one for one in found}


def watching(cluster: shipper_eslocal.Cluster, namespace: str) -> watch.Watch:
    config = Config(elasticsearch=Elasticsearch(hosts=(cluster.url,)), index=Index(namespace=namespace))
    connection = client.connect(config)
    return watch.Watch(
        lambda at_ms: check(connection, config.index, at_ms, Adjustments()),
        lambda host, last_ms, at_ms: gap.explain(connection, config.index, host, last_ms, at_ms),
    )


def fleet(namespace: str, **more: Any) -> Calm:
    recent = {"start_ms": (int(time.time()) // 60 - TICKS + 1) * 60_000}
    return Calm(hosts=3, ticks=TICKS, period_s=60, namespace=namespace, datasets=("host", "agent"), **recent | more)


@pytest.mark.parametrize(
    ("late", "lost", "said"),
    [
        (range(30, 40), 0, "its documents arrived late; no collected document is missing"),
        (range(30, 40), 7, "its documents arrived late; 7 documents were rejected or lost"),
        (range(39, 40), 0, "the host collected nothing for 10 min; no collected document is missing"),
    ],
)
def test_a_silence_ends_by_itself_and_says_what_is_missing(  # noqa: PLR0917
    server: shipper_eslocal.Cluster, manager: str, namespace: str, late: range, lost: int, said: str
) -> None:
    tell = watch.Alertmanager(Site(manager), 1000 * EVERY_S)
    before = fleet(namespace, silent={1: SILENT})
    fleetload.load([server.url], before, workers=1)
    seen, now_ms = watching(server, namespace), before.tick_ms(TICKS - 1)

    began = seen.step(now_ms)
    assert [one.alert.key for one in began.began] == [("host-silent", "node-001")]
    tell(began)
    alert = active(manager)["host-silent", "node-001"]
    assert alert["labels"].items() >= {"severity": "warning", "labels_rack": "r1"}.items()
    assert alert["annotations"]["summary"].startswith("node-001: Host silent: 10 min (down: ")

    others = [tick for tick in range(TICKS) if tick not in late]
    dropped = (Breach("agent", 1, late, {"agent.ledger.dropped.count": lost}),)
    silent = {0: range(TICKS), 1: others, 2: range(TICKS)}
    # The same ticks, whatever minute it is by now
    after = fleet(namespace, start_ms=before.start_ms, silent=silent, breaches=dropped)
    fleetload.load([server.url], after, workers=1)
    ended = seen.step(now_ms)
    assert [one.end for one in ended.ended] == [f"silent for 10 min; {said}"]
    tell(ended)
    assert "host-silent" not in {rule for rule, _ in active(manager)}


def test_a_rising_severity_replaces_the_alert(server: shipper_eslocal.Cluster, manager: str, namespace: str) -> None:
    made = fleet(namespace, silent={2: range(25, 40)})
    fleetload.load([server.url], made, workers=1)
    seen, tell = watching(server, namespace), watch.Alertmanager(Site(manager), 1000 * EVERY_S)
    tell(seen.step(made.tick_ms(TICKS - 2)))
    one = seen.step(made.tick_ms(TICKS - 1))
    tell(one)
    assert watch.lines(one)[0].startswith("critical: node-002: Host silent: 15 min")
    assert [ended.end for ended in one.ended] == ["now critical"]
    found = [alert["labels"]["severity"] for alert in active(manager).values()]
    assert found == ["critical"]


def test_a_server_that_cannot_answer_ends_no_alert(
    server: shipper_eslocal.Cluster, manager: str, namespace: str
) -> None:
    made = fleet(namespace, silent={1: SILENT})
    fleetload.load([server.url], made, workers=1)
    seen, tell = watching(server, namespace), watch.Alertmanager(Site(manager), 1000 * EVERY_S)
    now_ms = made.tick_ms(TICKS - 1)
    tell(seen.step(now_ms))
    answers: Callable[[int], Checked] = seen.ask

    def fails(_at_ms: int) -> Checked:
        raise ServerError("no route to host")

    seen.ask = fails
    lost = seen.step(now_ms)
    tell(lost)
    assert watch.lines(lost) == ["unknown: no route to host"]
    assert set(active(manager)) == {("host-silent", "node-001"), ("alerts-unknown", "")}
    seen.ask = answers
    again = seen.step(now_ms)
    assert (again.began, again.ended) == ((), ())
