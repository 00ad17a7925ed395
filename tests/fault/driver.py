"""Agents as processes of their own, to be killed. Imported once, then forked for each life.

``driver.py kills COUNT URL NAMESPACE DIRECTORY``: lives that SIGKILL ends at random moments, then one that ends well.
``driver.py outage TICKS URL NAMESPACE DIRECTORY``: prints the resident bytes after 60 ticks, and after all.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import psutil
from fault.line import Line, configured


def live(url: str, namespace: str, directory: Path, log: int) -> None:
    """Tick and deliver for ever; a line for each tick that is safe on disk."""
    line = Line(configured(url, namespace, directory / "spool"))
    line.delivery.start()
    while True:
        tick_ms = line.tick()
        os.write(log, b"%d %d\n" % (tick_ms, line.ticks[tick_ms]))
        line.delivery.wake()


def kills(count: int, url: str, namespace: str, directory: Path) -> None:
    chance = random.Random(7)
    path = directory / "ticks"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    life_s, lives = 0.0, 0
    while lives < count or path.read_bytes().count(b"\n") <= count:
        began = time.monotonic()
        pid = os.fork()
        if not pid:
            live(url, namespace, directory, log)
        if lives:
            time.sleep(chance.uniform(0.0, life_s))
        else:  # the first shows how long a life must be on this machine to come to a few ticks
            while path.stat().st_size == 0:
                time.sleep(0.01)
            life_s = max(0.25, 2 * (time.monotonic() - began))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"ended by itself: {status}")
        lives += 1
    line = Line(configured(url, namespace, directory / "spool"))
    line.drain()
    print(line.ledger.counts.collected, line.ledger.counts.stored, line.ledger.counts.duplicate)


def outage(ticks: int, url: str, namespace: str, directory: Path) -> None:
    line = Line(configured(url, namespace, directory / "spool"))
    line.delivery.start()
    process = psutil.Process()
    for number in range(ticks):
        line.tick()
        line.delivery.wake()
        if number == 60:
            print(process.memory_info().rss)
    print(process.memory_info().rss, line.ledger.spooled, line.delivery.state.failures)


if __name__ == "__main__":
    name, number, url, namespace, directory = sys.argv[1:]
    {"kills": kills, "outage": outage}[name](int(number), url, namespace, Path(directory))
