"""What the agent reports to others on the same host: ``status.json`` in the spool directory."""

import errno
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from shipper import __version__
from shipper.agent.problems import grouped
from shipper.agent.self_metrics import Report
from shipper.base.durable import no_links, overwrite
from shipper.base.tick_times import timestamp
from shipper.deliver.ledger import DeliveryState, Ledger

FILE: Final = "status.json"
_MOST: Final = 1 << 20
_TICKS_LATE: Final = 3
_SKEW_MS: Final = 10_000
_FULL: Final = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_READS, _READ_AGAIN_S = 5, 0.02
_PARTS: Final = ("stored", "late", "spooled", "rejected", "dropped")


def gather(tick_ms: int, report: Report, ledger: Ledger, delivery: DeliveryState) -> dict[str, Any]:
    """The content of ``status.json`` after the tick of ``tick_ms``."""
    with ledger.lock:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "tick_ms": tick_ms,
            "wall_ms": _now_ms(),
            "period_ms": report.period_ms,
            "ticks": report.ticks,
            "missed": report.missed,
            "documents": _documents(ledger),
            "rejected": ledger.rejected_for(),
            "bytes": ledger.spool.size,
            "disk": ledger.trouble,
            "delivery": {**vars(delivery), "findings": [*delivery.findings], "resting": {**delivery.resting}},
            "failed": report.failed,
            "stuck": report.stuck,
            "problems": [text for _, text in grouped(problem for _, problem in report.problems)][:20],
            "absent": [f"{what}: {why}" for what, why in report.absent.items()][:20],
        }


def _documents(ledger: Ledger) -> dict[str, int]:
    return {**vars(ledger.counts), "spooled": ledger.spooled}


class Status:
    """The content over time: ``since_ms`` is when a trouble began, ``since_start`` what was lost in this run."""

    def __init__(self, ledger: Ledger, delivery: DeliveryState, period_ms: int) -> None:
        self._ledger, self._delivery = ledger, delivery
        self._start = replace(ledger.counts)
        self._since_ms: dict[str, int] = {}
        self._tick: tuple[int, int, Report] = (0, _now_ms(), Report(period_ms))

    def tick(self, tick_ms: int, report: Report) -> None:
        """Note a tick."""
        self._tick = (tick_ms, _now_ms(), report)

    def equation(self) -> str:
        """``equation`` of the ledger as it is now."""
        with self._ledger.lock:
            return equation(_documents(self._ledger))

    def now(self, *, stopped: bool = False) -> dict[str, Any]:
        """The content since the last tick, with what was delivered meanwhile."""
        tick_ms, wall_ms, report = self._tick
        content = gather(tick_ms, report, self._ledger, self._delivery)
        documents = content["documents"]
        lost = {name: documents[name] - getattr(self._start, name) for name in ("rejected", "dropped")}
        for name, trouble in {"disk": content["disk"], "delivery": content["delivery"]["trouble"]}.items():
            if trouble:
                self._since_ms.setdefault(name, content["wall_ms"])
            else:
                self._since_ms.pop(name, None)
        since_ms = dict(self._since_ms)
        return {**content, "wall_ms": wall_ms, "since_start": lost, "since_ms": since_ms, "stopped": stopped}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def write(directory: str, content: Mapping[str, Any]) -> None:
    """Overwrite the file; if the disk has no room, it stays as it was. ``check`` tells a reader whether it is whole."""
    text = json.dumps(content)
    with suppress(OSError):
        overwrite(os.path.join(directory, FILE), f'{text[:-1]}, "check": {_check(text)}}}'.encode())


def _check(text: str) -> int:
    return zlib.crc32(text.encode())


def read(directory: str) -> dict[str, Any]:
    """The content; empty if there is no readable one. Raises OSError if permission is denied."""
    for _ in range(_READS):
        try:
            with open(os.path.join(directory, FILE), "rb", opener=no_links) as file:
                content = json.loads(file.read(_MOST))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and content.pop("check", None) in (None, _check(json.dumps(content))):
            return content
        time.sleep(_READ_AGAIN_S)  # it is being overwritten
    return {}


def is_late(content: Mapping[str, Any], now_ms: int) -> bool:
    """Whether ticks are overdue. A last tick far in the future was made before the clock was set back: overdue, too."""
    age_ms = now_ms - content["wall_ms"]
    return not -content["period_ms"] <= age_ms <= _TICKS_LATE * content["period_ms"]


def is_ready(content: Mapping[str, Any]) -> bool:
    """Whether the host was found and a tick was made."""
    return bool(content.get("ticks"))


def troubles(content: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong while the agent is alive, one line each."""
    lost, since_ms, delivery = content.get("since_start", {}), content.get("since_ms", {}), content["delivery"]
    if content["disk"]:
        how = "is full" if content["disk"] in _FULL else "accepts no documents"
        since = _since(since_ms.get("disk"))
        yield f"the disk of the spool {how}{since}: {content['disk']}; documents are held in memory"
    if delivery["trouble"]:
        yield f"Elasticsearch cannot be reached{_since(since_ms.get('delivery'))}: {delivery['trouble']}"
    for index, why in delivery.get("resting", {}).items():
        yield f"Elasticsearch rejects all documents for {index}: {why}; other indices are not affected"
    if lost.get("rejected", 0) > 0:
        yield f"{lost['rejected']} documents were rejected since the start; `shipper spool ls` shows the reasons"
    if lost.get("dropped", 0) > 0:
        yield f"{lost['dropped']} documents were dropped since the start"
    if delivery["twins"]:
        yield f"{delivery['twins']} documents existed before they were sent: another host uses this name and id"
    if abs(delivery["skew_ms"] or 0) > _SKEW_MS:
        yield f"this host's clock is {delivery['skew_ms'] / 1000:+.0f} s off the server's"
    yield from (f"server: {text}" for text in delivery.get("findings", ()))
    yield from (f"collector {name} failed: {error}" for name, error in content["failed"].items())
    yield from (f"collector {name} exceeded its deadline" for name in content["stuck"])


def lines(content: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """``content`` as text for a person."""
    age_s = (now_ms - content["wall_ms"]) / 1000
    late = ": too long ago" if is_late(content, now_ms) else ""
    yield f"agent      {content['version']}, pid {content['pid']}, a tick every {content['period_ms'] / 1000:g} s"
    if is_ready(content):
        yield f"last tick  {timestamp(content['tick_ms'])}, {age_s:.0f} s ago{late}"
    else:
        yield f"last tick  none yet, started {age_s:.0f} s ago{late}"
    yield f"ticks      {content['ticks']} since the start, {content['missed']} missed"
    yield f"documents  {equation(content['documents'])}"
    yield from (f"rejected   {line}" for line in content["rejected"])
    yield f"spool      {content['documents']['spooled']} documents, {content['bytes']} bytes{_colon(content['disk'])}"
    yield _delivery(content["delivery"], content.get("since_ms", {}).get("delivery"))
    yield from (f"failed     collector {name}: {error}" for name, error in content["failed"].items())
    yield from (f"stuck      collector {name}" for name in content["stuck"])
    yield from (f"left out   {line}" for line in content["problems"])
    yield from (f"absent     {line}" for line in content.get("absent", ()))
    reported = list(troubles(content))
    yield from (f"trouble    {line}" for line in reported)
    if not reported:
        yield "trouble    none"


def equation(documents: Mapping[str, int]) -> str:
    """``31 collected = 30 stored + 0 late + 1 spooled + 0 rejected + 0 dropped``, and whether it holds."""
    parts = " + ".join(f"{documents[name]} {name}" for name in _PARTS)
    holds = documents["collected"] == sum(documents[name] for name in _PARTS)
    return f"{documents['collected']} collected {'=' if holds else '≠'} {parts}"


def _colon(text: str) -> str:
    return f": {text}" if text else ""


def _delivery(state: Mapping[str, Any], since_ms: int | None) -> str:
    skew = f", clock {state['skew_ms']:+d} ms against the server's" if state["skew_ms"] is not None else ""
    if state["trouble"]:
        return f"delivery   {state['circuit']}{_since(since_ms)}{skew}: {state['trouble']}"
    return f"delivery   {'reaches Elasticsearch' if state['reachable'] else 'nothing sent yet'}{skew}"


def _since(since_ms: int | None) -> str:
    return f" since {timestamp(since_ms)}" if since_ms else ""
