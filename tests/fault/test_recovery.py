"""How soon delivery is back after a fault, and how it behaves in one: measured with the agent's own thread."""

import time
from collections.abc import Callable

import pytest
import shipper_eslocal
from fault.line import Line, balanced
from fault.proxy import Fault, Forward, Proxy, Reply, Request, byte_per_second, nonsense, passing, status
from fault.test_delivery_faults import all_found

Make = Callable[..., Line]
FAULT_S = 8.0
BACK_S = 5.0
SLACK_S = 15.0  # for a busy machine; what is measured is printed


def no_answer(request: Request, forward: Forward) -> Reply:
    time.sleep(3)
    return forward(request)


def only_bulk(fault: Fault) -> Fault:
    def answer(request: Request, forward: Forward) -> object:
        return fault(request, forward) if request.is_bulk else forward(request)

    return answer  # type: ignore[return-value]


FAULTS: dict[str, Fault | None] = {
    "connection refused": None,
    "429": status(429),
    "503 with Retry-After: 3600": status(503, retry_after="3600"),
    "413 for every size": only_bulk(status(413)),
    "401": status(401),
    "HTML": nonsense,
    "a byte per second": byte_per_second,
    "500 for bulk alone": only_bulk(status(500)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_delivery_is_back_within_five_seconds(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    line = make(between.url, elasticsearch={"timeout_s": 2}, bulk={"backoff_max_s": 5})
    line.delivery.start()
    fault = FAULTS[name]
    if fault is None:
        between.down()
    else:
        between.fault = fault
    asked = between.requests
    ticks(line, FAULT_S)
    assert line.ledger.counts.stored == 0
    assert between.requests - asked <= 5 * FAULT_S
    if fault is None:
        between.up()
    between.fault = passing
    began = time.monotonic()
    while line.ledger.spooled:
        assert time.monotonic() - began < BACK_S + SLACK_S
        time.sleep(0.05)
    print(f"{name}: back after {time.monotonic() - began:.1f} s")
    line.delivery.stop(5)
    balanced(line.ledger)
    all_found(es, line)


def ticks(line: Line, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line.tick()
        line.delivery.wake()
        time.sleep(0.5)
