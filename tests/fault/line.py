"""The line as the fault tests drive it: real collectors, spool, ledger and delivery; ticks as fast as they go."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shipper_eslocal

from shipper.agent.loop import host
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import Ticker
from shipper.base.log import Log
from shipper.deliver.bulk import FILTER_PATH, Delivery
from shipper.deliver.client import Link
from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool
from shipper.settings.config import Bulk, Collect, Config, Elasticsearch, Host, Index
from shipper.settings.config import Spool as SpoolOptions

PERIOD_MS = 1000
DATASETS = ("host", "disk", "agent")
LIMIT_S = 120.0


def configured(url: str, namespace: str, directory: Path, **changes: Any) -> Config:
    """``changes``: sections to replace options in."""
    config = Config(
        elasticsearch=Elasticsearch(hosts=(url,), timeout_s=10),
        index=Index(namespace=namespace),
        collect=Collect(period_s=1, datasets=DATASETS),
        spool=SpoolOptions(directory=str(directory)),
        bulk=Bulk(backoff_max_s=1),
        host=Host(name=f"host-{namespace}", verify=False),
    )
    sections = {name: replace(getattr(config, name), **options) for name, options in changes.items()}
    return replace(config, **sections)


class Line:
    """From collectors to server. ``ticks`` remembers how many documents each tick had that came to the spool."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.link = Link(config, FILTER_PATH)
        self.ticks: Counter[int] = Counter()
        root, identity = host(config)
        self.ledger = Ledger.load(Spool(config.spool.directory, config.spool.max_bytes))
        self.delivery = Delivery(self.ledger, self.link, config.bulk, Log(journal=False), self.link.ready)
        self._ticker = Ticker(config, root, identity, SelfMetrics(self.ledger, self.delivery.state))
        self._ticker.prime()
        self.next_ms = (self.ledger.used.high_ms or time.time_ns() // 1_000_000) // PERIOD_MS * PERIOD_MS + PERIOD_MS

    def tick(self, tick_ms: int = 0) -> int:
        """One tick at ``tick_ms``, or at the next time; the time."""
        tick_ms = tick_ms or self.next_ms
        entries = self._ticker.tick(tick_ms, Report(PERIOD_MS))
        self.ledger.put(tick_ms, entries)
        self.ticks[tick_ms] += len(entries)
        self.next_ms = tick_ms + PERIOD_MS
        balanced(self.ledger)
        return tick_ms

    def run(self, ticks: int, after: Callable[[int], None] = lambda _number: None) -> None:
        """Ticks, with an attempt to deliver after each."""
        for number in range(ticks):
            self.tick()
            self.delivery.step()
            after(number)

    def drain(self) -> None:
        """Deliver until nothing waits, at the pace that delivery sets itself."""
        until = time.monotonic() + LIMIT_S
        while self.ledger.spooled:
            assert time.monotonic() < until, f"{self.ledger.spooled} wait: {self.delivery.state.trouble}"
            if not self.delivery.step():
                time.sleep(min(self.delivery._until_due() or 0.01, 1.0))
        balanced(self.ledger)

    def close(self) -> None:
        self.ledger.spool.close()
        self.link.close()


def balanced(ledger: Ledger) -> None:
    with ledger.lock:  # delivery may be at work in its thread
        counts = ledger.counts
        parts = counts.stored + counts.late + ledger.spooled + counts.rejected + counts.dropped
        assert counts.collected == parts, (counts, ledger.spooled)


def found(es: shipper_eslocal.Cluster, config: Config, pattern: str = "*") -> Counter[int]:
    """Documents of the host in Elasticsearch by their time, ms; each entity at most once in each."""
    target = f"metrics-shipper.{pattern}-{config.index.namespace}"
    es.request("POST", f"/{target}/_refresh")
    result: Counter[int] = Counter()
    seen: set[tuple[str, ...]] = set()
    after: list[Any] = []
    while True:
        query: dict[str, Any] = {
            "query": {"term": {"host.name": config.host.name}},
            "size": 5000,
            "sort": [{"@timestamp": "asc"}, {"event.dataset": "asc"}, {"system.diskio.name": _DISK}],
            "fields": ["@timestamp", "event.dataset", "system.diskio.name"],
            "_source": False,
        }
        hits = es.request("POST", f"/{target}/_search", {**query, **({"search_after": after} if after else {})})
        if not hits["hits"]["hits"]:
            return result
        for hit in hits["hits"]["hits"]:
            fields: Mapping[str, list[str]] = hit["fields"]
            identity = tuple(json.dumps(fields.get(name)) for name in query["fields"])
            assert identity not in seen, f"doubled: {identity}"
            seen.add(identity)
            result[ms(fields["@timestamp"][0])] += 1
        after = hits["hits"]["hits"][-1]["sort"]


_DISK = {"order": "asc", "unmapped_type": "keyword", "missing": "_last"}


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def open_for(from_ms: int, to_ms: int) -> dict[str, str]:
    """Settings of a time series that takes documents of these times."""
    return {"index.time_series.start_time": iso(from_ms), "index.time_series.end_time": iso(to_ms)}


def filled(filler: Path) -> bool:
    """True, with no byte left on the disk: to be called again, as each segment that is sent and unlinked makes room."""
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4096, 1):
            with suppress(OSError):
                while os.write(file.fileno(), b"x" * size):
                    pass
    return True
