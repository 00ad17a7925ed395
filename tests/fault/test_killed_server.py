"""A server that is killed, hard, and started again: what it acknowledged is in its translog, and nothing is lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import shipper_eslocal
from fault.line import DATASETS, PERIOD_MS, Line, configured, found
from fault.proxy import Forward, Proxy, Reply, Request, passing
from fault.test_delivery_faults import all_found

from shipper.agent.loop import Agent, use_utc
from shipper.base.log import Log
from shipper.deliver.bulk import FILTER_PATH
from shipper.deliver.client import Link

Make = Callable[..., Line]


@pytest.fixture(scope="module")
def es() -> Iterator[shipper_eslocal.Cluster]:
    """Of this module alone."""
    with shipper_eslocal.cluster() as cluster:
        yield cluster


def test_the_server_killed_amid_a_bulk(es: shipper_eslocal.Cluster, between: Proxy, make: Make) -> None:
    line = make(between.url)
    line.run(5)
    line.drain()
    between.down()
    line.run(100)
    between.up()

    def killing(request: Request, forward: Forward) -> Reply:
        if request.is_bulk:
            threading.Timer(0.01, es.kill).start()
        return forward(request)

    between.fault = killing
    for _ in range(20):
        line.delivery.step()
        if es.health(timeout=0.5) is None:
            break
    between.fault = passing
    line.run(10)
    es.kill()
    es.start()
    line.drain()
    all_found(es, line)


def test_an_agent_whose_server_is_killed_and_started_again(
    es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path
) -> None:
    """What the server acknowledged is in its translog; the ticks go on."""
    config = configured(es.url, namespace, tmp_path / "spool", elasticsearch={"timeout_s": 5}, spool={"flush_s": 120})
    with closing(Link(config, FILTER_PATH)) as link:
        use_utc()
        agent = Agent(config, link, Log(journal=False), link.ready)
        ticks, restarted = list[int](), threading.Event()

        def outage() -> None:
            es.kill()
            es.start()
            restarted.set()

        outages = threading.Thread(target=outage)

        def after(tick_ms: int) -> None:
            ticks.append(tick_ms)
            if len(ticks) == 3:
                outages.start()
            if restarted.is_set() and agent.ledger.spooled <= len(DATASETS):  # of this tick alone
                agent.stop()

        agent.run(after)
        outages.join()
    counts = agent.ledger.counts
    assert agent.delivery.state.failures > 0
    assert ticks == list(range(ticks[0], ticks[-1] + 1, PERIOD_MS))
    assert (counts.stored, agent.ledger.spooled) == (counts.collected, 0)
    assert sum(found(es, config).values()) == counts.collected
    assert sorted(found(es, config, "host")) == ticks
