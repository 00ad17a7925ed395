"""CPU time of a host's tick by step, without cgroups: ``python -m bench.host``.

The steps run one after the other in one process, with ``bench.sink`` as the server: *collect* reads the files and
builds the documents, *spool* writes the segment, *deliver* sends the request and records the response in the ledger,
*status* writes status.json. The figures are medians. To compare two versions, run the command in the folders of both by
turns.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from shipper.agent import loop, status
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import Ticker
from shipper.base import log
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH, Delivery
from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool
from shipper.settings.config import Collect, Config, Elasticsearch, Host

_DATASETS = ("host", "disk", "filesystem", "network", "raid", "sensor", "agent")
_WARM = 5
_PAUSE_S = 0.06  # so that counters move
_STEPS = "--steps"


def steps_us(url: str, directory: str, ticks: int) -> dict[str, float]:
    """Microseconds of each step, with the sink at ``url``."""
    config = Config(
        collect=Collect(period_s=1, datasets=_DATASETS),
        elasticsearch=Elasticsearch(hosts=(url,)),
        host=Host(verify=False),
    )
    root, identity = loop.host(config)
    ledger = Ledger.load(Spool(directory, 1 << 30))
    delivery = Delivery(ledger, client.Link(config, FILTER_PATH), config.bulk, log.Log(journal=False))
    ticker = Ticker(config, root, identity, SelfMetrics(ledger, delivery.state))
    state = status.Status(ledger, delivery.state, 1000)
    took: dict[str, list[float]] = {}

    def timed(step: str, call: Callable[[], Any]) -> Any:
        began_ns = time.process_time_ns()
        result = call()
        took.setdefault(step, []).append((time.process_time_ns() - began_ns) / 1000)
        return result

    def publish(content: dict[str, Any]) -> None:
        ledger.spool.on_disk(lambda: status.write(directory, content))

    def deliver() -> None:
        while delivery.step():
            pass

    ticker.prime()
    start_ms = time.time_ns() // 1_000_000_000 * 1000
    for tick in range(_WARM + ticks):
        if tick == _WARM:
            took.clear()
        time.sleep(_PAUSE_S)
        tick_ms, report = start_ms + tick * 1000, Report(1000)
        entries = timed("collect", lambda: ticker.tick(tick_ms, report))  # noqa: B023 – called at once
        timed("spool", lambda: ledger.put(tick_ms, entries))  # noqa: B023
        state.tick(tick_ms, report)
        timed("deliver", deliver)
        timed("status", lambda: publish(state.now()))
    ledger.spool.close()
    return {step: statistics.median(times) for step, times in took.items()}


def main() -> None:
    if sys.argv[1:2] == [_STEPS]:
        url, directory, ticks = sys.argv[2:5]
        print(json.dumps(steps_us(url, directory, int(ticks))))
        return
    from bench import table  # noqa: PLC0415 – its packages are not on a node
    from bench.bare import command  # noqa: PLC0415

    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sink.stdin
    assert sink.stdout
    url = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as directory:
        line = command(_STEPS, url, directory, sys.argv[1] if sys.argv[1:] else "100", module="bench.host")
        us: dict[str, float] = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
    sink.stdin.close()
    sink.wait()
    table.show("µs CPU per tick of the host", [us | {"all": sum(us.values())}])
    table.line("host", {"us": us})


if __name__ == "__main__":
    main()
