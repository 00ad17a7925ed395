"""The whole line into real servers of both versions: found by search in time, nothing doubled, nothing lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from fault.line import open_for
from namespaces import own_template, prepare

from shipper.agent.loop import Agent, use_utc
from shipper.base.log import Log
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH, Delivery
from shipper.deliver.ledger import Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool
from shipper.settings.config import Bulk, Collect, Config, Elasticsearch, Host, Index
from shipper.settings.config import Spool as SpoolOptions

PERIOD_S = 1


@pytest.fixture(params=["datastream", "dated"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def configure(es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path) -> Callable[..., Config]:
    def make(layout: str = "datastream", **collect: Any) -> Config:
        return Config(
            elasticsearch=Elasticsearch(hosts=tuple(es.urls)),
            index=Index(layout=layout, namespace=namespace),
            collect=Collect(period_s=PERIOD_S, **collect),
            spool=SpoolOptions(directory=str(tmp_path / "spool"), flush_s=120),
            bulk=Bulk(backoff_max_s=1),
            host=Host(name=f"host-{namespace}", labels={"rack.row": 'a"1', "tier": "web"}),
        )

    return make


@pytest.fixture
def connect() -> Iterator[Callable[[Config], Any]]:
    with ExitStack() as stack:

        def connect(config: Config) -> client.Connection:
            connection = stack.enter_context(client.connect(config))
            prepare(connection, config.index.layout)
            return connection

        yield connect


def pipeline(config: Config, connection: Any) -> Agent:
    use_utc()
    return Agent(config, partial(client.bulk, connection, filter_path=FILTER_PATH), Log(journal=False))


def recording(connection: Any, sent: list[bytes]) -> Callable[[bytes, float], Any]:
    def send(body: bytes, shard_s: float) -> Any:
        sent.append(body)
        return client.bulk(connection, body, shard_s, filter_path=FILTER_PATH)

    return send


def pattern(config: Config, dataset: str = "*") -> str:
    if config.index.layout == "dated":
        return f"shipper-{dataset}-*"
    return f"metrics-shipper.{dataset}-{config.index.namespace}"


def search(es: shipper_eslocal.Cluster, config: Config, dataset: str = "*", **body: Any) -> Any:
    target = pattern(config, dataset)
    es.request("POST", f"/{target}/_refresh")
    mine = {"term": {"host.name": config.host.name}}
    return es.request("POST", f"/{target}/_search", {"query": mine, "size": 1000, **body})


def total(es: shipper_eslocal.Cluster, config: Config, dataset: str = "*") -> int:
    return int(search(es, config, dataset, size=0, track_total_hits=True)["hits"]["total"]["value"])


def test_every_document_of_the_ledger_is_found(
    es: shipper_eslocal.Cluster, configure: Callable[..., Config], connect: Callable[[Config], Any], layout: str
) -> None:
    config = configure(layout, ticks=3)
    connection = connect(config)
    one = pipeline(config, connection)
    one.run()
    counts = one.ledger.counts
    assert counts.collected == counts.stored == total(es, config) > 3 * 4
    assert (counts.duplicate, one.ledger.spooled) == (0, 0)
    host = search(es, config, "host", sort=[{"@timestamp": "desc"}])["hits"]["hits"]
    assert len(host) == 3
    document = host[0]["_source"]
    assert document["system"]["cpu"]["cores"] > 0
    assert document["labels"]["tier"] == "web"
    assert document["@timestamp"].endswith(".000Z")
    by_label = {"term": {"labels.rack.row": 'a"1'}}
    assert search(es, config, "host", query=by_label, size=0)["hits"]["total"]["value"] >= 3


def test_found_by_search_within_a_period_and_two_seconds(
    es: shipper_eslocal.Cluster, configure: Callable[..., Config], connect: Callable[[Config], Any]
) -> None:
    """Without any refresh of ours: the server's own pace counts. A busy machine may delay one run, not each of five."""
    config = configure(ticks=6)
    connection = connect(config)
    slowest: list[float] = []
    while not slowest or slowest[-1] > PERIOD_S + 2:
        assert len(slowest) < 5, slowest
        spool = replace(config.spool, directory=f"{config.spool.directory}-{len(slowest)}")
        ticks, found = watched(es, replace(config, spool=spool), connection)
        assert sorted(found) == ticks
        # the very first tick makes six data streams, which takes a loaded server longer
        slowest.append(max(found[tick] for tick in ticks[1:]))


def watched(es: shipper_eslocal.Cluster, config: Config, connection: Any) -> tuple[list[int], dict[int, float]]:
    """The ticks of a run, ms, and how many seconds after each its documents were found."""
    found: dict[int, float] = {}
    ticks: list[int] = []
    done = threading.Event()
    began_ms = time.time() * 1000

    def watch() -> None:
        of_host = {"query": {"term": {"host.name": config.host.name}}, "_source": ["@timestamp"]}
        query = {"size": 1000, "sort": [{"@timestamp": "desc"}], **of_host}
        wanted = {"host", "cgroup"}
        while not done.is_set() or (len(found) < len(ticks) and time.time() * 1000 - ticks[-1] < 10_000):
            per_tick: dict[int, set[str]] = {}
            answers: Any = {"hits": {"hits": []}}
            for dataset in wanted:
                with suppress(shipper_eslocal.Error):  # 503 while the stream's first shard starts
                    answers = es.request("POST", f"/{pattern(config, dataset)}/_search?ignore_unavailable=true", query)
                for hit in answers["hits"]["hits"]:
                    moment = hit["_source"]["@timestamp"]
                    per_tick.setdefault(_ms(moment), set()).add(dataset)
            now = time.time()
            for tick, datasets in per_tick.items():
                if datasets == wanted and tick >= began_ms:
                    found.setdefault(tick, now - tick / 1000)
            done.wait(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    pipeline(config, connection).run(ticks.append)
    done.set()
    watcher.join()
    return ticks, found


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_a_replayed_segment_adds_nothing(
    es: shipper_eslocal.Cluster, configure: Callable[..., Config], connect: Callable[[Config], Any], layout: str
) -> None:
    config = configure(layout, ticks=1)
    connection = connect(config)
    sent: list[bytes] = []
    send = recording(connection, sent)
    use_utc()
    Agent(config, send, Log(journal=False)).run()
    before = total(es, config)
    lines = b"".join(sent).split(b"\n")
    entries = [Entry(*pair) for pair in zip(lines[::2], lines[1::2], strict=False)]
    directory = config.spool.directory + "-replay"
    ledger = Ledger.load(Spool(directory, 1 << 30))
    tick_ms = _ms(json.loads(entries[0].document)["@timestamp"])
    ledger.put(tick_ms, entries)
    replay = Delivery(ledger, send, config.bulk, Log(journal=False))
    while replay.step():
        pass
    assert before == len(entries) == total(es, config)
    assert (ledger.counts.stored, ledger.counts.duplicate, ledger.spooled) == (before, before, 0)
    assert replay.state.twins == 0


def test_a_poison_document_blocks_nothing(
    es: shipper_eslocal.Cluster, configure: Callable[..., Config], connect: Callable[[Config], Any]
) -> None:
    config = configure(ticks=2)
    connection = connect(config)
    one = pipeline(config, connection)
    action = f'{{"create":{{"_index":"metrics-shipper.host-{config.index.namespace}"}}}}'.encode()
    poison = {
        "@timestamp": "2026-01-01T00:00:00Z",
        "host": {"name": config.host.name, "id": "p"},
        "system": {"load": {"1": "much"}},
    }
    one.ledger.put(0, [Entry(action, json.dumps(poison).encode())])
    one.run()
    counts = one.ledger.counts
    assert (counts.rejected, one.ledger.spooled, counts.stored) == (1, 0, counts.collected - 1)
    kept = json.loads(Path(config.spool.directory, "rejected.ndjson").read_text())
    assert kept["document"] == poison
    assert "system.load.1" in kept["reason"]
    assert total(es, config) == counts.stored


def test_documents_outside_of_the_time_range(
    es: shipper_eslocal.Cluster, configure: Callable[..., Config], connect: Callable[[Config], Any], namespace: str
) -> None:
    """A stream whose range is set by hand, since these servers have no module that moves it."""
    config = configure()
    connection = connect(config)
    now_ms = int(time.time() * 1000)
    own_template(es, "disk", namespace, open_for(now_ms - 3_600_000, now_ms + 3_600_000))
    ledger = Ledger.load(Spool(config.spool.directory, 1 << 30))
    delivery = Delivery(
        ledger, partial(client.bulk, connection, filter_path=FILTER_PATH), config.bulk, Log(journal=False)
    )
    action = f'{{"create":{{"_index":"metrics-shipper.disk-{namespace}"}}}}'.encode()
    for tick_ms in (now_ms, now_ms - 86_400_000, now_ms + 86_400_000):
        document = {
            "@timestamp": _iso(tick_ms),
            "host": {"name": config.host.name, "id": "x"},
            "system": {"diskio": {"name": "sda"}},
        }
        ledger.put(tick_ms, [Entry(action, json.dumps(document).encode())])
    while delivery.step():
        pass
    counts = ledger.counts
    assert (counts.stored, counts.late, counts.rejected, ledger.spooled) == (1, 1, 0, 1)
    assert total(es, config, "disk.late") == 1
    assert total(es, config, "disk") == 1


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_two_shippers_of_one_name_raise_the_alarm(
    es: shipper_eslocal.Cluster,
    configure: Callable[..., Config],
    connect: Callable[[Config], Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = configure(ticks=1)
    connection = connect(config)
    sent: list[bytes] = []
    use_utc()
    Agent(config, recording(connection, sent), Log(journal=False)).run()
    other = replace(config, spool=replace(config.spool, directory=config.spool.directory + "-other"))
    ledger = Ledger.load(Spool(other.spool.directory, 1 << 30))
    second = Delivery(
        ledger, partial(client.bulk, connection, filter_path=FILTER_PATH), config.bulk, Log(journal=False)
    )
    lines = b"".join(sent).split(b"\n")
    entries = [Entry(*pair) for pair in zip(lines[::2], lines[1::2], strict=False)]
    ledger.put(_ms(json.loads(entries[0].document)["@timestamp"]), entries)
    while second.step():
        pass
    assert second.state.twins == len(entries)
    assert "another shipper uses this host's name" in capfd.readouterr().err
