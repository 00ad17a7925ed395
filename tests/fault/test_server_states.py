"""States of a server in which nothing is wrong with the documents: they wait, the others go on, none is rejected."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import shipper_eslocal
from fault.line import DATASETS, Line, found, open_for
from fault.proxy import Forward, Proxy, Reply, Request, passing
from fault.test_delivery_faults import all_found
from namespaces import own_template

Make = Callable[..., Line]


def stepped(line: Line, seconds: float) -> None:
    """A tick each second, delivered as the agent's own thread would."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line.tick()
        while line.delivery.step():
            pass
        time.sleep(min(max(line.delivery._until_due() or 0.0, 0.05), 0.5))


def waits(line: Line, dataset: str) -> bool:
    return any(f".{dataset}-" in index for index in line.delivery.state.resting)


def test_a_stream_without_a_primary_shard_holds_up_no_other(
    es: shipper_eslocal.Cluster, make: Make, namespace: str
) -> None:
    """Its shard can be placed on no node. A bulk request would wait a minute for it, with all that it carries."""
    own_template(es, "disk", namespace, {"index.routing.allocation.require._name": "nowhere"})
    line = make(es.url)
    line.tick()
    while not line.delivery.state.reachable:  # to make the stream takes longer than a request may
        line.delivery.step()
        time.sleep(0.1)
    began, failures = time.monotonic(), line.delivery.state.failures
    stepped(line, 12)
    assert waits(line, "disk")
    counts = line.ledger.counts
    assert counts.stored >= len(line.ticks) * 2 - 4  # host and agent of all ticks but the newest
    assert counts.rejected == counts.dropped == 0
    assert line.delivery.state.failures == failures
    assert line.delivery.state.requests <= 4 * (time.monotonic() - began) + len(line.ticks)
    backing = next(iter(es.request("GET", f"/metrics-shipper.disk-{namespace}")))
    es.request("PUT", f"/{backing}/_settings", {"index.routing.allocation.require._name": None})
    line.drain()
    all_found(es, line)


@pytest.mark.alone
def test_no_room_for_another_shard(es: shipper_eslocal.Cluster, make: Make) -> None:
    """cluster.max_shards_per_node is reached: no stream can be made, 400 for every document."""
    limit = {"persistent": {"cluster.max_shards_per_node": 1}}
    es.request("PUT", "/_cluster/settings", limit)
    try:
        line = make(es.url)
        stepped(line, 3)
        assert waits(line, "disk") or waits(line, "host")
        assert (line.ledger.counts.stored, line.ledger.counts.rejected) == (0, 0)
    finally:
        es.request("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": None}})
    line.drain()
    all_found(es, line)


@pytest.mark.parametrize("state", ["closed", "missing pipeline"])
def test_an_index_that_takes_nothing_for_no_fault_of_the_documents(
    es: shipper_eslocal.Cluster, make: Make, namespace: str, state: str
) -> None:
    line = make(es.url)
    line.run(2)
    line.drain()
    backing = next(iter(es.request("GET", f"/metrics-shipper.disk-{namespace}")))
    if state == "closed":
        es.request("POST", f"/{backing}/_close")
    else:
        es.request("PUT", f"/{backing}/_settings", {"index.default_pipeline": "nowhere"})
    before = line.ledger.counts.stored
    stepped(line, 3)
    assert waits(line, "disk")
    assert line.ledger.counts.stored > before
    assert line.ledger.counts.rejected == 0
    if state == "closed":
        es.request("POST", f"/{backing}/_open")
    else:
        es.request("PUT", f"/{backing}/_settings", {"index.default_pipeline": None})
    line.drain()
    all_found(es, line)


def test_a_proxy_that_takes_content_encoding_away(es: shipper_eslocal.Cluster, between: Proxy, make: Make) -> None:
    """The server sees gzip where it expects lines, and refuses each request as a whole."""
    line = make(between.url)
    between.fault = without_encoding
    stepped(line, 6)
    assert line.ledger.counts.rejected == 0
    assert line.ledger.counts.stored == 0
    between.fault = passing
    line.drain()
    all_found(es, line)


def without_encoding(request: Request, forward: Forward) -> Reply:
    if not request.is_bulk:
        return forward(request)
    stripped = {name: value for name, value in request.headers.items() if name.lower() != "content-encoding"}
    import gzip

    return forward(Request(request.method, request.path, stripped, gzip.compress(request.body)))


def test_what_a_failure_store_took_for_its_time_reaches_the_late_stream(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, namespace: str
) -> None:
    """A cluster setting turns failure stores on: a document out of the range of times is answered with 201."""
    between.fault = with_failure_store
    line = make(between.url)
    now_ms = line.next_ms
    for dataset in DATASETS:
        own_template(es, dataset, namespace, open_for(now_ms - 7_200_000, now_ms + 1_800_000))
    old = [now_ms - 9 * 86_400_000 + second * 1000 for second in range(3)]
    for tick_ms in old:
        line.tick(tick_ms)
    line.next_ms = now_ms
    line.run(3)
    line.drain()
    counts = line.ledger.counts
    assert (counts.rejected, counts.dropped) == (0, 0)
    assert counts.late == sum(line.ticks[tick_ms] for tick_ms in old)
    assert found(es, line.config) == line.ticks


def with_failure_store(request: Request, forward: Forward) -> Reply:
    answer = forward(request)
    if not request.is_bulk or answer.status != 200:
        return answer
    content = json.loads(answer.body)
    for item in content["items"]:
        if item["create"].get("error", {}).get("type") == "timestamp_error":
            item["create"] = {"status": 201, "failure_store": "used"}
    return Reply(200, json.dumps(content).encode())


def test_two_shippers_of_one_name_claim_only_what_is_there(
    es: shipper_eslocal.Cluster, make: Make, tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cloned machine: the second to send is told at its first tick, and both ledgers are true."""
    first, second = make(es.url, directory=tmp_path / "a"), make(es.url, directory=tmp_path / "b")
    second.next_ms = first.next_ms
    first.run(1)
    second.run(1)
    assert second.delivery.state.twins == second.ledger.counts.rejected > 0
    assert "another shipper uses this host's name and id" in capfd.readouterr().err
    for _ in range(10):
        for line in (first, second):
            aligned = (line.ledger.used.last_ms // 1000 + 1) * 1000
            line.tick(line.ledger.used.choose(aligned, 1000))
            while line.delivery.step():
                pass
    stored = first.ledger.counts.stored + second.ledger.counts.stored
    assert second.ledger.counts.rejected + first.ledger.counts.rejected == first.ticks[min(first.ticks)]
    es.request("POST", f"/metrics-shipper.*-{first.config.index.namespace}/_refresh")
    count = es.request("GET", f"/metrics-shipper.*-{first.config.index.namespace}/_count")["count"]
    assert count == stored
