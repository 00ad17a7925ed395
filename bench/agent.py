"""What the whole agent costs, by number of containers: ``python -m bench.agent --cgroups 0,10,100,1000 --ticks 20``.

The agent runs as its users run it (``shipper run``, one tick a second, default settings) against ``bench.sink``, once
for a few ticks and once for many: the difference is the cost of the ticks without the start. CPU time is what the
operating system accounts for the finished process; memory is sampled until the process ends. Separate runs under strace
count system calls. ``bench.stages`` measures the time per stage of a tick, next to a C program that only reads the same
files. Needs root, for the cgroups.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import table
from bench.bare import command
from bench.cgroups import cgroups, mode
from bench.compiled import compiled

_FEW = 8  # ticks of the shorter run: by then the values of idle cgroups are held
_TRACED = 10


@dataclass
class Run:
    """One run of an agent."""

    ticks: int
    cpu_ms: float
    rss_mib: float
    pss_mib: float
    peak_mib: float
    switches: int
    documents: int
    body_bytes: int
    wire_bytes: int


@dataclass
class Result:
    """Costs at one number of containers. ``stages``: µs per tick; ``floor_us``: the same reads in C; memory in MiB."""

    cgroups: int
    documents: float
    cpu_ms: float
    us_per_container: float | None
    start_ms: float
    rss: float
    peak: float
    pss: float
    syscalls: float | None
    wakeups: float
    spool_bytes_per_document: float
    wire_bytes_per_document: float
    stages: dict[str, float]
    reads: int
    floor_us: float


def run(ticks: int, *options: str, before: Sequence[str] = ()) -> Run:
    """Start sink and agent, wait for both, return the agent's costs. ``before``: words before its command line."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sink.stdin
    assert sink.stdout
    port = sink.stdout.readline().strip()
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as spool:
        arguments = ["run", "--period", "1s", "--ticks", str(ticks), "--spool", spool, "--host-verify", "false"]
        environ = {**os.environ, "SHIPPER_ELASTICSEARCH_HOSTS": f"http://127.0.0.1:{port}"}
        agent = subprocess.Popen([*before, *command(*arguments, *options)], env=environ)
        memory = Memory(agent.pid)
        os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
        own = psutil.Process(agent.pid).cpu_times()  # wait4 adds that of the child which checks the server
        _, status, usage = os.wait4(agent.pid, 0)
        agent.returncode = os.waitstatus_to_exitcode(status)
    sink.stdin.close()
    counts = json.loads(sink.stdout.read())
    sink.wait()
    if agent.returncode:
        raise SystemExit(f"the agent exited with {agent.returncode}")
    return Run(
        ticks,
        (own.user + own.system) * 1000,
        *memory.mib(),
        usage.ru_nvcsw,
        counts["documents"],
        counts["body_bytes"],
        counts["wire_bytes"],
    )


class Memory:
    """Samples a process's memory until the process ends; the result is the median."""

    def __init__(self, pid: int) -> None:
        self._file = Path(f"/proc/{pid}/smaps_rollup")
        self._seen: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._done = threading.Event()
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.35):
            try:
                fields = dict(line.split(":", 1) for line in self._file.read_text().splitlines()[1:])
                self._seen.append((int(fields["Rss"].split()[0]), int(fields["Pss"].split()[0])))
            except (OSError, KeyError, ValueError):
                return

    def mib(self) -> tuple[float, float, float]:
        """Resident and proportional memory, and the most resident memory that was seen."""
        self._done.set()
        self._thread.join()
        if not self._seen:
            return 0.0, 0.0, 0.0
        rss, pss = zip(*self._seen, strict=True)
        return statistics.median(rss) / 1024, statistics.median(pss) / 1024, max(rss) / 1024


def syscalls(*options: str) -> float | None:
    """System calls per tick; None without strace."""
    if shutil.which("strace") is None:
        return None
    counted = []
    for ticks in (_FEW, _FEW + _TRACED):
        with tempfile.NamedTemporaryFile(mode="r") as report:
            run(ticks, *options, before=["strace", "-f", "-c", "-o", report.name])
            total = re.search(r"(?m)^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", report.read())
        if total is None:
            raise SystemExit("strace printed no total")
        counted.append(int(total[1]))
    return (counted[1] - counted[0]) / _TRACED


def stages(ticks: int) -> dict[str, Any]:
    """Times from ``bench.stages``, in a separate process, and of ``bench/floor.c`` on the files that it had open."""
    with tempfile.NamedTemporaryFile(mode="w+") as files:
        made = subprocess.run(
            command(str(ticks), files.name, module="bench.stages"), check=True, stdout=subprocess.PIPE, text=True
        )
        floor = subprocess.run(
            [compiled("floor"), str(ticks)], check=True, stdin=files, stdout=subprocess.PIPE, text=True
        )
    took_ns, reads = map(int, floor.stdout.split())
    return {"stages": json.loads(made.stdout), "floor_us": took_ns / 1000, "reads": reads}


def measure(count: int, ticks: int, *options: str, busy: bool = False, traced: bool = True) -> Result:
    """The costs with ``count`` containers, over ``ticks`` ticks. ``options``: further words of the command line."""
    with cgroups(count, busy=busy):
        few, many = run(_FEW, *options), run(_FEW + ticks, *options)
        calls = syscalls(*options) if traced else None
        parts = stages(ticks)
    cpu = (many.cpu_ms - few.cpu_ms) / ticks
    return Result(
        count,
        (many.documents - few.documents) / ticks,
        cpu,
        None,
        few.cpu_ms - _FEW * cpu,
        many.rss_mib,
        many.peak_mib,
        many.pss_mib,
        calls,
        (many.switches - few.switches) / ticks,
        many.body_bytes / many.documents,
        many.wire_bytes / many.documents,
        **parts,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cgroups", default="0,10,100,1000", help="numbers of containers (%(default)s)")
    parser.add_argument("--ticks", type=int, default=20, help="ticks to measure (%(default)s)")
    parser.add_argument("--busy", action="store_true", help="containers do some work, five times a second each")
    parser.add_argument("--no-strace", action="store_true", help="do not count system calls")
    parser.add_argument("--datasets", default="", help="only these, written as in collect.datasets")
    args = parser.parse_args(arguments)
    options = [f"--collect-datasets={args.datasets}"] if args.datasets else []
    results: list[Result] = []
    for count in map(int, args.cgroups.split(",")):
        result = measure(count, args.ticks, *options, busy=args.busy, traced=not args.no_strace)
        if results and count > results[0].cgroups:
            result.us_per_container = (result.cpu_ms - results[0].cpu_ms) / (count - results[0].cgroups) * 1000
        results.append(result)
    _print(results, busy=args.busy)


def _print(results: Sequence[Result], *, busy: bool) -> None:
    rows = [{**asdict(run), **run.stages, "read / floor": run.stages["read"] / run.floor_us} for run in results]
    for row in rows:
        del row["stages"]
    names = list(rows[0])
    split = names.index("read")
    title = f"shipper run, per tick, {'busy' if busy else 'idle'} containers, cgroup {mode()}"
    table.show(title, [{name: row[name] for name in names[:split]} for row in rows])
    table.show("µs CPU per tick by stage", [{name: row[name] for name in ("cgroups", *names[split:])} for row in rows])
    table.line("agent", {"busy": busy, "mode": mode(), "results": [asdict(result) for result in results]})


if __name__ == "__main__":
    main()
