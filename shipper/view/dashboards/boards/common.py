"""What several boards share."""

from dataclasses import replace
from typing import Final

from shipper.view.dashboards.model import ENTITY, ONE_HOST, Mark, Variable, above, below, one_of

# In the help of every panel with a TOTAL
SUM: Final = "sum over all hosts, which Grafana and Kibana get right only if all hosts have the same period"

CONTAINERS: Final = (one_of("cgroup.kind", "container"),)
WORKLOADS: Final = (one_of("cgroup.kind", "container", "service", "machine"),)

# The board opens on the first value
ONE_CONTAINER: Final = Variable(
    "container", "Container", ENTITY, multi=False, where=WORKLOADS, dataset="cgroup", busiest=True
)
ITS_HOST: Final = replace(ONE_HOST, dataset="cgroup", within="container", hidden=True)
RUNTIME: Final = Variable("runtime", "Runtime", "container.runtime", dataset="cgroup")
POD: Final = Variable("pod", "Pod", "kubernetes.pod.name", dataset="cgroup")
IMAGE: Final = Variable("image", "Image", "container.image.name", dataset="cgroup")
UNIT: Final = Variable("unit", "Unit or name", "cgroup.name", where=WORKLOADS, dataset="cgroup")

BOOT_MARK: Final = Mark("Boots", "host", (one_of("system.boot.first", "true"),), "host.name", "host.boot.id")
SHIPPER_MARK: Final = Mark("Shipper starts", "agent", (below("agent.tick.count", 2),), "host.name")
OOM_MARK: Final = Mark("OOM kills", "host", (above("system.vm.oom_kills.count_per_s", 0),), "host.name")
START_MARK: Final = Mark(
    "Container starts", "cgroup", (*CONTAINERS, one_of("cgroup.first", "true")), ENTITY, "cgroup.path"
)
IMAGE_MARK: Final = Mark(
    "Image changes", "cgroup", (one_of("container.image.changed", "true"),), "container.image.name", "cgroup.path"
)
KILL_MARK: Final = Mark("OOM kills", "event", (one_of("event.action", "oom_kill"),), "process.name")
