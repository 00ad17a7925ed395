"""Every panel of every dashboard with this machine's real documents, a real docker container among them."""

import tempfile
from functools import partial
from pathlib import Path

import pytest
import shipper_eslocal
from engines import docker
from proof import Proven, check
from straight import Gathered

from shipper.agent.loop import Agent, use_utc
from shipper.base.log import Log
from shipper.collect.cgroup.runtime import containers
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH
from shipper.deliver.document import flat
from shipper.server import setup
from shipper.settings.config import Collect, Config, Elasticsearch, Host, Index, Spool
from shipper.view.dashboards import ask
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import Board

HOST = "real-1"
TICKS = 8
pytestmark = [pytest.mark.root, pytest.mark.needs("dockerd", "busybox")]

# What every machine has; of the others – swap, quotas, traffic, systemd, faults – a given one may have none
ALWAYS = {
    "Hosts", "Containers", "CPU", "Memory", "Fullest filesystem", "Documents waiting", "Fleet CPU", "Fleet memory",
    "Fleet disk", "Hosts, busiest first", "Fullest filesystems", "Newest containers", "Documents collected and stored",
    "CPU usage", "Memory used", "CPUs", "Uptime", "CPU time", "Load per CPU", "Memory in use", "Disk operations",
    "Filesystems", "TCP connections", "Threads", "Processes by state", "Processes by CPU",
    "Containers and services by CPU", "Workloads", "Highest CPU usage", "By CPU", "By memory",
    "CPU and quota", "Memory and limit", "Memory by use", "Tasks and limit", "Images", "Host CPU and memory",
    "CPU, user", "Load, 15 minutes", "Free memory", "Sockets", "Context switches", "Disk space", "Container CPU",
    "Container memory", "Bulk requests", "Shippers", "Versions", "Ledger", "Requests", "CPU of the shipper",
    "Memory of the shipper", "Duration of a tick", "Shippers by waiting documents", "Versions in the fleet",
}  # fmt: skip
TITLES = {panel.title for board in BOARDS for panel in board.panels}
QUIET = TITLES - ALWAYS


def test_what_always_has_values_is_on_a_board() -> None:
    assert not ALWAYS - TITLES


@pytest.fixture(scope="module")
def real(es: shipper_eslocal.Cluster) -> Proven:
    """What this machine shipped in a few seconds."""
    with tempfile.TemporaryDirectory(prefix="s-") as directory:
        return _as_columns(es, _shipped(es, directory))


def _shipped(cluster: shipper_eslocal.Cluster, directory: str) -> int:
    """How many documents this machine shipped while a container of docker's ran."""
    with docker(Path(directory) / "d") as engine:
        engine.started("web-1", "--memory", "64m", "--cpus", "0.5")
        config = Config(
            elasticsearch=Elasticsearch(hosts=(cluster.url,)),
            index=Index(replicas=0, namespace="real"),
            collect=Collect(period_s=1, ticks=TICKS),
            collectors=(containers.Options(docker_roots=(str(engine.data_root),)),),
            spool=Spool(directory=f"{directory}/spool", flush_s=120),
            host=Host(name=HOST),
        )
        use_utc()
        with client.connect(config) as connection:
            setup.install(connection, config, lambda _line: None)
            agent = Agent(config, partial(client.bulk, connection, filter_path=FILTER_PATH), Log(journal=False))
            agent.run()
        return agent.ledger.counts.stored


def _as_columns(cluster: shipper_eslocal.Cluster, stored: int) -> Proven:
    cluster.request("POST", "/metrics-*/_refresh")
    query = {"size": 10_000, "sort": ["@timestamp"], "track_total_hits": True}
    hits = cluster.request("POST", "/metrics-shipper.*-real/_search", query)["hits"]["hits"]
    assert len(hits) == stored
    columns, times = Gathered(), []
    for hit in hits:
        document = flat(hit["_source"])
        labels = {key.removeprefix("labels."): value for key, value in document.items() if key.startswith("labels.")}
        times.append(hit["sort"][0])
        columns.add(document["event.dataset"].removeprefix("shipper."), times[-1], {**document, "labels": labels})
    return Proven(cluster, "real", columns.frames(), ask.span(times[0], times[-1], least_s=1), everywhere=True)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_real_host_and_container(real: Proven, board: Board) -> None:
    check(real, board, HOST, f"web-1@{HOST}", quiet=QUIET)
