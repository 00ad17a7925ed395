"""Loads a simulated fleet into a real Elasticsearch, by templates as ``shipper setup`` installs them.

``python tests/support/fleetload.py URL --hosts 300 --ticks 360 --period 10`` prints documents per second.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any, Final, Protocol

from fleetdocs import Document, Fleet
from namespaces import prepare

from shipper.base.errors import Unavailable
from shipper.deliver import client
from shipper.server import setup
from shipper.settings.config import Bulk, Config, Elasticsearch, Index

_FILTER: Final = "errors,items.*.error,items.*.status"
_WAITS_S: Final = (0.5, 1, 2, 4, 8, 8, 8)
_SHARD_S: Final = 60  # a busy machine takes long to make a stream
_HOSTS_AT_ONCE: Final = 5  # of one worker: what it keeps in memory


@dataclass(frozen=True)
class Loaded:
    """``notes``: what the notebooks wrote down, in the order of the hosts."""

    documents: int
    bytes: int
    seconds: float
    notes: list[Any] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return self.documents / self.seconds


class Notebook(Protocol):
    """Sees each document that a worker sends."""

    def see(self, document: Document, time_ms: int) -> None: ...

    def notes(self) -> Any: ...


def set_up(urls: list[str], namespace: str = "default", *, replicas: int = 0) -> None:
    """Templates as the product installs them."""
    config = _config(urls, replicas, namespace)
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)


def load(urls: list[str], fleet: Fleet, *, workers: int = 2, notebook: Callable[[], Notebook] | None = None) -> Loaded:
    """Prepare, create every document, refresh. Raises RuntimeError for the first document that is not stored."""
    with client.connect(_config(urls, 0)) as connection:
        prepare(connection)
    begin = time.monotonic()
    at_once = min(_HOSTS_AT_ONCE, -(-fleet.hosts // workers))
    groups = [range(at, min(at + at_once, fleet.hosts)) for at in range(0, fleet.hosts, at_once)]
    if workers == 1 or len(groups) == 1:
        sent = [_send(urls, fleet, notebook, hosts) for hosts in groups]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            sent = list(pool.map(partial(_send, urls, fleet, notebook), groups))
    with client.connect(_config(urls, 0)) as connection:
        client.call(connection, "POST", f"/metrics-shipper.*-{fleet.namespace}/_refresh")
    documents, sizes, notes = zip(*sent, strict=True)
    return Loaded(sum(documents), sum(sizes), time.monotonic() - begin, list(notes))


def _config(urls: list[str], replicas: int, namespace: str = "default") -> Config:
    wanted = Elasticsearch(hosts=tuple(urls), timeout_s=2 * _SHARD_S)
    return Config(elasticsearch=wanted, index=Index(replicas=replicas, namespace=namespace), bulk=Bulk(compression=0))


def _send(urls: list[str], fleet: Fleet, notebook: Callable[[], Notebook] | None, hosts: range) -> tuple[int, int, Any]:
    documents = size = 0
    book = notebook() if notebook else None
    with client.connect(_config(urls, 0)) as connection:
        for body in fleet.bulk(hosts, seen=book.see if book else None):
            answer = _patiently(connection, body.data)
            for problem in _problems(answer):
                raise RuntimeError(problem)
            documents, size = documents + body.documents, size + len(body.data)
    return documents, size, book.notes() if book else None


def _patiently(connection: Any, data: bytes) -> dict[str, object]:
    """A small server says 429 while its heap is full of what it was just sent."""
    for wait_s in _WAITS_S:
        with contextlib.suppress(Unavailable):
            answer: dict[str, object] = client.bulk(connection, data, _SHARD_S, filter_path=_FILTER)
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
