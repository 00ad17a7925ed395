"""Every figure of Kibana's own Hosts, Inventory and Docker pages, asked as Kibana asks, equals that of our own fields.

Hosts: this machine, shipped by the whole product. Containers: a simulated fleet, since few machines have some running.
What Kibana computes in the browser (counter_rate, differences of two aggregations) is computed here.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import Any

import fleetload
import pytest
import shipper_eslocal
from fleetdocs import Document, Fleet
from namespaces import prepare

from shipper.agent.loop import Agent, use_utc
from shipper.base.log import Log
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH
from shipper.deliver.document import flat
from shipper.settings.config import Collect, Config, Elasticsearch, Host, Index, Spool

PERIOD_S = 1
NAMESPACE = "pages"
TICKS = 6
STATES = ("user", "system", "nice", "iowait", "irq", "softirq", "steal")
# Two clocks: shares are of the kernel's ticks of 10 ms, rates of the time between two reads
TWO_CLOCKS = {"abs": 0.05}
Values = dict[str, Any]


class Page:
    """Aggregations over the documents that a page of Kibana takes for one host or container."""

    def __init__(
        self, es: shipper_eslocal.Cluster, module: str, *entity: tuple[str, str], period_s: int = PERIOD_S
    ) -> None:
        self._es, self._period_s = es, period_s
        self._filter = [{"term": {name: value}} for name, value in (("event.module", module), *entity)]

    def ask(self, aggregations: Values, *more: Values) -> Values:
        body = {"size": 0, "query": {"bool": {"filter": [*self._filter, *more]}}, "aggs": aggregations}
        found: Values = self._es.request("POST", f"/metrics-*-{NAMESPACE}/_search", body)["aggregations"]
        return found

    def of(self, operation: str, field: str, *, exists: str = "") -> float:
        more = [{"exists": {"field": exists}}] if exists else []
        return float(self.ask({"it": {operation: {"field": field}}}, *more)["it"]["value"])

    def counter_rate(self, field: str) -> list[float]:
        """As Lens does it: the maximum of each interval, differences per second, none where it fell."""
        every = {"field": "@timestamp", "fixed_interval": f"{self._period_s}s", "min_doc_count": 1}
        top = {"top": {"max": {"field": field}}}
        found = self.ask({"it": {"date_histogram": every, "aggs": top}}, {"exists": {"field": field}})
        tops = [bucket["top"]["value"] for bucket in found["it"]["buckets"]]
        return [(now - before) / self._period_s for before, now in pairwise(tops) if now >= before]


def mean(documents: list[Values], field: str) -> float:
    return fmean(one[field] for one in documents if field in one)


@pytest.fixture(scope="module")
def server(es: shipper_eslocal.Cluster) -> shipper_eslocal.Cluster:
    return es


@pytest.fixture(scope="module")
def shipped(server: shipper_eslocal.Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[Values]:
    """What this machine shipped in six seconds, oldest first."""
    config = Config(
        elasticsearch=Elasticsearch(hosts=(server.url,)),
        index=Index(replicas=0, namespace=NAMESPACE),
        collect=Collect(period_s=PERIOD_S, ticks=TICKS),
        spool=Spool(directory=str(tmp_path_factory.mktemp("spool")), flush_s=120),
        host=Host(name="kibana-page"),
    )
    use_utc()
    with client.connect(config) as connection:
        prepare(connection)
        one = Agent(config, partial(client.bulk, connection, filter_path=FILTER_PATH), Log(journal=False))
        one.run()
    server.request("POST", f"/metrics-*-{NAMESPACE}/_refresh")
    query = {"size": 10_000, "query": {"term": {"host.name": "kibana-page"}}, "sort": ["@timestamp"]}
    found = [
        flat(hit["_source"]) for hit in server.request("POST", f"/metrics-*-{NAMESPACE}/_search", query)["hits"]["hits"]
    ]
    assert len(found) == one.ledger.counts.stored
    return found


@pytest.fixture
def host(shipped: list[Values]) -> list[Values]:
    return [one for one in shipped if one["event.dataset"] == "shipper.host"]


@pytest.fixture
def page(server: shipper_eslocal.Cluster) -> Page:
    return Page(server, "system", ("host.name", "kibana-page"))


# Title on the page → what Kibana asks, and the field of ours with the same meaning
HOSTS: dict[str, tuple[Callable[[Page], float], str, dict[str, float]]] = {
    "CPU usage": (lambda it: it.of("avg", "system.cpu.total.norm.pct"), "system.cpu.total.norm.pct", {}),
    **{
        f"CPU usage: {state}": (
            lambda it, state=state: it.of("avg", f"system.cpu.{state}.pct") / it.of("max", "system.cpu.cores"),  # type: ignore[misc]
            f"system.cpu.{state}.norm.pct",
            TWO_CLOCKS,
        )
        for state in STATES
    },
    "Load (1m)": (lambda it: it.of("avg", "system.load.1"), "system.load.1", {}),
    "Load (5m)": (lambda it: it.of("avg", "system.load.5"), "system.load.5", {}),
    "Load (15m)": (lambda it: it.of("avg", "system.load.15"), "system.load.15", {}),
    "Normalized load": (
        lambda it: it.of("avg", "system.load.1") / it.of("max", "system.load.cores"), "system.load.norm.1", {},
    ),
    "Memory usage": (lambda it: it.of("avg", "system.memory.actual.used.pct"), "system.memory.actual.used.pct", {}),
    "Memory free": (
        lambda it: it.of("max", "system.memory.total") - it.of("avg", "system.memory.actual.used.bytes"),
        "system.memory.actual.free", {},
    ),
    "Memory: free, without cache": (lambda it: it.of("avg", "system.memory.free"), "system.memory.free", {}),
    "Memory: used": (lambda it: it.of("avg", "system.memory.actual.used.bytes"), "system.memory.actual.used.bytes", {}),
    "Disk space available": (lambda it: it.of("avg", "system.filesystem.free"), "system.filesystem.free", {}),
    "Disk usage, average": (lambda it: it.of("avg", "system.filesystem.used.pct"), "system.filesystem.used.pct", {}),
}  # fmt: skip


@pytest.mark.parametrize("title", HOSTS)
def test_a_figure_of_the_hosts_page(title: str, page: Page, shipped: list[Values]) -> None:
    asked, ours, tolerance = HOSTS[title]
    assert asked(page) == pytest.approx(mean(shipped, ours), **tolerance or {"rel": 1e-5})  # type: ignore[arg-type]


def test_memory_cache_and_fullest_disk(page: Page, host: list[Values], shipped: list[Values]) -> None:
    cache = page.of("avg", "system.memory.used.bytes") - page.of("avg", "system.memory.actual.used.bytes")
    assert cache == pytest.approx(mean(host, "system.memory.actual.free") - mean(host, "system.memory.free"))
    fullest = max(one.get("system.filesystem.used.pct", 0) for one in shipped)
    assert page.of("max", "system.filesystem.used.pct") == pytest.approx(fullest)


TRAFFIC = pytest.mark.parametrize(("ecs", "ours"), [("ingress", "in"), ("egress", "out")])


@TRAFFIC
def test_network_of_this_host(ecs: str, ours: str, page: Page, host: list[Values]) -> None:
    """Which may have been silent."""
    counter, growth = f"system.network.total.{ours}.bytes", f"host.network.{ecs}.bytes"
    assert page.of("sum", growth) == host[-1][counter] - host[0][counter] + host[0][growth]


@pytest.mark.parametrize("kind", ["read.count", "write.count", "read.bytes", "write.bytes"])
def test_disk_of_a_host_is_that_of_the_disk_that_did_most(kind: str, page: Page, shipped: list[Values]) -> None:
    field = f"system.diskio.{kind}"
    disks = [one for one in shipped if field in one]
    top = max(disks, key=lambda one: one[field])["system.diskio.name"]
    series = [one for one in disks if one["system.diskio.name"] == top]
    asked = page.counter_rate(field)
    assert asked == [(now[field] - before[field]) / PERIOD_S for before, now in pairwise(series)]
    # Kibana divides the growth by the period, we by the time between the reads: it differs where a tick was late
    ours = [one[f"{field}_per_s"] for one in series[1:]]
    assert [rate > 0 for rate in ours] == [rate > 0 for rate in asked]
    between_s = [PERIOD_S * theirs / rate for theirs, rate in zip(asked, ours, strict=True) if rate]
    assert sum(between_s) == pytest.approx(PERIOD_S * len(between_s), abs=1.5 * PERIOD_S)


def test_time_of_disks_for_latency(page: Page, shipped: list[Values]) -> None:
    for kind in ("read", "write"):
        assert page.of("max", f"system.diskio.{kind}.time") == max(
            one.get(f"system.diskio.{kind}.time", 0) for one in shipped
        )


def test_what_stands_beside_a_host_and_that_it_is_one(page: Page, host: list[Values]) -> None:
    assert page.ask({"it": {"cardinality": {"field": "host.name"}}})["it"]["value"] == 1
    for name in ("host.os.name", "host.ip"):
        told = [bucket["key"] for bucket in page.ask({"it": {"terms": {"field": name}}})["it"]["buckets"]]
        expected = host[-1][name]
        assert sorted(told) == sorted(expected if isinstance(expected, list) else [expected])
    assert page.of("max", "system.uptime.duration.ms") == host[-1]["system.uptime.duration.ms"]
    assert page.of("max", "metricset.period") == PERIOD_S * 1000


FLEET = Fleet(hosts=2, containers=5, ticks=10, period_s=60, namespace=NAMESPACE, names=('node"c', "node b/1"))


@pytest.fixture(scope="module")
def containers(server: shipper_eslocal.Cluster) -> dict[str, list[Values]]:
    """Documents by container.id."""
    fleetload.load([server.url], FLEET, workers=1)
    found: dict[str, list[Values]] = {}
    for one in FLEET.documents():
        if one.dataset == "cgroup" and "container.id" in one.values:
            found.setdefault(one.values["container.id"], []).append(one.values)
    return found


@TRAFFIC
def test_network_of_a_host(
    ecs: str, ours: str, server: shipper_eslocal.Cluster, containers: dict[str, list[Values]]
) -> None:
    for number in range(FLEET.hosts):
        page = Page(server, "system", ("host.name", FLEET.host_name(number)))
        sums, periods = page.of("sum", f"host.network.{ecs}.bytes") * 8, FLEET.ticks - 1
        documents = [one.values for one in FLEET.documents([number]) if one.dataset == "host"]
        expected = mean(documents, f"system.network.total.{ours}.bytes_per_s") * 8
        assert expected > 0
        assert sums / (periods * FLEET.period_s) == pytest.approx(expected)
        legacy = sums / periods / (page.of("max", "metricset.period") / 1000)
        assert legacy == pytest.approx(expected)


CONTAINERS: dict[str, tuple[Callable[[Page], float], str, float]] = {
    "CPU usage": (lambda it: it.of("avg", "docker.cpu.total.pct"), "cgroup.cpu.cores", 1),
    "CPU usage: kernel": (lambda it: it.of("avg", "docker.cpu.kernel.pct"), "cgroup.cpu.system.cores", 1),
    "Memory usage": (lambda it: it.of("avg", "docker.memory.usage.pct"), "cgroup.memory.working_set.pct", 1),
    **{
        f"Network {told}": (
            lambda it, told=told: it.of("avg", f"docker.network.{told}.bytes") * 8  # type: ignore[misc]
            / (it.of("max", "metricset.period", exists=f"docker.network.{told}.bytes") / 1000),
            f"cgroup.network.{ours}.bytes_per_s",
            8,
        )
        for told, ours in (("inbound", "in"), ("outbound", "out"))
    },
    **{
        f"Disk {kind} {unit}": (
            lambda it, field=f"docker.diskio.{kind}.{unit}": fmean(it.counter_rate(field)),  # type: ignore[misc]
            f"cgroup.io.{kind}.{'count' if unit == 'ops' else 'bytes'}_per_s",
            1,
        )
        for kind in ("read", "write")
        for unit in ("ops", "bytes")
    },
}  # fmt: skip


@pytest.mark.parametrize("title", CONTAINERS)
def test_a_figure_of_the_containers_page(
    title: str, server: shipper_eslocal.Cluster, containers: dict[str, list[Values]]
) -> None:
    asked, ours, factor = CONTAINERS[title]
    for id_, documents in containers.items():
        page = Page(server, "docker", ("container.id", id_), period_s=FLEET.period_s)
        assert asked(page) == pytest.approx(mean(documents, ours) * factor, rel=1e-5)
        assert asked(page) > 0


def test_traffic_over_a_containers_interfaces_in_the_inventory(
    server: shipper_eslocal.Cluster, containers: dict[str, list[Values]]
) -> None:
    moved = {"moved": {"sum": {"field": "docker.network.inbound.bytes"}}}
    for id_, documents in containers.items():
        page = Page(server, "docker", ("container.id", id_))
        interfaces = page.ask({"it": {"terms": {"field": "docker.network.interface"}, "aggs": moved}})["it"]["buckets"]
        took_s = (page.of("max", "@timestamp") - page.of("min", "@timestamp")) / 1000
        rate = sum(one["moved"]["value"] for one in interfaces) / took_s
        assert rate == pytest.approx(mean(documents, "cgroup.network.in.bytes_per_s"), rel=1e-5)


def test_containers_of_every_runtime_are_there_under_their_names(
    server: shipper_eslocal.Cluster, containers: dict[str, list[Values]]
) -> None:
    page = Page(server, "docker")
    by = {
        "it": {
            "terms": {"field": "container.id", "size": 100},
            "aggs": {"name": {"terms": {"field": "container.name"}}},
        }
    }
    told = {one["key"]: one["name"]["buckets"][0]["key"] for one in page.ask(by)["it"]["buckets"]}
    expected = {id_: documents[0]["container.name"] for id_, documents in containers.items()}
    assert expected.items() <= told.items()
    runtimes = {documents[0]["container.runtime"] for documents in containers.values()}
    assert runtimes == {"docker", "containerd"}


def test_services_and_slices_are_no_containers(
    server: shipper_eslocal.Cluster, containers: dict[str, list[Values]]
) -> None:
    others: list[Document] = [
        one for one in FLEET.documents() if one.dataset == "cgroup" and "container.id" not in one.values
    ]
    assert others
    kinds = Page(server, "docker").ask({"it": {"terms": {"field": "cgroup.kind"}}})["it"]["buckets"]
    assert {one["key"] for one in kinds} <= {"container", "machine"}
