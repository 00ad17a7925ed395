"""What documents cost the server: bytes on disk after a force merge, and CPU to index them; ``python -m bench.index``.

A real Elasticsearch stores the same simulated hosts (made by the product's code from captured ones) five times: in
time series data streams with a stored and with a synthetic ``_source``, with a stored one as lean documents, in dated
indices, and in the form in which Metricbeat would write the same content (``bench.metricbeat``: standard index,
Metricbeat's codec, one document per metricset). One node, no replica, the templates of ``shipper setup``. A Basic
licence stores ``_source``; the server of this benchmark, which checks no licence, would make it synthetic.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import shipper_eslocal

from bench import metricbeat, table
from shipper.deliver import client
from shipper.fields import lean
from shipper.schema.datasets import DATASETS
from shipper.schema.stream_names import dated_index
from shipper.server import setup
from shipper.settings.config import Bulk, Config, Elasticsearch, Index

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from fleetdocs import Document, Fleet

_MOST_BYTES = 2 << 20
_FILTER = "errors,items.*.error"
_DAY_S = 86_400
_SERIES, _LEAN, _SYNTHETIC, _DATED, _BEAT = _SHAPES = (
    *("time series", "time series, lean", "time series, synthetic"),
    *("dated", "like Metricbeat"),
)
# Namespace, source mode and detail of the documents
_MODES = {
    _SERIES: ("stored", "stored", lean.FULL),
    _LEAN: ("lean", "stored", lean.LEAN),
    _SYNTHETIC: ("synthetic", "synthetic", lean.FULL),
}
Lines = Callable[[Document], Iterable[tuple[str, bytes]]]


@dataclass(frozen=True)
class Stored:
    """Result for one shape and dataset. ``documents``: as counted by the server."""

    shape: str
    dataset: str
    documents: int
    json_bytes: int
    disk_bytes: int


def ours(document: Document) -> Iterator[tuple[str, bytes]]:
    """The document as the agent writes it: index and line."""
    yield document.index, document.line


def dated(tick_ms: Callable[[int], int]) -> Lines:
    """A function that gives the document for a dated index."""
    return lambda document: [(dated_index(document.dataset, tick_ms(document.tick)), document.line)]


def like_metricbeat(document: Document) -> Iterator[tuple[str, bytes]]:
    """The document's content as Metricbeat would write it, for a data stream per dataset of ours."""
    for line in metricbeat.documents(document.values):
        yield metricbeat.STREAM.replace("-default", f"-{document.dataset}"), line


def bodies(pairs: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Bulk bodies of about _MOST_BYTES bytes."""
    parts: list[bytes] = []
    size = 0
    for index, line in pairs:
        parts.append(b'{"create":{"_index":"%b"}}\n%b\n' % (index.encode(), line))
        size += len(parts[-1])
        if size >= _MOST_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def cpu_s(cluster: shipper_eslocal.Cluster) -> float:
    """CPU time of the cluster's processes so far, in seconds."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in cluster.pids)


def settled(cluster: shipper_eslocal.Cluster) -> float:
    """Wait until the cluster is idle; its CPU time then, in seconds."""
    used = cpu_s(cluster)
    while True:
        time.sleep(2)
        before, used = used, cpu_s(cluster)
        if used - before < 0.1:
            return used


def fill(cluster: shipper_eslocal.Cluster, fleet: Fleet, lines: Lines) -> tuple[float, dict[str, int], int]:
    """Index all documents; CPU seconds of the server, bytes of JSON by dataset, number of documents."""
    sizes: dict[str, int] = {}
    number = 0

    def pairs() -> Iterator[tuple[str, bytes]]:
        nonlocal number
        for document in fleet.documents():
            for index, line in lines(document):
                sizes[document.dataset] = sizes.get(document.dataset, 0) + len(line)
                number += 1
                yield index, line

    config = Config(elasticsearch=Elasticsearch(hosts=(cluster.url,), timeout_s=120), bulk=Bulk(compression=1))
    began = settled(cluster)
    with client.connect(config) as connection:
        for body in bodies(pairs()):
            answer = client.bulk(connection, body, filter_path=_FILTER)
            if answer.get("errors"):
                raise SystemExit(f"rejected: {str(answer)[:500]}")
    cluster.request("POST", "/_all/_refresh", timeout=120)
    return settled(cluster) - began, sizes, number


def stored(cluster: shipper_eslocal.Cluster, shape: str, dataset: str, pattern: str, json_bytes: int) -> Stored:
    """What the server holds of one dataset after a force merge to one segment.

    A merge drops what only a recovery of the newest documents would need, the ids of a time series among them. So it
    waits until the server no longer retains them, as at most merges of a server in use.
    """
    while any(_retained(cluster, pattern)):
        time.sleep(2)
    cluster.request("POST", f"/{pattern}/_flush", timeout=120)
    cluster.request("POST", f"/{pattern}/_forcemerge?max_num_segments=1", timeout=600)
    cluster.request("POST", f"/{pattern}/_flush", timeout=120)
    stats: Any = cluster.request("GET", f"/{pattern}/_stats/store,docs")["_all"]["primaries"]
    return Stored(shape, dataset, stats["docs"]["count"], json_bytes, stats["store"]["size_in_bytes"])


def _retained(cluster: shipper_eslocal.Cluster, pattern: str) -> Iterator[bool]:
    """Whether each shard's newest documents are retained; that ends within ``retention_lease.sync_interval``, 30 s."""
    indices: Any = cluster.request("GET", f"/{pattern}/_stats?level=shards")["indices"]
    for shard in (copy for index in indices.values() for copies in index["shards"].values() for copy in copies):
        leases = shard["retention_leases"]["leases"]
        yield any(lease["retaining_seq_no"] <= shard["seq_no"]["max_seq_no"] for lease in leases)


def set_up(cluster: shipper_eslocal.Cluster, layout: str, namespace: str = "default") -> None:
    """Install the templates of ``shipper setup``."""
    index = Index(layout=layout, replicas=0, namespace=namespace)
    config = Config(elasticsearch=Elasticsearch(hosts=(cluster.url,)), index=index)
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)


def measure(cluster: shipper_eslocal.Cluster, fleet: Fleet, shape: str) -> tuple[float, int, list[Stored]]:
    """CPU seconds, number of documents and disk usage of one shape."""
    lines: Lines
    if shape == _BEAT:
        cluster.request("PUT", f"/_index_template/{metricbeat.TEMPLATE}", metricbeat.template())
        lines, pattern = like_metricbeat, metricbeat.TEMPLATE + "-{}"
    elif shape == _DATED:
        set_up(cluster, "dated")
        lines, pattern = dated(fleet.tick_ms), "shipper-{}-*"
    else:
        namespace, mode, detail = _MODES[shape]
        set_up(cluster, "datastream", namespace)
        settings = {"index.mapping.source.mode": mode}
        cluster.request("PUT", "/_component_template/metrics-shipper@custom", {"template": {"settings": settings}})
        fleet = replace(fleet, namespace=namespace, detail=detail)
        lines, pattern = ours, f"metrics-shipper.{{}}-{namespace}"
    cpu, sizes, number = fill(cluster, fleet, lines)
    return cpu, number, [stored(cluster, shape, name, pattern.format(name), size) for name, size in sizes.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hosts", 6), ("containers", 30), ("ticks", 360)):
        parser.add_argument(f"--{name}", type=int, default=default, help="(%(default)s)")
    args = parser.parse_args(arguments)
    fleet = Fleet(hosts=args.hosts, containers=args.containers, ticks=args.ticks, period_s=10)
    results: dict[str, tuple[float, int, list[Stored]]] = {}
    with shipper_eslocal.cluster(heap="1g", tuned=True) as cluster:
        warm = replace(fleet, ticks=max(args.ticks // 6, 6), namespace="warm")
        set_up(cluster, "datastream", warm.namespace)
        fill(cluster, warm, ours)  # the JVM compiles hot code
        for shape in _SHAPES:
            results[shape] = measure(cluster, fleet, shape)
    _print(results, args.hosts * args.ticks * 10 / _DAY_S)


def _print(results: dict[str, tuple[float, int, list[Stored]]], host_days: float) -> None:
    datasets = [name for name in DATASETS if any(name == row.dataset for row in results[_SERIES][2])]
    by = {(row.shape, row.dataset): row for _, _, rows in results.values() for row in rows}
    rows = []
    for dataset in datasets:
        series, short, synthetic, plain, beat = (by[shape, dataset] for shape in _SHAPES)
        rows.append(
            {
                "dataset": dataset,
                "documents": series.documents,
                "JSON bytes": series.json_bytes / series.documents,
                "time series": series.disk_bytes / series.documents,
                "lean": short.disk_bytes / short.documents,
                "synthetic": synthetic.disk_bytes / series.documents,
                "dated": plain.disk_bytes / plain.documents,
                "like Metricbeat: documents": beat.documents / series.documents,
                "like Metricbeat: bytes": beat.disk_bytes / series.documents,
                "time series / Metricbeat": series.disk_bytes / beat.disk_bytes,
                "lean / Metricbeat": short.disk_bytes / beat.disk_bytes,
            }
        )
    table.show("bytes on disk per document of ours, one segment", rows)
    whole = [
        {
            "shape": shape,
            "documents": number,
            "MB per host and day": sum(row.disk_bytes for row in stores) / host_days / 1e6,
            "server CPU ms per 1,000 documents": cpu / number * 1e6,
            "server CPU s per host and day": cpu / host_days,
        }
        for shape, (cpu, number, stores) in results.items()
    ]
    table.show("all datasets", whole)
    table.line("index", {"datasets": rows, "shapes": whole})


if __name__ == "__main__":
    main()
