"""Memory of the whole agent while containers come and go: ``python -m bench.churn --containers 1000 --rounds 5``.

Each round creates that many containers, waits until the agent has sent some ticks of them, notes its resident memory,
and removes them. The agent runs as in ``bench.agent``, one tick a second. The cgroups have no processes. Needs root.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import table
from bench.bare import command
from bench.cgroups import cgroups

_TICKS = 5  # of which documents have arrived before memory is looked at
_LOOK_S = 0.2


def resident(containers: int, rounds: int, *options: str) -> list[float]:
    """MiB of the agent at the end of each round; the first is before all rounds."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert sink.stdin
    assert sink.stdout
    port = sink.stdout.readline().strip()
    ask, told = sink.stdin, sink.stdout

    def documents() -> int:
        print(file=ask)
        return int(json.loads(told.readline())["documents"])

    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as spool:
        run = ["run", "--period", "1s", "--spool", spool, "--host-verify", "false"]
        environ = {**os.environ, "SHIPPER_ELASTICSEARCH_HOSTS": f"http://127.0.0.1:{port}"}
        agent = subprocess.Popen(command(*run, *options), env=environ)
        try:
            _await(documents, _TICKS)
            seen = [_mib(agent.pid)]
            for _ in range(rounds):
                with cgroups(containers, occupied=False):
                    _await(documents, _TICKS * containers)
                    seen.append(_mib(agent.pid))
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait()
    sink.stdin.close()
    sink.wait()
    return seen


def _await(documents: Callable[[], int], more: int) -> None:
    enough = documents() + more
    while documents() < enough:
        time.sleep(_LOOK_S)


def _mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / (1 << 20)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=1000, help="of each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    args = parser.parse_args(arguments)
    seen = resident(args.containers, args.rounds)
    table.show("shipper run, MiB", [{"round": at, "RSS": mib} for at, mib in enumerate(seen)])
    table.line("churn", {"containers": args.containers, "rss_mib": seen})


if __name__ == "__main__":
    main()
