"""StatsD: what real clients send becomes the right numbers, and what the kernel or a limit drops is counted."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import statsd as pure
from datadog.dogstatsd.base import DogStatsd

from shipper.collect.metric.samples import Sample
from shipper.collect.metric.statsd import Aggregator, Server
from shipper.kernel.source import Root
from shipper.settings.sources import Statsd

ID = "7f3d" * 16


def total(*lines: str, most: int = 100) -> dict[str, float]:
    """The numbers of one tick by name."""
    return {one.name: one.value for one in aggregated(*lines, most=most).samples(1)}


def aggregated(*lines: str, most: int = 100) -> Aggregator:
    aggregator = Aggregator(most, 300)
    for line in lines:
        aggregator.take(line.encode())
    return aggregator


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(Statsd(name="s", listen="127.0.0.1:0", socket="/s.sock"), Root(str(tmp_path)))
    one.read()
    yield one
    one.close()


def until(server: Server, received: int) -> dict[str, list[Sample]]:
    """The samples by name, when so many datagrams have come."""
    end = time.monotonic() + 60
    while server._aggregator.received < received and time.monotonic() < end:
        time.sleep(0.01)
    found: dict[str, list[Sample]] = {}
    for one in server.read().samples:
        found.setdefault(one.name, []).append(one)
    return found


def test_a_plain_client(server: Server) -> None:
    """The package statsd."""
    client = pure.StatsClient(*server.address, prefix="app")
    client.incr("jobs")
    client.incr("jobs", 4)
    client.decr("jobs", 2)
    client.gauge("load", 2.5)
    client.gauge("load", -1, delta=True)
    for milliseconds in range(1, 101):
        client.timing("wait", milliseconds)
    client.set("users", "a")
    client.set("users", "b")
    client.set("users", "a")
    found = {name: values[0].value for name, values in until(server, 108).items()}
    assert found == {
        "app.jobs": 3,
        "app.load": 1.5,
        "app.users": 2,
        "app.wait.count": 100,
        "app.wait.sum": 5050,
        **{
            f"app.wait.{name}": value for name, value in {"min": 1, "max": 100, "p50": 50, "p95": 95, "p99": 99}.items()
        },
    }


def test_a_client_of_dogstatsd_on_a_unix_socket(server: Server, tmp_path: Path) -> None:
    """The package datadog: labels, and several values in one line."""
    client = DogStatsd(
        socket_path=str(tmp_path / "s.sock"), constant_tags=["env:prod"], disable_telemetry=True, disable_buffering=True
    )
    client.increment("jobs", 3, tags=["queue:a", "fast"])
    client.histogram("size", 10)
    client.distribution("size2", 20)
    client.event("title", "text")
    client.service_check("name", 0)
    found = until(server, 5)
    assert found["jobs"] == [Sample("jobs", (("env", "prod"), ("fast", "true"), ("queue", "a")), 3.0, counter=True)]
    assert (found["size.p99"][0].value, found["size2.sum"][0].value) == (10, 20)
    assert {name.partition(".")[0] for name in found} == {"jobs", "size", "size2"}
    assert server.read().values["metricset.damaged.count"] == 0


def test_a_restart_takes_over_the_unix_socket(server: Server, tmp_path: Path) -> None:
    again = Server(Statsd(name="s", listen="", socket="/s.sock"), Root(str(tmp_path)))
    again.read()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"a:1|c", str(tmp_path / "s.sock"))
    assert until(again, 1)["a"][0].value == 1
    again.close()


def test_what_the_kernel_drops_is_counted_as_the_kernel_does(server: Server) -> None:
    host, port = server.address
    with server._lock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:  # as if the agent had no time
        for _ in range(30_000):
            client.sendto(b"a:1|c" + b"x" * 400, (host, port))
        kernel = drops(port)
        assert kernel > 0
    until(server, 30_000 - kernel)
    values = server.read().values
    assert values["metricset.lost.count"] == kernel
    assert values["metricset.received.count"] + kernel == 30_000


def drops(port: int) -> int:
    """The last column of the socket in proc/net/udp."""
    (line,) = [one.split() for one in Path("/proc/net/udp").read_text().splitlines() if f":{port:04X} " in one]
    return int(line[-1])


def test_many_threads_lose_nothing(server: Server) -> None:
    def send() -> None:
        client = pure.StatsClient(*server.address)
        for _ in range(200):
            client.incr("jobs")

    threads = [threading.Thread(target=send) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert until(server, 800)["jobs"][0].value == 800


def test_rates_of_sampling_and_several_values() -> None:
    assert total("a:1:2:3|c|@0.5", "b:4|ms|@0.1") == {
        "a": 12,
        "b.count": 10,
        "b.sum": 40,
        **{f"b.{name}": 4 for name in ("min", "max", "p50", "p95", "p99")},
    }


def test_the_container_of_the_sender_makes_a_series_of_its_own() -> None:
    found = aggregated(f"a:1|c|c:{ID}", f"a:2|c|#x:y|c:ci-{ID}", "a:4|c").samples(1)
    assert {(one.unit, one.labels, one.value) for one in found} == {(ID, (), 1), (ID, (("x", "y"),), 2), ("", (), 4)}


def test_a_counter_goes_on_and_a_tick_of_a_timer_ends() -> None:
    aggregator = aggregated("a:1|c", "t:5|ms", "s:x|s")
    aggregator.samples(1)
    aggregator.take(b"a:2|c")
    assert {one.name: one.value for one in aggregator.samples(2)} == {"a": 3, "t.count": 1, "t.sum": 5, "s": 0}


def test_what_no_longer_comes_is_forgotten() -> None:
    aggregator = aggregated()
    aggregator.samples(10**9)
    aggregator.take(b"old:1|g")
    aggregator.samples(10**9 + 1)
    aggregator.samples(302 * 10**9)
    aggregator.take(b"new:1|g")
    aggregator.samples(303 * 10**9)
    assert [one.name for one in aggregator.samples(304 * 10**9)] == ["new"]


DAMAGED = (
    "a",
    "a:1",
    "a:1|x",
    ":1|c",
    "a:x|c",
    "a:|c",
    "a:nan|g",
    "a:inf|c",
    "a:1|c|@0",
    "a:1|c|@x",
    "a:1|c|#" + "x" * 2000,
)


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_counted_and_costs_itself(line: str) -> None:
    aggregator = aggregated(f"{line}\nb:1|c")
    assert aggregator.damaged == 1
    assert {one.name: one.value for one in aggregator.samples(1)}["b"] == 1


def test_metrics_beyond_the_limit_are_counted() -> None:
    aggregator = aggregated(*(f"a:1|c|#user:{i}" for i in range(5)), "a:1|c|#user:0", most=2)
    assert aggregator.dropped == 3
    assert [one.value for one in aggregator.samples(1)] == [2, 1]


def flood(aggregator: Aggregator, count: int) -> Any:
    for number in range(count):
        aggregator.take(b"a:1|ms|#user:user-%012d" % number)


def test_a_flood_of_labels_takes_little_memory() -> None:
    import tracemalloc

    aggregator = Aggregator(2000, 300)
    tracemalloc.start()
    try:
        flood(aggregator, 20_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert aggregator.dropped == 18_000
    assert peak < 4 << 20
