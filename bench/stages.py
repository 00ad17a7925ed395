"""CPU time of a tick by stage, in this process: ``python -m bench.stages TICKS FILE``; prints µs per tick as JSON.

Each figure is what a stage adds to the previous one, as the median over the ticks:

- ``read``: read the files that the cgroup collector reads at this tick, as the collector does, and discard the text;
- ``parse``: the rest of the collector's work: walk, parsing, values; ``document``: rates, derived values, text;
- ``host``: collecting and documents of all other datasets;
- ``spool``: write to disk with fsync; ``send``: send to ``bench.sink`` and record the response in the ledger.

FILE receives the paths of the cgroup files, for ``bench/floor.c``.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from shipper.agent import loop
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import Ticker
from shipper.base import log
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH, Delivery
from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool
from shipper.kernel.source import Files
from shipper.settings.config import Collect, Config, Elasticsearch, Host

_SECOND_MS = 1000
_PAUSE_S = 0.25  # so that counters move
_UNTIL_HELD_S = 6  # until the values of idle cgroups are held


def main() -> None:
    ticks, listing = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as directory:
        stages_us = _Stages(directory).run(ticks, listing)
    print(json.dumps(stages_us))


class _Stages:
    def __init__(self, directory: str) -> None:
        self._sink = subprocess.Popen(
            [sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._sink.stdout
        url = f"http://127.0.0.1:{self._sink.stdout.readline().strip()}"
        config = Config(collect=Collect(period_s=1), elasticsearch=Elasticsearch(hosts=(url,)), host=Host(verify=False))
        self._root, identity = loop.host(config)
        collect, agent = config.collect, SelfMetrics(None, None)
        others = tuple(name for name in collect.datasets if name != "cgroup")
        self._cgroups = Ticker(Config(collect=Collect(datasets=("cgroup",))), self._root, identity, agent)
        self._others = Ticker(Config(collect=Collect(period_s=1, datasets=others)), self._root, identity, agent)
        # The same collector as in the ticks: another one would open further descriptors
        self._cgroups.prime()
        started = self._cgroups._jobs[0].collect  # noqa: SLF001
        assert started
        self._collect: Callable[[], Iterable[Any]] = started
        self._ledger = Ledger.load(Spool(directory, 1 << 30))
        self._delivery = Delivery(self._ledger, client.Link(config, FILTER_PATH), config.bulk, log.Log(journal=False))

    def run(self, ticks: int, listing: str) -> dict[str, float]:
        took: dict[str, list[float]] = {}

        def timed(stage: str, call: Callable[[], Any]) -> Any:
            began = time.process_time_ns()
            result = call()
            took.setdefault(stage, []).append((time.process_time_ns() - began) / 1000)
            return result

        for _ in range(_UNTIL_HELD_S):
            time.sleep(1)
            for _ in self._collect():
                pass
        opened = [cgroup.files for cgroup in self._collect.__self__._known.values()]  # type: ignore[attr-defined]  # noqa: SLF001
        readable = [(one._files, one.numbers()) for one in opened]  # noqa: SLF001
        with open(listing, "w", encoding="utf-8") as out:
            out.writelines(f"{self._root.absolute(files._path(at))}\n" for files, ats in readable for at in ats)  # noqa: SLF001
        self._cgroups.prime()
        self._others.prime()
        for i in range(ticks):
            time.sleep(_PAUSE_S)
            tick_ms = (time.time_ns() // 1_000_000_000 + i) * _SECOND_MS
            timed("read", partial(_read, readable))
            timed("collected", lambda: sum(1 for _ in self._collect()))
            entries = timed("made", partial(self._cgroups.tick, tick_ms, Report(_SECOND_MS)))
            entries += timed("host", partial(self._others.tick, tick_ms, Report(_SECOND_MS)))
            timed("spool", partial(self._ledger.put, tick_ms, entries))
            timed("send", self._deliver)
        assert self._sink.stdin
        self._sink.stdin.close()
        self._sink.wait()
        us = {stage: statistics.median(times) for stage, times in took.items()}
        parse, document = us["collected"] - us["read"], us["made"] - us["collected"]
        return {"read": us["read"], "parse": parse, "document": document} | {
            stage: us[stage] for stage in ("host", "spool", "send")
        }

    def _deliver(self) -> None:
        while self._delivery.step():
            pass


def _read(readable: list[tuple[Files, list[int]]]) -> None:
    for files, ats in readable:
        for at in ats:
            try:
                files.read(at)
            except OSError:
                continue


if __name__ == "__main__":
    main()
