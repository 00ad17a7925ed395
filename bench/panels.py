"""What the dashboards cost Elasticsearch: ``python -m bench.panels --hosts 300 --containers 30 --ticks 360``.

The searches that Grafana's data source makes when a dashboard is opened: one request per panel that asks, six at a
time like a browser, first cold (with emptied caches), then warm. Grafana asks for a panel when it scrolls into view,
so the first screen is measured, the whole board as it opens, and each collapsed row. Every figure is a median.
Loading the documents takes long; ``--cluster NAME`` keeps them for the next run. ``--against REVISION`` measures the
boards of that commit too, by turns with today's.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import shipper_eslocal
from shipper_eslocal import state
from shipper_eslocal.cluster import Spec

from bench import table
from shipper.view.dashboards import ask, grafana
from shipper.view.dashboards.ask import Span
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import Board

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from fleetdocs import Fleet
from fleetload import load
from grafana_target import Page, committed, shares

_HEAP = "1g"
_AT_ONCE = 6  # connections that a browser opens to one server
# A window of 1920 × 1080 less Grafana's own head, and what @grafana/scenes' LazyLoader asks for below the window
_SCREEN = 1080 - 130 + 100
_ROW = 38  # height of a row of Grafana's grid
_CHOSEN = {"host": "node-007", "container": "web-1@node-007"}
_ONE = {"shipper-host", "shipper-container"}
_RUNS = 7
_WARM_UP = 3  # runs before: a new server has not compiled its hot code yet

Requests = Mapping[str, Sequence[bytes]]  # by when they are made: first screen, open, each collapsed row


@dataclass(frozen=True)
class Cost:
    """Milliseconds. ``together``: from the first request to the last response; ``worst``: the slowest request.

    ``cpu``: CPU time of the server, which other programs on the machine hardly change. ``of``: of which commit.
    """

    board: str
    rows: str
    of: str
    requests: int
    cold_together: float
    cold_worst: float
    cold_cpu: float
    warm_together: float
    warm_worst: float
    warm_cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("hosts", 300), ("containers", 30), ("ticks", 360), ("period", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cluster", default="", help="name of a cluster of eslocal to use and to keep")
    parser.add_argument("--board", action="append", default=[], help="only this one, such as overview")
    parser.add_argument("--against", default="", metavar="REVISION", help="a commit whose boards are measured too")
    args = parser.parse_args()
    with _cluster(args.cluster) as cluster:
        if not _documents(cluster, "cgroup"):
            load(list(cluster.urls), Fleet(args.hosts, args.containers, ticks=args.ticks, period_s=args.period))
        when = _range(cluster)
        boards = [one for one in BOARDS if not args.board or one.uid.removeprefix("shipper-") in args.board]
        costs = [asdict(cost) for board in boards for cost in _measured(cluster, board, when, args.against)]
        documents = {dataset: _documents(cluster, dataset) for dataset in ("host", "cgroup")}
    seconds = (when.last_ms - when.first_ms) // 1000
    of = f"{documents['cgroup']:,} cgroup and {documents['host']:,} host documents over {seconds} s"
    table.show(f"Milliseconds until the panels of a dashboard have their answers: {of}", costs)
    table.line("panels", {"documents": documents, "costs": costs})


@contextmanager
def _cluster(name: str) -> Iterator[shipper_eslocal.Cluster]:
    if not name:
        with shipper_eslocal.cluster(heap=_HEAP, tuned=True) as cluster:
            yield cluster
        return
    kept = state.find(name) or state.make(Spec(name, heap=_HEAP, tuned=True))
    kept.start()
    try:
        yield kept
    finally:
        kept.stop()


def _documents(cluster: shipper_eslocal.Cluster, dataset: str) -> int:
    answer = cluster.request("GET", f"/metrics-shipper.{dataset}-*/_count?allow_no_indices=true")
    return int(answer["count"])


def _range(cluster: shipper_eslocal.Cluster) -> Span:
    aggs = {name: {name: {"field": "@timestamp"}} for name in ("min", "max")}
    ends = cluster.request("POST", "/metrics-shipper.host-*/_search", {"size": 0, "aggs": aggs})["aggregations"]
    return ask.span(int(ends["min"]["value"]), int(ends["max"]["value"]))


def _measured(cluster: shipper_eslocal.Cluster, board: Board, when: Span, against: str) -> Iterator[Cost]:
    versions = {"now": _requests(json.loads(grafana.render(board)), when)}
    if against and (before := committed(against, board.uid)):
        versions = {"before": _requests(before, when), **versions}
    for rows in versions["now"]:
        both = {of: made[rows] for of, made in versions.items() if rows in made}
        runs = _by_turns(cluster, both)
        for of, numbers in runs.items():
            medians = [round(statistics.median(column), 1) for column in zip(*numbers, strict=True)]
            yield Cost(board.title, rows, of, len(both[of]), *medians)


def _requests(dashboard: dict[str, Any], when: Span) -> Requests:
    page = Page(dashboard, when, _CHOSEN if dashboard["uid"] in _ONE else {})
    row_of = {
        panel["title"]: row["title"] for row in dashboard["panels"] if row["type"] == "row" for panel in row["panels"]
    }
    rows: dict[str, list[bytes]] = {}
    for panel in page.panels:
        if shares(panel):
            continue
        asked = page.msearch(panel)
        if closed := row_of.get(panel["title"]):
            rows.setdefault(f"row {closed}", []).append(asked)
            continue
        rows.setdefault("open", []).append(asked)
        if panel["gridPos"]["y"] * _ROW < _SCREEN:
            rows.setdefault("first screen", []).append(asked)
    return rows


def _by_turns(
    cluster: shipper_eslocal.Cluster, versions: Mapping[str, Sequence[bytes]]
) -> dict[str, list[tuple[float, ...]]]:
    """The numbers of each run, first cold, then warm."""
    found: dict[str, list[tuple[float, ...]]] = {of: [] for of in versions}
    for _ in range(_WARM_UP + _RUNS):
        for of, bodies in versions.items():
            cluster.request("POST", "/_cache/clear")
            found[of].append((*_asked(cluster, bodies), *_asked(cluster, bodies)))
    return {of: runs[_WARM_UP:] for of, runs in found.items()}


def _asked(cluster: shipper_eslocal.Cluster, bodies: Sequence[bytes]) -> tuple[float, float, float]:
    """Milliseconds until all are answered, those of the slowest, and CPU time of the server."""

    def timed(body: bytes) -> float:
        begin = time.monotonic()
        answer: Any = cluster.request("POST", "/_msearch", body, timeout=120)
        assert not any("error" in response for response in answer["responses"])
        return (time.monotonic() - begin) * 1000

    before, begin = _cpu_ms(cluster), time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        times = list(pool.map(timed, bodies))
    return (time.monotonic() - begin) * 1000, max(times), _cpu_ms(cluster) - before


def _cpu_ms(cluster: shipper_eslocal.Cluster) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in cluster.pids) * 1000


if __name__ == "__main__":
    main()
