"""Names of Metricbeat for our fields, where meaning and unit are equal and the name is not already ours.

`[index] aliases` adds them to the templates as alias fields, so that searches and dashboards made for Metricbeat find
our documents. Left out: what has another unit (``iostat.busy`` is in per cent) or counts something else
(``socket.summary.tcp.all.established``), and names that are the parent of a field of ours (``system.memory.cached``).
The source is elastic/beats, metricbeat/module/{system,linux,docker}, 8.x; ``system.diskio.iostat`` is of 7.x.
"""

from collections.abc import Iterator
from typing import Final

from shipper.fields.field import Alias

NAME: Final = "metricbeat"

_IOSTAT: Final = {
    "read.request.merges_per_sec": "read.merges.count_per_s",
    "write.request.merges_per_sec": "write.merges.count_per_s",
    "read.request.per_sec": "read.count_per_s",
    "write.request.per_sec": "write.count_per_s",
    "read.per_sec.bytes": "read.bytes_per_s",
    "write.per_sec.bytes": "write.bytes_per_s",
    "read.await": "read.await.ms",
    "write.await": "write.await.ms",
    "request.avg_size": "request.bytes",
    "queue.avg_size": "queue.count",
}
_NAMES: Final = {
    "host": {
        "host.cpu.usage": "system.cpu.total.norm.pct",
        "system.socket.summary.tcp.all.orphan": "system.tcp.orphans.count",
        "system.socket.summary.tcp.memory": "system.tcp.memory.bytes",
        "system.socket.summary.udp.memory": "system.udp.memory.bytes",
        "linux.conntrack.summary.entries": "system.conntrack.count",
        "linux.conntrack.summary.drop": "system.conntrack.drop.count",
        "linux.conntrack.summary.early_drop": "system.conntrack.early_drop.count",
        "linux.conntrack.summary.insert_failed": "system.conntrack.insert_failed.count",
        "linux.conntrack.summary.invalid": "system.conntrack.invalid.count",
    },
    "disk": {
        f"{prefix}.{theirs}": f"system.diskio.{ours}"
        for prefix in ("linux.iostat", "system.diskio.iostat")
        for theirs, ours in _IOSTAT.items()
    }
    | {"linux.iostat.name": "system.diskio.name"},
    "process": {
        "process.cpu.pct": "system.process.cpu.total.norm.pct",
        "process.cpu.start_time": "process.start",
        "process.memory.pct": "system.process.memory.rss.pct",
        "process.state": "system.process.state",
        "system.process.cmdline": "process.command_line",
        "system.process.cpu.start_time": "process.start",
    },
    "cgroup": {
        "docker.memory.usage.max": "cgroup.memory.peak.bytes",
        "docker.memory.rss.total": "cgroup.memory.anon.bytes",
        **{
            f"docker.network.{theirs}.{what}": f"cgroup.network.{ours}.{what}"
            for theirs, ours in (("inbound", "in"), ("outbound", "out"))
            for what in ("packets", "errors", "dropped")
        },
    },
}


def aliases(dataset: str) -> Iterator[Alias]:
    """Metricbeat's names for fields of ``dataset``."""
    for name, target in _NAMES.get(dataset, {}).items():
        yield Alias(name, target, "Metricbeat's name")
