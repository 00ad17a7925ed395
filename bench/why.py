"""What ``shipper why`` costs: ``python -m bench.why --hosts 300 --containers 30``.

The command runs as a process of its own against a server with the documents of a fleet: every 10 s in the newest
``--minutes``, every half an hour in the 24 hours before, because 24 hours every 10 s are 100 million documents.
``quiet``: a host of which nothing is short. ``troubled``: a host whose CPU is short, so that users, changes and peers
are asked for too. ``container``: the container that uses the CPU.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import shipper_eslocal

from bench import table
from bench.alerts import measured
from bench.index import cpu_s

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
import ailing
from ailing import Ailing
from fleetload import load

_RUNS = 5
_PERIOD_S, _OLD_PERIOD_S = 10, 1800
_DAY_S = 86_400
_STATES = {"quiet": "node-000", "troubled": "node-001", "container": "web-1@node-001"}


@dataclass(frozen=True)
class Cost:
    """Medians. Seconds of the command and of the server's CPU, and the command's largest resident size in MiB."""

    state: str
    searches: int
    seconds: float
    server_cpu_s: float
    resident_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("hosts", 300), ("containers", 30), ("minutes", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    ticks = args.minutes * 60 // _PERIOD_S
    faults = {1: ailing.cpu_hog}
    new = Ailing(args.hosts, args.containers, ticks=ticks, period_s=_PERIOD_S, faults=faults, onset=3 * ticks // 4)
    begin_ms = new.start_ms - _DAY_S * 1000
    old = Ailing(args.hosts, args.containers, ticks=_DAY_S // _OLD_PERIOD_S, period_s=_OLD_PERIOD_S, start_ms=begin_ms)
    with shipper_eslocal.cluster(heap="1g", tuned=True) as cluster:
        documents = sum(load(list(cluster.urls), fleet).documents for fleet in (old, new))
        at = datetime.fromtimestamp(new.tick_ms(ticks - 1) / 1000, UTC).isoformat()
        words = ["--at", at, "--last", f"{args.minutes // 2}m", "--elasticsearch-hosts", cluster.url]
        words += ["--elasticsearch-timeout", "300s"]  # cold, on a busy machine
        costs = [asdict(_measured(cluster, state, ["why", name, *words])) for state, name in _STATES.items()]
    of = f"{args.hosts} hosts with {args.containers} containers each, {documents} documents"
    table.show(f"One run of shipper why, --last {args.minutes // 2}m: {of}", costs)
    table.line("why", {"documents": documents, "costs": costs})


def _measured(cluster: shipper_eslocal.Cluster, state: str, words: list[str]) -> Cost:
    for _ in range(_RUNS):  # a new server has not compiled its hot code yet
        measured(words)
    runs = []
    for _ in range(_RUNS):
        used_s, begin = cpu_s(cluster), time.monotonic()
        _, resident = measured(words)
        runs.append((time.monotonic() - begin, cpu_s(cluster) - used_s, resident))
    numbers = (round(statistics.median(column), 2) for column in zip(*runs, strict=True))
    output, _ = measured([*words, "--json"])
    return Cost(state, len(json.loads(output)["searches"]), *numbers)


if __name__ == "__main__":
    main()
