"""A day of ticks in a minute: ``python -m bench.day``. Memory must not grow with time.

The hot path (``bench.hot``) over a captured host, 8,640 ticks of 10 s on a simulated clock, including the work that is
due every minute or every five minutes. Prints resident memory over time.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from bench import table
from bench.hot import Hot

TICKS = 8640
_HOST = "debian-12-v2-systemd"
_MEMORY_DISK = "/dev/shm"  # the fsyncs of a day would take most of the time
_MIB = 1 << 20


def resident(ticks: int, parts: int) -> Iterator[float]:
    """MiB after each of ``parts`` parts of ``ticks`` ticks."""
    with tempfile.TemporaryDirectory(prefix="shipper-bench-", dir=_MEMORY_DISK) as directory:
        hot = Hot(_HOST, directory)
        for _ in range(parts):
            for _ in range(ticks // parts):
                hot.tick()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            yield pages * os.sysconf("SC_PAGESIZE") / _MIB


def main() -> None:
    seen = list(resident(TICKS, 12))
    table.show("a simulated day", [{"hours": 2 * (at + 1), "RSS MiB": mib} for at, mib in enumerate(seen)])
    table.line("day", {"ticks": TICKS, "rss_mib": seen})


if __name__ == "__main__":
    main()
