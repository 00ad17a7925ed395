"""Names that Kibana's Infrastructure pages use, as aliases of our fields.

Hosts and Inventory show documents with ``event.module: system`` and, as Docker containers, those with ``docker``, by
``container.id``. So all containers and machines have that module, and ``container.runtime`` says what runs them. Kibana
divides the traffic of a container since the previous document by ``metricset.period``, that of a host by the time
range. ``tests/elastic_names.md`` has Elastic's definition of each name, and the differences.
https://www.elastic.co/docs/reference/observability/observability-container-metrics
"""

from typing import Final

from shipper.fields.field import Alias, gauge

CONTAINERS: Final = "docker"
PERIOD: Final = gauge(
    "metricset.period",
    "ms",
    "Time since the previous tick; longer if ticks were missed",
    "configuration: collect.period",
)

_DOCKER: Final = (
    ("cpu.total.pct", "cgroup.cpu.cores", "CPU usage in CPUs"),
    ("cpu.total.norm.pct", "cgroup.cpu.pct", "CPU usage as a share of the host's CPUs"),
    ("cpu.user.pct", "cgroup.cpu.user.cores", "CPU usage in user mode, in CPUs"),
    ("cpu.kernel.pct", "cgroup.cpu.system.cores", "CPU usage in kernel mode, in CPUs"),
    (
        "memory.usage.pct",
        "cgroup.memory.working_set.pct",
        "Memory usage without inactive page cache, as in docker stats",
    ),
    (
        "memory.usage.total",
        "cgroup.memory.working_set.bytes",
        "Memory usage without inactive page cache, as in docker stats",
    ),
    ("memory.limit", "cgroup.memory.limit.effective.bytes", "Memory limit; absent if there is none"),
    # Kibana adds up the interfaces of a container; ours are already added up, so each container has one
    ("network.interface", "container.id", "One for each container; its bytes are the sum of all interfaces"),
    ("network.inbound.bytes", "container.network.ingress.bytes", "Bytes received since the previous document"),
    ("network.outbound.bytes", "container.network.egress.bytes", "Bytes sent since the previous document"),
    ("diskio.read.bytes", "cgroup.io.read.bytes", "Bytes read (a counter)"),
    ("diskio.read.ops", "cgroup.io.read.count", "Reads (a counter)"),
    ("diskio.write.bytes", "cgroup.io.write.bytes", "Bytes written (a counter)"),
    ("diskio.write.ops", "cgroup.io.write.count", "Writes (a counter)"),
)
ALIASES: Final = {
    "host": (Alias("system.load.cores", "system.cpu.cores", "Number of CPUs by which Kibana divides the load"),),
    "cgroup": tuple(Alias(f"docker.{name}", target, help_) for name, target, help_ in _DOCKER),
}
