"""Loads a simulated fleet into a real Elasticsearch, set up as ``shipper setup`` does it.

``python tests/fleetload.py URL --hosts 300 --containers 30 --ticks 360 --period 10`` prints documents per second.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, Final

from fleetdocs import Fleet

from shipper.base.errors import Unavailable
from shipper.deliver import client
from shipper.server import setup
from shipper.settings.config import Bulk, Config, Elasticsearch, Index

_FILTER: Final = "errors,items.*.error,items.*.status"
_WAITS_S: Final = (0.5, 1, 2, 4, 8, 8, 8)
_HOSTS_AT_ONCE: Final = 5  # of one worker: what it keeps in memory


@dataclass(frozen=True)
class Loaded:
    documents: int
    bytes: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.documents / self.seconds


def set_up(urls: list[str], namespace: str = "default", *, replicas: int = 0) -> None:
    """Templates as the product installs them."""
    config = _config(urls, replicas, namespace)
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)


def load(urls: list[str], fleet: Fleet, *, workers: int = 2) -> Loaded:
    """Set up, create every document, refresh. Raises RuntimeError for the first document that is not stored."""
    set_up(urls, fleet.namespace)
    begin = time.monotonic()
    groups = [range(at, min(at + _HOSTS_AT_ONCE, fleet.hosts)) for at in range(0, fleet.hosts, _HOSTS_AT_ONCE)]
    if workers == 1 or len(groups) == 1:
        sent = [_send(urls, fleet, hosts) for hosts in groups]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            sent = list(pool.map(partial(_send, urls, fleet), groups))
    with client.connect(_config(urls, 0)) as connection:
        client.call(connection, "POST", f"/metrics-shipper.*-{fleet.namespace}/_refresh")
    documents, size = (sum(column) for column in zip(*sent, strict=True))
    return Loaded(documents, size, time.monotonic() - begin)


def _config(urls: list[str], replicas: int, namespace: str = "default") -> Config:
    wanted = Elasticsearch(hosts=tuple(urls), timeout_s=60)
    return Config(elasticsearch=wanted, index=Index(replicas=replicas, namespace=namespace), bulk=Bulk(compression=0))


def _send(urls: list[str], fleet: Fleet, hosts: range) -> tuple[int, int]:
    documents = size = 0
    with client.connect(_config(urls, 0)) as connection:
        for body in fleet.bulk(hosts):
            answer = _patiently(connection, body.data)
            for problem in _problems(answer):
                raise RuntimeError(problem)
            documents, size = documents + body.documents, size + len(body.data)
    return documents, size


def _patiently(connection: Any, data: bytes) -> dict[str, object]:
    """A small server says 429 while its heap is full of what it was just sent."""
    for wait_s in _WAITS_S:
        with contextlib.suppress(Unavailable):
            answer: dict[str, object] = client.bulk(connection, data, filter_path=_FILTER)
            return answer
        time.sleep(wait_s)
    raise RuntimeError("the server stays full")


def _problems(answer: dict[str, object]) -> Iterator[str]:
    items = answer.get("items")
    for item in items if answer.get("errors") and isinstance(items, list) else ():
        if "error" in item["create"]:
            yield f"{item['create']['status']}: {item['create']['error']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="+")
    for name, default in (("hosts", 3), ("containers", 8), ("ticks", 60), ("period", 60), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    fleet = Fleet(hosts=args.hosts, containers=args.containers, ticks=args.ticks, period_s=args.period)
    done = load(args.url, fleet, workers=args.workers)
    print(f"{done.documents} documents, {done.bytes / done.documents:.0f} bytes each, {done.per_s:.0f} per second")


if __name__ == "__main__":
    main()
