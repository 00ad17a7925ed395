"""What the whole agent costs, by number of containers: ``python -m bench.agent --cgroups 0,10,100,1000 --ticks 20``.

The agent is started as its users start it (``shipper run``, one tick a second, nothing tuned) against ``bench.sink``,
once for a few ticks and once for many: the difference is what ticks cost, without the start. CPU is the operating
system's account of the finished process. Needs root, for the cgroups.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cgroups import cgroups

_FEW = 3


@dataclass
class Run:
    """One life of an agent."""

    ticks: int
    cpu_ms: float
    rss_mib: float
    pss_mib: float
    switches: int
    documents: int
    body_bytes: int
    wire_bytes: int


@dataclass
class Result:
    """Per tick, from two runs; memory is that of the longer one."""

    cgroups: int
    documents: float
    cpu_ms: float
    start_ms: float
    rss_mib: float
    pss_mib: float
    wakeups: float
    body_bytes_per_document: float
    wire_bytes_per_document: float
    us_per_container: float | None = None


def run(ticks: int) -> Run:
    """Start sink and agent, wait for both, and account for the agent."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sink.stdin
    assert sink.stdout
    port = sink.stdout.readline().strip()
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as spool:
        arguments = ["run", "--period", "1s", "--ticks", str(ticks), "--spool", spool, "--host-verify", "false"]
        environ = {**os.environ, "SHIPPER_ELASTICSEARCH_HOSTS": f"http://127.0.0.1:{port}"}
        agent = subprocess.Popen([sys.executable, "-m", "shipper", *arguments], env=environ)
        memory = _Memory(agent.pid)
        _, status, usage = os.wait4(agent.pid, 0)
        agent.returncode = os.waitstatus_to_exitcode(status)
    sink.stdin.close()
    counts = json.loads(sink.stdout.read())
    sink.wait()
    if agent.returncode:
        raise SystemExit(f"the agent ended with {agent.returncode}")
    return Run(
        ticks,
        (usage.ru_utime + usage.ru_stime) * 1000,
        usage.ru_maxrss / 1024,
        memory.pss_mib(),
        usage.ru_nvcsw,
        counts["documents"],
        counts["body_bytes"],
        counts["wire_bytes"],
    )


class _Memory:
    """Looks at a process's proportional memory until it ends; the last look counts."""

    def __init__(self, pid: int) -> None:
        self._file = Path(f"/proc/{pid}/smaps_rollup")
        self._kib = 0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._done = threading.Event()
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.5):
            try:
                fields = dict(line.split(":", 1) for line in self._file.read_text().splitlines()[1:])
                self._kib = int(fields["Pss"].split()[0])
            except (OSError, KeyError):
                return

    def pss_mib(self) -> float:
        self._done.set()
        self._thread.join()
        return self._kib / 1024


def measure(count: int, ticks: int) -> Result:
    with cgroups(count):
        few, many = run(_FEW), run(_FEW + ticks)
    cpu = (many.cpu_ms - few.cpu_ms) / ticks
    return Result(
        count,
        (many.documents - few.documents) / ticks,
        cpu,
        few.cpu_ms - _FEW * cpu,
        many.rss_mib,
        many.pss_mib,
        (many.switches - few.switches) / ticks,
        many.body_bytes / many.documents,
        many.wire_bytes / many.documents,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cgroups", default="0,10,100,1000", help="numbers of containers (%(default)s)")
    parser.add_argument("--ticks", type=int, default=20, help="ticks that are measured (%(default)s)")
    args = parser.parse_args(arguments)
    results: list[Result] = []
    for count in map(int, args.cgroups.split(",")):
        result = measure(count, args.ticks)
        if results and count > results[0].cgroups:
            result.us_per_container = (result.cpu_ms - results[0].cpu_ms) / (count - results[0].cgroups) * 1000
        results.append(result)
    _print(results)


def _print(results: Sequence[Result]) -> None:
    table = Table(title="shipper run, per tick")
    for name in asdict(results[0]):
        table.add_column(name.replace("_", " "), justify="right")
    for result in results:
        table.add_row(*("–" if value is None else f"{value:.4g}" for value in asdict(result).values()))
    Console(width=160).print(table)
    print(json.dumps({"bench": "agent", "results": [asdict(result) for result in results]}))


if __name__ == "__main__":
    main()
