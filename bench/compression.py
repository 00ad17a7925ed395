"""What compressing a request costs, and to what size, by zlib and by isal: ``python -m bench.compression``.

*This host* is what a tick collects here, most of it from idle cgroups; *fleet* is a simulated host with 100 busy
containers, made by the product's code from captured ones.
"""

import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from isal import isal_zlib

from bench import table
from shipper.agent import loop
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import Ticker
from shipper.deliver.segment import Entry, body_of
from shipper.settings.config import Collect, Config, Host

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from fleetdocs import Fleet

_TICKS = 5
_ROUNDS = 5
_PAUSE_S = 0.5  # so that counters move
_GZIP = 31
_WAYS: dict[str, Callable[[bytes], bytes]] = {
    **{f"zlib, level {level}": partial(zlib.compress, level=level, wbits=_GZIP) for level in (1, 3, 6)},
    "isal, level 1": partial(isal_zlib.compress, level=1, wbits=_GZIP),
}


def of_this_host() -> list[list[Entry]]:
    """The documents of a few ticks."""
    config = Config(collect=Collect(period_s=1), host=Host(verify=False))
    root, identity = loop.host(config)
    ticker = Ticker(config, root, identity, SelfMetrics(None, None))
    ticker.prime()
    ticks = []
    for tick in range(_TICKS):
        time.sleep(_PAUSE_S)
        ticks.append(ticker.tick((time.time_ns() // 1_000_000_000 + tick) * 1000, Report(1000)))
    return ticks


def of_a_fleet() -> list[list[Entry]]:
    """The same of one simulated host; the first tick has no rates."""
    ticks: dict[int, list[Entry]] = defaultdict(list)
    for one in Fleet(hosts=1, containers=100, ticks=_TICKS + 1, period_s=10).documents():
        ticks[one.tick].append(Entry(b'{"create":{"_index":"%b"}}' % one.index.encode(), one.line))
    return list(ticks.values())[1:]


def measure(documents: str, ticks: list[list[Entry]]) -> list[dict[str, Any]]:
    """A row for each way to compress the ``ticks``; the fastest of a few rounds."""
    bodies, number = [body_of(entries) for entries in ticks], sum(map(len, ticks))
    rows = []
    for way, compress in _WAYS.items():
        times_ns = []
        for _ in range(_ROUNDS):
            began_ns = time.process_time_ns()
            size = sum(len(compress(body)) for body in bodies)
            times_ns.append(time.process_time_ns() - began_ns)
        us = min(times_ns) / 1000 / number
        rows.append({"documents": documents, "by": way, "us per document": us, "bytes per document": size / number})
    return rows


def main() -> None:
    rows = measure("this host", of_this_host()) + measure("fleet", of_a_fleet())
    table.show("gzip of bulk requests", rows)
    table.line("compression", {"rows": rows})


if __name__ == "__main__":
    main()
