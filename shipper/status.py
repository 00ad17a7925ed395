"""What the agent tells of itself to those on the same host: ``status.json`` in the spool directory, anew each tick.

No port and no socket: whoever may read the spool may read it. It is replaced, never changed, and not synced: after a
crash it says nothing that the ledger does not say better.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from shipper import __version__
from shipper.agent import Report
from shipper.ledger import DeliveryState, Ledger
from shipper.spool import no_links
from shipper.tick import timestamp

FILE: Final = "status.json"
_MOST: Final = 1 << 20
_TICKS_LATE: Final = 3
_PARTS: Final = ("stored", "late", "spooled", "rejected", "dropped")


def gather(tick_ms: int, report: Report, ledger: Ledger, delivery: DeliveryState) -> dict[str, Any]:
    with ledger.lock:
        documents = {**asdict(ledger.counts), "spooled": ledger.spooled}
        return {
            "version": __version__,
            "pid": os.getpid(),
            "tick_ms": tick_ms,
            "wall_ms": time.time_ns() // 1_000_000,
            "period_ms": report.period_ms,
            "ticks": report.ticks,
            "missed": report.missed,
            "documents": documents,
            "rejected": ledger.rejected_for(),
            "bytes": ledger.spool.size,
            "disk": ledger.trouble,
            "delivery": asdict(delivery),
            "failed": report.failed,
            "stuck": report.stuck,
            "problems": [f"{one.file}: {one.reason}" for _, one in report.problems[:20]],
        }


def write(directory: str, content: Mapping[str, Any]) -> None:
    """Replace the file; a disk that takes none is told elsewhere."""
    path = os.path.join(directory, FILE)
    with suppress(OSError):
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(json.dumps(content).encode())
        os.replace(path + ".new", path)


def read(directory: str) -> dict[str, Any]:
    """The content; empty if there is none that can be read. Raises OSError where reading is forbidden."""
    try:
        with open(os.path.join(directory, FILE), "rb", opener=no_links) as file:
            found = json.loads(file.read(_MOST))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_late(content: Mapping[str, Any], now_ms: int) -> bool:
    """Whether ticks stay away."""
    return bool(now_ms - content["wall_ms"] > _TICKS_LATE * content["period_ms"])


def lines(content: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """``content`` for a person."""
    age_s = (now_ms - content["wall_ms"]) / 1000
    late = ": too long ago" if is_late(content, now_ms) else ""
    yield f"agent      {content['version']}, pid {content['pid']}, a tick every {content['period_ms'] / 1000:g} s"
    yield f"last tick  {timestamp(content['tick_ms'])}, {age_s:.0f} s ago{late}"
    yield f"ticks      {content['ticks']} since the start, {content['missed']} missed"
    yield f"documents  {equation(content['documents'])}"
    yield from (f"rejected   {one}" for one in content["rejected"])
    yield f"spool      {content['documents']['spooled']} documents, {content['bytes']} bytes{_colon(content['disk'])}"
    yield _delivery(content["delivery"])
    yield from (f"failed     collector {name}: {error}" for name, error in content["failed"].items())
    yield from (f"stuck      collector {name}" for name in content["stuck"])
    yield from (f"left out   {one}" for one in content["problems"])


def equation(documents: Mapping[str, int]) -> str:
    """``31 collected = 30 stored + 0 late + 1 spooled + 0 rejected + 0 dropped``, and whether it holds."""
    parts = " + ".join(f"{documents[name]} {name}" for name in _PARTS)
    holds = documents["collected"] == sum(documents[name] for name in _PARTS)
    return f"{documents['collected']} collected {'=' if holds else '≠'} {parts}"


def _colon(text: str) -> str:
    return f": {text}" if text else ""


def _delivery(state: Mapping[str, Any]) -> str:
    if state["trouble"]:
        return f"delivery   {state['circuit']}: {state['trouble']}"
    skew = f", clock {state['skew_ms']:+d} ms against the server's" if state["skew_ms"] is not None else ""
    return f"delivery   {'reaches Elasticsearch' if state['reachable'] else 'nothing sent yet'}{skew}"
