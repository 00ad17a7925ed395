"""A quiet day: 24 hours of 12 hosts with events that are no faults; no rule may fire.

Hosts send every minute in the half hour before each moment that is judged, and every half an hour between.
"""

import fleetload
import pytest
import shipper_eslocal
from calm import Breach, Calm

from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.check import check

HOSTS, DAY = 12, 1440
JUDGED = (479, 959, 1439)
SENT = {tick for moment in JUDGED for tick in range(moment - 30, moment + 1)} | set(range(0, DAY, 30))
PAUSES = [tick for tick in range(DAY) if tick not in SENT]
ROOT = {"system.filesystem.mount_point": "/"}
WEB, TASK = {"container.name": "web-1"}, {"container.name": "api-1"}


def _before(minutes: int, length: int) -> list[range]:
    """Ticks that begin ``minutes`` before each judged moment, ``length`` of them."""
    return [range(moment - minutes, moment - minutes + length) for moment in JUDGED]


# Events on some hosts before each moment that are no faults: short, or below the threshold.
# Minutes before, number of ticks, then the breach
SHORT: tuple[tuple[int, int, str, int, dict[str, float], dict[str, str]], ...] = (
    (6, 4, "host", 1, {"system.cpu.total.norm.pct": 1.0, "system.load.norm.1": 5.0}, {}),
    (5, 3, "host", 2, {"system.memory.actual.used.pct": 0.93}, {}),
    (20, 1, "host", 3, {"system.clock.offset.us": -400_000}, {}),
    (8, 2, "host", 4, {"system.pressure.io.full.avg10.pct": 0.3}, {}),
    (2, 1, "host", 9, {"system.uptime.duration.ms": 60_000}, {}),
    (9, 5, "disk", 4, {"system.diskio.util.pct": 1.0, "system.diskio.queue.count": 20}, {}),
    (9, 1, "network", 5, {"system.network.in.errors_per_s": 20.0}, {}),
    (4, 2, "filesystem", 6, {"system.filesystem.used.pct": 0.95}, ROOT),
    (5, 3, "cgroup", 1, {"cgroup.cpu.limit.pct": 1.0, "cgroup.cpu.throttled.pct": 0.9}, WEB),
    (4, 3, "cgroup", 2, {"cgroup.memory.limit.pct": 0.9}, WEB),
    (6, 4, "agent", 3, {"agent.ledger.spooled.count": 5_000}, {}),
)
FULL = {"system.filesystem.used.pct": 1.0, "system.filesystem.read_only": True}
BUSY = (
    *(Breach(*what) for minutes, length, dataset, host, values, entity in SHORT
      for what in ((dataset, host, ticks, values, entity) for ticks in _before(minutes, length))),
    Breach("filesystem", 7, range(DAY), FULL, ROOT),  # as an image of a distribution is
    Breach("cgroup", 10, range(DAY), {"cgroup.uptime.ms": 60_000}, TASK),
)  # fmt: skip
# A task of two minutes, and a host that skips two ticks
TASKS = [
    Breach("cgroup", 10, range(first, last), entity=TASK)
    for first, last in zip(
        (0, *(moment - 6 for moment in JUDGED)), (*(moment - 8 for moment in JUDGED), DAY), strict=True
    )
]
SKIPPED = [tick for ticks in _before(7, 2) for tick in ticks]


@pytest.fixture(scope="module")
def quiet(es9: shipper_eslocal.Cluster) -> tuple[shipper_eslocal.Cluster, Calm]:
    fleet = Calm(
        hosts=HOSTS, containers=3, services=1, ticks=DAY, period_s=60, namespace="quiet",
        datasets=("host", "disk", "filesystem", "network", "cgroup", "agent"),
        silent={host: sorted({*PAUSES, *(SKIPPED if host == 11 else ())}) for host in range(HOSTS)},
        breaches=BUSY, missing=tuple(TASKS), deploys={"web": JUDGED[1] - 12},
    )  # fmt: skip
    fleetload.load([es9.url], fleet, workers=1)
    return es9, fleet


@pytest.mark.parametrize("moment", JUDGED)
def test_a_quiet_day_fires_nothing(quiet: tuple[shipper_eslocal.Cluster, Calm], moment: int) -> None:
    cluster, fleet = quiet
    config = Config(elasticsearch=Elasticsearch(hosts=(cluster.url,)), index=Index(namespace=fleet.namespace))
    with client.connect(config) as connection:
        found = check(connection, config.index, fleet.tick_ms(moment), Adjustments())
    assert found.hosts == HOSTS
    assert [(alert.key, alert.text) for alert in found.alerts if not alert.rule.notice] == []
    notices = {alert.key for alert in found.alerts}
    changed = {("container-image-changed", f"web-1@{fleet.host_name(host)}") for host in range(HOSTS)}
    assert notices == {("host-booted", fleet.host_name(9)), *(changed if moment == JUDGED[1] else ())}
