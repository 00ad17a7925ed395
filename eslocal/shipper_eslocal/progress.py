"""Download progress on stderr: a bar on a terminal, otherwise one line per 10 %."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


@contextmanager
def shown(label: str, total: int) -> Iterator[Advance]:
    """Yield a thread-safe function to call with the number of bytes that arrived. `total`: bytes."""
    if sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield _lines(label, total)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich import progress  # noqa: PLC0415  # needed only at a terminal
    from rich.console import Console  # noqa: PLC0415

    columns = (
        progress.TextColumn(label),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


def _lines(label: str, total: int) -> Advance:
    lock = threading.Lock()
    done = tenths = 0
    print(f"{label}: {total / 1e6:.0f} MB", file=sys.stderr, flush=True)

    def advance(count: int) -> None:
        nonlocal done, tenths
        with lock:
            done += count
            if done * 10 // total > tenths:
                tenths = done * 10 // total
                print(f"{label}: {min(tenths, 10) * 10} %", file=sys.stderr, flush=True)

    return advance
