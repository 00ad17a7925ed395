"""What Kibana's own Infrastructure pages look for beside our own names.

Hosts and Inventory take documents of ``event.module: system`` and, as Docker containers, those of ``docker``, told
apart by ``container.id``: hence all containers and machines bear that module, and ``container.runtime`` says what runs
them. A container's traffic since the document before is divided by ``metricset.period``, a host's by the time on view.
``tests/elastic_names.md`` has Elastic's definition of each name, and where ours differs.
https://www.elastic.co/docs/reference/observability/observability-container-metrics
"""

from typing import Final

from shipper.fields.field import Alias, gauge

CONTAINERS: Final = "docker"
PERIOD: Final = gauge(
    "metricset.period", "ms", "Time from tick to tick; more where ticks were missed", "configuration: collect.period"
)

_DOCKER: Final = (
    ("cpu.total.pct", "cgroup.cpu.cores", "CPU time used, in CPUs"),
    ("cpu.total.norm.pct", "cgroup.cpu.pct", "The same as a share of the host's"),
    ("cpu.user.pct", "cgroup.cpu.user.cores", "CPU time in user mode, in CPUs"),
    ("cpu.kernel.pct", "cgroup.cpu.system.cores", "CPU time in the kernel, in CPUs"),
    ("memory.usage.pct", "cgroup.memory.working_set.pct", "Without page cache that can go, as in docker stats"),
    ("memory.usage.total", "cgroup.memory.working_set.bytes", "Without inactive page cache, as docker stats counts"),
    ("memory.limit", "cgroup.memory.limit.effective.bytes", "Absent where there is none"),
    # Kibana adds up its interfaces; ours are added up already, so each container has the one
    ("network.interface", "container.id", "One for each container, whose bytes are the sum of all interfaces"),
    ("network.inbound.bytes", "container.network.ingress.bytes", "Since the document before"),
    ("network.outbound.bytes", "container.network.egress.bytes", "Since the document before"),
    ("diskio.read.bytes", "cgroup.io.read.bytes", "A counter"),
    ("diskio.read.ops", "cgroup.io.read.count", "A counter"),
    ("diskio.write.bytes", "cgroup.io.write.bytes", "A counter"),
    ("diskio.write.ops", "cgroup.io.write.count", "A counter"),
)
ALIASES: Final = {
    "host": (Alias("system.load.cores", "system.cpu.cores", "What Kibana divides the load by"),),
    "cgroup": tuple(Alias(f"docker.{name}", target, help_) for name, target, help_ in _DOCKER),
}
