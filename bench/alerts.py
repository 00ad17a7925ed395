"""What ``shipper alerts check`` costs: ``python -m bench.alerts --hosts 300 --containers 30 --ticks 92``.

The command runs as a process of its own, as a timer would start it, against a server with the documents of a fleet.
``quiet``: nothing is wrong, as nearly always. ``troubled``: of every tenth host and its containers, everything is.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import shipper_eslocal

from bench import table
from bench.index import cpu_s

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from calm import Breach, Calm
from fleetload import load

_RUNS = 5
_STATES = ("quiet", "troubled")
# What a fork inherits counts for the kernel's maximum of a process, but not for that of its memory after exec
_MEASURED = """import sys; from shipper import cli; code = cli.main(sys.argv[1:]); sys.stdout.flush()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)"""
_HIGH = {
    "host": {"system.cpu.total.norm.pct": 0.97, "system.memory.actual.used.pct": 0.97, "system.load.norm.1": 5.0},
    "cgroup": {"cgroup.memory.limit.pct": 0.97, "cgroup.cpu.limit.pct": 0.97, "cgroup.cpu.throttled.pct": 0.6},
}


@dataclass(frozen=True)
class Cost:
    """Medians. Seconds of the command and of the server's CPU, and the command's largest resident size in MiB."""

    state: str
    alerts: int
    seconds: float
    server_cpu_s: float
    resident_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("hosts", 300), ("containers", 30), ("ticks", 92), ("period", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--state", choices=_STATES, action="append", default=[], help="default: both")
    args = parser.parse_args()
    costs = [asdict(_measured(args, state)) for state in args.state or _STATES]
    of = f"{args.hosts} hosts with {args.containers} containers each, {args.ticks} ticks of {args.period} s"
    table.show(f"One run of shipper alerts check: {of}", costs)
    table.line("alerts", {"costs": costs})


def _measured(args: argparse.Namespace, state: str) -> Cost:
    every = range(args.ticks)
    bad = range(0, args.hosts, 10) if state == "troubled" else ()
    breaches = tuple(Breach(dataset, host, every, values) for host in bad for dataset, values in _HIGH.items())
    fleet = Calm(args.hosts, args.containers, ticks=args.ticks, period_s=args.period, breaches=breaches)
    with shipper_eslocal.cluster(heap="1g", tuned=True) as cluster:
        load(list(cluster.urls), fleet)
        at = datetime.fromtimestamp(fleet.tick_ms(args.ticks - 1) / 1000, UTC).isoformat()
        command = ["alerts", "check", "--at", at, "--elasticsearch-hosts", cluster.url]
        command += ["--elasticsearch-timeout", "300s"]  # cold, on a busy machine
        for _ in range(_RUNS):  # a new server has not compiled its hot code yet
            _run(command)
        runs = [_timed(command, lambda: cpu_s(cluster)) for _ in range(_RUNS)]
    alerts, *numbers = (statistics.median(column) for column in zip(*runs, strict=True))
    return Cost(state, int(alerts), *(round(number, 2) for number in numbers))


def _timed(command: list[str], server_s: Callable[[], float]) -> tuple[int, float, float, float]:
    used_s, begin = server_s(), time.monotonic()
    alerts, resident = _run(command)
    return alerts, time.monotonic() - begin, server_s() - used_s, resident


def _run(command: list[str]) -> tuple[int, float]:
    """Number of alerts, and the largest resident size in MiB."""
    output, resident = measured(command)
    return output.count("["), resident


def measured(words: list[str]) -> tuple[str, float]:
    """What ``shipper`` with these arguments prints, and its largest resident size in MiB."""
    command = [sys.executable, "-c", _MEASURED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1, 2}, done.stderr
    return done.stdout, int(done.stderr.split()[-1]) / 1024


if __name__ == "__main__":
    main()
