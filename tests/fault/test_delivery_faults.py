"""The server and the way to it, broken in every way: the equation holds at each tick, and all is found once."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
import shipper_eslocal
from fault.line import Line, found
from fault.proxy import (
    Fault,
    Forward,
    Proxy,
    Reply,
    Request,
    SomeItems,
    Sometimes,
    at_most,
    byte_per_second,
    cut_amid_the_answer,
    cut_before_the_answer,
    nonsense,
    other_json,
    passing,
    proxy,
    status,
)

Make = Callable[..., Line]


def all_found(es: shipper_eslocal.Cluster, line: Line) -> None:
    """Every document of every tick is there, once; none anywhere else."""
    assert found(es, line.config) == line.ticks
    counts = line.ledger.counts
    assert counts.collected == counts.stored == sum(line.ticks.values())
    assert line.delivery.state.twins == 0


def test_server_away_for_300_ticks(es: shipper_eslocal.Cluster, between: Proxy, make: Make) -> None:
    line = make(between.url)
    line.run(3)
    between.down()
    line.run(300)
    assert line.ledger.spooled >= 300 * 2
    assert not line.delivery.state.reachable
    between.up()
    line.drain()
    all_found(es, line)


@pytest.mark.parametrize(
    "fault",
    [
        Sometimes(0.3, status(429)),
        Sometimes(0.3, status(503, retry_after="1")),
        SomeItems(0.3, 429),
        SomeItems(0.3, 503),
        Sometimes(0.3, cut_before_the_answer),
        Sometimes(0.3, cut_amid_the_answer),
        Sometimes(0.3, nonsense),
        Sometimes(0.3, other_json),
    ],
    ids=["429", "503", "429 by item", "503 by item", "cut before", "cut amid", "nonsense", "other json"],
)
def test_a_third_of_the_answers_is_a_fault(es: shipper_eslocal.Cluster, between: Proxy, make: Make, fault: Any) -> None:
    line = make(between.url)
    between.fault = fault
    for _ in range(10):
        line.run(3)
        line.drain()
    assert fault.met >= 3
    all_found(es, line)


def test_answers_of_one_byte_per_second_hold_nothing_up(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make
) -> None:
    """The whole request has timeout_s, however it dribbles."""
    line = make(between.url, elasticsearch={"timeout_s": 1})
    between.fault = Sometimes(1.0, byte_per_second)
    line.tick()
    assert not line.delivery.step()
    assert "the request timed out" in line.delivery.state.trouble
    line.run(3)
    between.fault = passing
    line.drain()
    all_found(es, line)


def test_no_body_over_64_kib(es: shipper_eslocal.Cluster, between: Proxy, make: Make) -> None:
    line = make(between.url)
    between.down()
    line.run(60)
    between.up()
    sizes: list[int] = []
    limit = at_most(64 << 10)

    def measured(request: Request, forward: Forward) -> Any:
        sizes.append(len(request.body))
        return limit(request, forward)

    between.fault = measured
    line.drain()
    assert max(sizes) > 64 << 10
    all_found(es, line)
    assert sum(size > 64 << 10 for size in sizes) < 10  # it is learnt


@pytest.mark.parametrize("block", ["read_only", "read_only_allow_delete", "write"])
def test_an_index_that_is_blocked_holds_its_documents(
    es: shipper_eslocal.Cluster, make: Make, namespace: str, block: str
) -> None:
    """A full disk blocks with read_only_allow_delete; an operator with the others."""
    line = make(es.url)
    line.run(2)
    stream = f"metrics-shipper.disk-{namespace}"
    es.request("PUT", f"/{stream}/_settings", {f"index.blocks.{block}": True})
    before = line.ledger.counts.stored
    line.run(5)
    for _ in range(5):
        line.delivery.step()
    assert line.ledger.counts.stored > before  # the other datasets go on
    assert line.ledger.spooled > 0
    assert line.ledger.counts.rejected == 0
    es.request("PUT", f"/{stream}/_settings", {f"index.blocks.{block}": None})
    line.drain()
    all_found(es, line)


def test_names_that_cannot_be_resolved_for_a_while(
    es: shipper_eslocal.Cluster, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make(es.url.replace("127.0.0.1", "localhost"), elasticsearch={"hosts": (_named(es.url),)})
    real = socket.getaddrinfo
    gone = [True]

    def resolve(name: Any, *args: Any, **named: Any) -> Any:
        if name == "search.example":
            if gone[0]:
                raise socket.gaierror(-3, "Temporary failure in name resolution")
            name = "127.0.0.1"
        return real(name, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    line.run(20)
    assert "cannot resolve the host name" in line.delivery.state.trouble
    gone[0] = False
    line.drain()
    all_found(es, line)


def _named(url: str) -> str:
    return url.replace("127.0.0.1", "search.example")


def test_one_of_two_nodes_away_is_no_outage(es: shipper_eslocal.Cluster, make: Make) -> None:
    with proxy(es.url) as first, proxy(es.url) as second:
        line = make(first.url, elasticsearch={"hosts": (first.url, second.url)})
        line.run(4)
        first.down()
        line.run(20)
        for _ in range(3):
            line.delivery.step()
        assert line.ledger.spooled == 0  # at once, without any pause
        first.up()
        second.down()
        line.run(20)
        line.drain()
        assert line.delivery.state.reachable
        all_found(es, line)


def test_after_retry_after_a_small_question_is_asked(es: shipper_eslocal.Cluster, between: Proxy, make: Make) -> None:
    """An hour is asked for; no bulk request goes out while the small question is refused as well."""
    line = make(between.url)
    questions = [0]

    def busy(request: Request, forward: Forward) -> Any:
        questions[0] += not request.is_bulk
        return status(429, retry_after="3600")(request, forward)

    line.run(1)
    between.fault = busy
    line.run(1)
    assert 4 < (line.delivery._until_due() or 0) <= 5
    asked = between.requests
    line.run(5)
    assert between.requests == asked
    line.delivery._not_before = 0.0  # five seconds later
    line.run(1)
    assert (between.requests, questions[0]) == (asked, 1)
    between.fault = passing
    line.delivery._not_before = 0.0
    line.drain()
    all_found(es, line)


def test_the_date_of_an_answer_shows_the_skew(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    def dated(request: Request, forward: Forward) -> Reply:
        answer = forward(request)
        return Reply(answer.status, answer.body, (("Date", "Mon, 23 Nov 2020 00:00:00 GMT"),))

    fault: Fault = dated
    between.fault = fault
    line = make(between.url)
    line.run(3)
    line.drain()
    assert (line.delivery.state.skew_ms or 0) > 86_400_000
    assert capfd.readouterr().err.count("ahead of the server's") == 1
    all_found(es, line)


def test_a_server_without_templates_gets_nothing(
    namespace: str, make: Make, between: Proxy, es: shipper_eslocal.Cluster
) -> None:
    """As a fresh server answers; a bare bulk would have made streams with guessed mappings."""

    def bare(request: Request, forward: Forward) -> Any:
        return Reply(404, b"{}") if "_index_template" in request.path else forward(request)

    between.fault = bare
    line = make(between.url)
    line.run(5)
    assert between.requests == 0
    assert "run `shipper setup` first" in line.delivery.state.trouble
    between.fault = passing
    line.drain()
    all_found(es, line)
