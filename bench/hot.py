"""The hot path on a captured host, for ``bench.instructions``: ``python -m bench.hot HOST TICKS DIRECTORY``.

Collect cgroups, make documents, spool them, build and compress the bulk body, record the response in the ledger; the
response comes from memory. Prints documents and bytes of TICKS ticks as JSON. With a library made from ``counting.c``
as a further argument, valgrind counts only those ticks.
"""

import ctypes
import gc
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from moments import HOSTS

from bench.replayed import ReplayedRoot
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import HostIdentity, Ticker
from shipper.base.log import Log
from shipper.deliver.bulk import Delivery
from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool
from shipper.settings.config import Bulk, Collect, Config

_WARM = 3  # ticks until all templates and layouts are cached
_STORED = b'{"create":{"status":201}}'


class Counts:
    """A server that stores everything; counts what it gets."""

    def __init__(self, level: int) -> None:
        self.documents = self.bytes = self.wire_bytes = 0
        self._level = level

    def __call__(self, body: bytes, _shard_s: float) -> Any:
        """The answer to a bulk body."""
        documents = body.count(b"\n") // 2
        self.documents += documents
        self.bytes += len(body)
        self.wire_bytes += len(gzip.compress(body, self._level, mtime=0))
        return json.loads(b'{"errors":false,"items":[' + b",".join([_STORED] * documents) + b"]}")


class Hot:
    """Ticks of the cgroup dataset on the captured ``host``, each delivered."""

    def __init__(self, host: str, directory: str) -> None:
        collect = Collect(datasets=("cgroup",), deadline_s=3600)  # valgrind is slow
        self._root = ReplayedRoot(HOSTS / host, Path(directory))
        self._ticker = Ticker(
            Config(collect=collect), self._root, HostIdentity("host-1", "0" * 32, {}), SelfMetrics(None, None)
        )
        self._ledger = Ledger.load(Spool(f"{directory}/spool", 1 << 30))
        self.counts = Counts(Bulk().compression)
        self._delivery = Delivery(self._ledger, self.counts, Bulk(), Log(journal=False))
        self._tick_ms = 1_763_918_400_000
        self._ticker.prime()

    def tick(self) -> None:
        """Collect, spool and deliver one tick."""
        self._root.advance()
        self._tick_ms += 10_000
        self._ledger.put(self._tick_ms, self._ticker.tick(self._tick_ms, Report(10_000)))
        while self._delivery.step():
            pass


def main() -> None:
    host, ticks, directory, *library = sys.argv[1:]
    valgrind = ctypes.CDLL(library[0]) if library else None
    hot = Hot(host, directory)
    for _ in range(_WARM):
        hot.tick()
    gc.collect()
    gc.disable()
    hot.counts.documents = hot.counts.bytes = hot.counts.wire_bytes = 0
    if valgrind:
        valgrind.counting_start()
    for _ in range(int(ticks)):
        hot.tick()
    if valgrind:
        valgrind.counting_stop()
    print(json.dumps({name: getattr(hot.counts, name) for name in ("documents", "bytes", "wire_bytes")}))


if __name__ == "__main__":
    main()
