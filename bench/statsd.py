"""StatsD datagrams into a whole agent on one core: ``python -m bench.statsd --seconds 60``.

Another core sends ``--per-second`` datagrams; with ``--flood`` each has a label value of its own. Prints what the agent
received, what the kernel dropped according to the agent and to proc/net/udp, CPU time, and memory.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import table
from bench.bare import command
from shipper.deliver import segment

_SENT_MS = 10
_MIB = 1 << 20
_CONFIG = """\
[collect]
period = "1s"
[host]
verify = false
[elasticsearch]
hosts = ["http://127.0.0.1:1"]
[spool]
directory = "{directory}/spool"
flush = "0s"
[[metrics]]
type = "statsd"
name = "bench"
listen = "127.0.0.1:{port}"
max_names = 1000
"""
_KINDS = ("c", "g", "ms", "c|@0.5", "h|#route:/a,env:prod", "s")


def line(at: int, *, flood: bool) -> bytes:
    """One of 100 datagrams, or one with a label value of its own."""
    if flood:
        return b"a:1|c|#user:user-%012d" % at
    return f"metric{at % 100}:{at}|{_KINDS[at % len(_KINDS)]}".encode()


def send(port: int, per_second: int, seconds: int, *, flood: bool) -> int:
    """Send at an even pace; returns how many."""
    total, per_turn = per_second * seconds, per_second * _SENT_MS // 1000
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(("127.0.0.1", port))
    began = time.monotonic()
    for turn in range(total // per_turn):
        for at in range(turn * per_turn, (turn + 1) * per_turn):
            one.send(line(at, flood=flood))
        time.sleep(max(0.0, began + (turn + 1) * _SENT_MS / 1000 - time.monotonic()))
    return total


def dropped(port: int) -> int:
    """What the kernel says."""
    for line in Path("/proc/net/udp").read_text().splitlines():
        if f":{port:04X} " in line:
            return int(line.split()[-1])
    raise LookupError(f"no socket of port {port}")


def spooled(directory: Path) -> Iterator[dict[str, Any]]:
    """All documents of the spool, oldest first."""
    for path in sorted(directory.glob("segments/*")):
        header = segment.examine(str(path))
        if isinstance(header, segment.Segment):
            yield from (json.loads(entry.document) for entry in segment.read(str(path), header))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--flood", action="store_true")
    arguments = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="shipper-bench-", dir="/dev/shm") as directory:
        config = Path(directory, "shipper.toml")
        config.write_text(_CONFIG.format(directory=directory, port=port))
        os.sched_setaffinity(0, {0})
        agent = subprocess.Popen(command("run", "--config", str(config)), stderr=subprocess.DEVNULL)
        os.sched_setaffinity(0, {1})
        spool = Path(directory, "spool")
        while not any(one["event"]["dataset"] == "shipper.metric" for one in spooled(spool)):
            time.sleep(1)
        before, began = _used(agent.pid), time.monotonic()
        sent = send(port, arguments.per_second, arguments.seconds, flood=arguments.flood)
        wall, used = time.monotonic() - began, _used(agent.pid)
        time.sleep(3)
        kernel = dropped(port)
        agent.terminate()
        agent.wait()
        documents = [one for one in spooled(spool) if one["event"]["dataset"] == "shipper.metric"]
        status = [one["metricset"] for one in documents if "received" in one["metricset"]][-1]
    result = {
        "sent": sent,
        "received": status["received"]["count"],
        "lost": status["lost"]["count"],
        "kernel_drops": kernel,
        "beyond_limit": status["dropped"]["count"],
        "cpu_pct": 100 * (used[0] - before[0]) / wall,
        "rss_grown_mib": used[1] - before[1],
    }
    table.show("StatsD", [result])
    table.line("statsd", result)
    sys.exit(result["received"] + kernel != sent or kernel != result["lost"])


def _used(pid: int) -> tuple[float, float]:
    """CPU seconds and resident MiB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGESIZE") / _MIB


if __name__ == "__main__":
    main()
