"""Endpoints and clients that people have: etcd, docker's own metrics, a StatsD client in a container."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from captured import Ticks
from engines import docker
from prometheus_client import parser

from shipper.collect.cgroup import cgroups
from shipper.collect.metric import collector as metrics
from shipper.collect.metric import sources as readings
from shipper.kernel.source import Descriptors, Root
from shipper.settings.config import Config
from shipper.settings.sources import Scrape, Source, Statsd, Textfile

pytestmark = pytest.mark.root

READY_S = 60
Values = Mapping[str, Any]


def ports(count: int) -> list[int]:
    with_port = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in with_port]
    for one in with_port:
        one.close()
    return found


class Later(Root):
    """Time passes ten times as fast: ticks that follow each other at once are far enough apart for rates."""

    def now_ns(self) -> int:
        return super().now_ns() * 10


@contextmanager
def ticking(*sources: Source) -> Iterator[Callable[[], list[Values]]]:
    """A function that gives the metrics of the next tick: those of all sources, however slow this machine is."""
    ticks = Ticks(Later("/", Descriptors(0)), (cgroups.COLLECTOR, metrics.COLLECTOR), Config(metrics=sources))

    def tick() -> list[Values]:
        found: dict[str, Values] = {}
        end = time.monotonic() + READY_S
        while {values["metricset.name"] for values in found.values()} != {one.name for one in sources}:
            found |= ticks.tick().get("metric", {})
            assert time.monotonic() < end, ticks.problems
        return list(found.values())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readings, "_WAIT_S", READY_S)  # else a reading may miss its tick, and a rate needs two in a row
        yield tick
    ticks.close()


def texts(url: str) -> str:
    with urllib.request.urlopen(url, timeout=READY_S) as answer:
        return str(answer.read().decode())


def numbers(text: str) -> set[str]:
    """Names of all finite numbers, as prometheus_client reads them; it appends _total to counters that have it not."""
    families = parser.text_string_to_metric_families(text)
    return {
        one.name.removesuffix("_total")
        for family in families
        for one in family.samples
        if abs(one.value) < float("inf")
    }


@pytest.mark.needs("etcd")
def test_etcd(tmp_path: Path) -> None:
    client, peer = (f"http://127.0.0.1:{port}" for port in ports(2))
    words = ["etcd", "--data-dir", str(tmp_path / "etcd"), "--listen-peer-urls", peer]
    words += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    words += ["--listen-client-urls", client, "--advertise-client-urls", client]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as etcd:
        try:
            wait_for(client)
            with ticking(Scrape(name="etcd", url=client, period_s=0)) as tick:
                tick()
                for _ in range(5):  # a busy machine may scrape etcd too late for the rate of a tick
                    put = b'{"key": "YQ==", "value": "Yg=="}'
                    urllib.request.urlopen(f"{client}/v3/kv/put", put, timeout=READY_S).close()
                    found = tick()
                    plain = next(values["metric"] for values in found if "metricset.samples.count" in values)
                    if "etcd_debugging_mvcc_put_total_per_s" in plain:
                        break
            theirs = numbers(texts(f"{client}/metrics"))
        finally:
            etcd.terminate()
    ours = {name for values in found for name in values.get("metric", {})}
    assert {name.removesuffix("_total") for name in ours if not name.endswith("_per_s")} == theirs
    assert plain["etcd_server_has_leader"] == 1
    assert plain["etcd_debugging_mvcc_put_total_per_s"] > 0
    assert "etcd_server_proposals_committed_total_per_s" not in plain  # etcd declares it a gauge
    status = next(values for values in found if "metricset.samples.count" in values)
    assert (status["metricset.dropped.count"], status["metricset.damaged.count"]) == (0, 0)
    assert len(found) == status["metricset.label_sets.count"] > 500


def wait_for(url: str) -> None:
    end = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=READY_S).close()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


@pytest.mark.needs("dockerd", "busybox")
def test_docker_and_what_belongs_to_its_containers(short: Path) -> None:
    metrics_port, statsd_port = ports(2)
    files = short / "files"
    files.mkdir()
    (files / "web.prom").write_text("sessions 3\n")
    with docker(short / "d", f"--metrics-addr=127.0.0.1:{metrics_port}", "--experimental") as engine:
        id_ = engine.started("web-1")
        sources = (
            Scrape(name="docker", url=f"http://127.0.0.1:{metrics_port}/metrics", period_s=0),
            Statsd(name="statsd", listen=f"127.0.0.1:{statsd_port}"),
            Textfile(name="text", directory=str(files), unit=id_),
        )
        with ticking(*sources) as tick:
            tick()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(f"visits:1|c|c:{id_}".encode(), ("127.0.0.1", statsd_port))
                found: list[Values] = []
                while not any("visits" in values.get("metric", {}) for values in found):
                    found = tick()
        theirs = numbers(texts(f"http://127.0.0.1:{metrics_port}/metrics"))
    ours = {name for values in found if values["metricset.name"] == "docker" for name in values.get("metric", {})}
    assert theirs - {name.removesuffix("_total") for name in ours} == set()
    assert any(values.get("metric", {}).get("engine_daemon_container_states_containers") == 1 for values in found)
    for name in ("visits", "sessions"):
        (values,) = [values for values in found if name in values.get("metric", {})]
        assert values["container.id"] == id_
        assert values["container.runtime"] == "docker"
        assert values["cgroup.path"] == f"/docker/{id_}"
        assert values["cgroup.entity"].startswith(id_[:12])
