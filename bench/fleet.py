"""A fleet's load on a real Elasticsearch: ``python -m bench.fleet --hosts 1,10,30,100,300,1000 --nodes 1``.

Each simulated host sends the documents of each tick (made by the product's own code from captured ones, compressed like
the agent's) as one bulk request, at the host's own moment of the period (``loop.phase_s``). Meanwhile the searches of
every dashboard run, one after the other. A level is *held* if documents are acknowledged at the rate at which they are
due; at the first level that is not held this server saturates. Server, senders and searches share the machine; their
CPU times are reported separately.
"""

import argparse
import gzip
import itertools
import math
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import shipper_eslocal

from bench import table
from bench.index import cpu_s
from shipper.agent.loop import phase_s
from shipper.agent.tick import HostIdentity
from shipper.base.errors import ServerError
from shipper.deliver import client
from shipper.deliver.connection_errors import explain
from shipper.server import setup
from shipper.settings.config import Bulk, Collect, Config, Elasticsearch, Index
from shipper.view.dashboards import ask
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import View

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from fleetdocs import Fleet

_PERIOD_S = 10
_SENDERS = 32
_AT_ONCE = 20  # hosts per task of the pool
_HELD = 0.97
_HEADERS = {"accept": "application/json", "content-type": "application/x-ndjson", "content-encoding": "gzip"}
_BULK = "/_bulk?filter_path=errors,items.*.error"


@dataclass(frozen=True)
class Body:
    """One host's documents of one tick. ``due_s``: seconds since the start of the level."""

    due_s: float
    documents: int
    data: bytes


@dataclass
class Level:
    """Result for one number of hosts. Times in ms, CPU in cores."""

    hosts: int
    nodes: int
    due_per_s: float
    held_per_s: float
    held: bool
    bulk_ms: float
    bulk_p99_ms: float
    refused: int
    server_cores: float
    bench_cores: float
    wire_bytes: float
    boards_ms: dict[str, float]
    slowest_ms: float


def bodies(fleet: Fleet, hosts: range) -> list[Body]:
    """The bulk bodies of some hosts, one per host and tick."""
    made = []
    for host in hosts:
        name = fleet.host_name(host)
        phase = phase_s(HostIdentity(name, name, {}), Config(collect=Collect(period_s=_PERIOD_S)))
        for tick, documents in itertools.groupby(fleet.documents([host]), key=lambda document: document.tick):
            parts = [
                b'{"create":{"_index":"%b"}}\n%b\n' % (document.index.encode(), document.line) for document in documents
            ]
            data = gzip.compress(b"".join(parts), Bulk().compression, mtime=0)
            made.append(Body(tick * _PERIOD_S + phase, len(parts), data))
    return made


def made(fleet: Fleet, pool: ProcessPoolExecutor) -> list[Body]:
    """All bodies of the level in the order in which they are due."""
    groups = [range(at, min(at + _AT_ONCE, fleet.hosts)) for at in range(0, fleet.hosts, _AT_ONCE)]
    unsorted = itertools.chain.from_iterable(pool.map(partial(bodies, fleet), groups))
    return sorted(unsorted, key=lambda body: body.due_s)


class Load:
    """Sends each body when it is due, or at once if it is late, from several threads."""

    def __init__(self, config: Config, todo: Sequence[Body]) -> None:
        self._config = config
        self._todo = iter(todo)
        self._lock = threading.Lock()
        self.took_ms: list[float] = []
        self.documents = self.refused = 0
        self.ended = 0.0

    def run(self) -> float:
        """Send all bodies; seconds until the last response."""
        began = time.monotonic()
        with ThreadPoolExecutor(_SENDERS) as pool:
            for future in [pool.submit(self._send, began) for _ in range(_SENDERS)]:
                future.result()
        return time.monotonic() - began

    def _send(self, began: float) -> None:
        with client.connect(self._config) as connection:
            while body := self._next():
                time.sleep(max(began + body.due_s - time.monotonic(), 0.0))
                at = time.monotonic()
                stored = self._put(connection, body)
                with self._lock:
                    self.took_ms.append((time.monotonic() - at) * 1000)
                    self.documents += body.documents if stored else 0
                    self.refused += not stored

    def _next(self) -> Body | None:
        with self._lock:
            return next(self._todo, None)

    def _put(self, connection: client.Connection, body: Body) -> bool:
        try:
            answer = connection.perform_request("POST", _BULK, headers=_HEADERS, body=body.data)
        except Exception as error:
            if explain(error).startswith("400"):
                raise
            return False
        if answer.body.get("errors"):
            raise SystemExit(f"rejected: {str(answer.body)[:400]}")
        return True


def dashboards(fleet: Fleet) -> dict[str, list[dict[str, Any]]]:
    """The report's searches for each board, over the fleet's time range."""
    when = ask.span(fleet.tick_ms(0), fleet.tick_ms(fleet.ticks - 1), least_s=_PERIOD_S)
    return {
        board.uid: [ask.body(panel, when) for panel in board.panels if panel.view is not View.TEXT] for board in BOARDS
    }


class Searches:
    """Runs every dashboard's searches repeatedly until the block ends."""

    def __init__(self, config: Config, boards: Mapping[str, list[dict[str, Any]]], namespace: str) -> None:
        self._config = config
        self._boards = boards
        self._path = f"/metrics-shipper.*-{namespace}/_search"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.took_ms: dict[str, list[float]] = defaultdict(list)
        self.slowest_ms = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        with client.connect(self._config) as connection:
            for uid in itertools.cycle(self._boards):
                if self._done.wait(0.5):
                    return
                self.took_ms[uid].append(sum(self._ask(connection, body) for body in self._boards[uid]))

    def _ask(self, connection: client.Connection, body: dict[str, Any]) -> float:
        at = time.monotonic()
        try:
            client.call(connection, "POST", self._path, body)
        except ServerError as error:
            if error.status == 400:
                raise
        took = (time.monotonic() - at) * 1000
        self.slowest_ms = max(self.slowest_ms, took)
        return took


def level(cluster: shipper_eslocal.Cluster, fleet: Fleet, pool: ProcessPoolExecutor) -> Level:
    """Measure one number of hosts."""
    todo = made(fleet, pool)
    elasticsearch = Elasticsearch(hosts=tuple(cluster.urls), timeout_s=30)
    config = Config(elasticsearch=elasticsearch)
    load = Load(config, todo)
    server, own = cpu_s(cluster), _own_cpu_s()
    with Searches(config, dashboards(fleet), fleet.namespace) as searches:
        seconds = load.run()
    server, own = cpu_s(cluster) - server, _own_cpu_s() - own
    due_s = fleet.ticks * _PERIOD_S
    due = sum(body.documents for body in todo) / due_s
    took = sorted(load.took_ms)
    held = load.documents / max(seconds, due_s)
    return Level(
        fleet.hosts,
        len(cluster.nodes),
        due,
        held,
        held >= _HELD * due,
        statistics.median(took),
        took[math.ceil(len(took) * 0.99) - 1],
        load.refused,
        server / seconds,
        own / seconds,
        sum(len(body.data) for body in todo) / sum(body.documents for body in todo),
        {uid: statistics.median(times) for uid, times in searches.took_ms.items()},
        searches.slowest_ms,
    )


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hosts", default="1,10,30,100,300,1000", help="levels (%(default)s); stops at the first that is not held"
    )
    parser.add_argument("--containers", type=int, default=30, help="containers of each host (%(default)s)")
    parser.add_argument("--ticks", type=int, default=6, help="periods of 10 s per level (%(default)s)")
    parser.add_argument(
        "--nodes", type=int, default=1, help="nodes of the cluster (%(default)s); one replica with more than 1"
    )
    parser.add_argument("--heap", default="1g", help="Java heap of each node (%(default)s)")
    args = parser.parse_args(arguments)
    levels: list[Level] = []
    workers = ProcessPoolExecutor(2, get_context("spawn"))
    with workers as pool, shipper_eslocal.cluster(nodes=args.nodes, heap=args.heap, tuned=True) as cluster:
        for number in [0, *map(int, args.hosts.split(","))]:  # the first warms up
            index = Index(replicas=0 if args.nodes == 1 else 1, namespace=f"fleet{number}")
            with client.connect(Config(elasticsearch=Elasticsearch(hosts=(cluster.url,)), index=index)) as connection:
                setup.install(connection, Config(index=index), lambda _line: None)
            fleet = Fleet(
                number or 10, args.containers, ticks=args.ticks, period_s=_PERIOD_S, namespace=index.namespace
            )
            result = level(cluster, fleet, pool)
            if not number:
                continue
            levels.append(result)
            print(
                f"{result.hosts} hosts: {result.held_per_s:.0f} of {result.due_per_s:.0f} documents/s", file=sys.stderr
            )
            if not result.held:
                break
    _print(levels)


def _print(levels: Sequence[Level]) -> None:
    rows = [{name: value for name, value in asdict(result).items() if name != "boards_ms"} for result in levels]
    table.show("load", rows)
    boards = [
        {"hosts": result.hosts, **{uid: f"{ms:.0f}" for uid, ms in result.boards_ms.items()}} for result in levels
    ]
    table.show("all searches of a dashboard, one after the other, ms, median", boards)
    table.line("fleet", {"levels": [asdict(result) for result in levels]})


if __name__ == "__main__":
    main()
