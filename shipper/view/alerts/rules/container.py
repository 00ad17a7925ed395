"""Rules about a container or service, measured against its own limits."""

from typing import Final

from shipper.view.alerts.model import PER_CONTAINER, Measure, Rule
from shipper.view.dashboards.model import above, below, one_of
from shipper.view.thresholds import GONE_S, RESTARTS, STATE, VALUES

_BOARD: Final = "shipper-container"
_MINUTE: Final = 60
_WORKLOADS: Final = (one_of("cgroup.kind", "container", "service", "machine"),)
_CONTAINERS: Final = (one_of("cgroup.kind", "container"),)
_YOUNG: Final = (below("cgroup.uptime.ms", 900_000),)
_LIVED: Final = (above("cgroup.uptime.ms", 300_000),)  # what ran for a shorter time was a task
_RESTARTING: Final = (one_of("container.state", "restarting"),)
_UNHEALTHY: Final = (one_of("container.health", "unhealthy"),)


def _own(
    name: str, title: str, measure: Measure, field: str, minutes: int, means: str, first: str, **more: object
) -> Rule:
    more = {"per": PER_CONTAINER, "where": _WORKLOADS, **more}
    return Rule(name, title, "cgroup", measure, field, minutes * _MINUTE, means, first, _BOARD, **more)  # type: ignore[arg-type]


RULES: Final = (
    _own("container-cpu", "CPU near the quota", Measure.AVG, "cgroup.cpu.limit.pct", 15,
         "It uses nearly all CPU time that its quota allows.", "Raise the quota, or run more replicas. If its host is busy, too, look there first.",
         source="APA: 80 %; Elastic: 90 % over 15 min"),
    _own("container-throttled", "CPU throttled", Measure.AVG, "cgroup.cpu.throttled.pct", 15,
         "In this share of its periods it used up its quota and had to wait for the next period. Requests become slow although the host may be idle.",
         "Raise the quota, or run fewer threads: a burst of many threads uses up the quota in a part of the period.",
         source="KM, APA: 25 % of periods"),
    _own("container-memory", "Memory near the limit", Measure.MIN, "cgroup.memory.limit.pct", 5,
         "Its working set is nearly as large as its limit; at the limit the kernel reclaims, then kills.",
         "Look whether it grows steadily (a leak) or with its load. Raise the limit, or restart it before it is killed.",
         source="APA: 80 % of the limit, 2 min"),
    _own("container-oom", "OOM kill in the container", Measure.MAX, "cgroup.memory.events.oom_kill.count_per_s", 10,
         "The kernel killed a process in it, because it reached its limit or because the host had no memory.",
         "The event documents (dataset event) name the process and the limit. Raise the limit, or find what grows.",
         mild=True, source="Elastic: any over 15 min"),
    _own("container-memory-pressure", "Memory pressure in the container", Measure.AVG, "cgroup.pressure.memory.full.avg10.pct", 10,
         "For a share of the time all its tasks wait for memory: it thrashes at its limit.",
         "Raise its limit or `memory.high`. If its host is under pressure, too, look there first.",
         source="none published; a tenth of the time lost is felt"),
    _own("container-io-pressure", "I/O pressure in the container", Measure.AVG, "cgroup.pressure.io.full.avg10.pct", 15,
         "For a share of the time all its tasks wait for a disk.",
         "Look at the disks of its host, and who else uses them.", mild=True,
         source="none published; a tenth of the time lost is felt"),
    _own("container-tasks", "Tasks near the limit", Measure.MIN, "cgroup.pids.used.pct", 5,
         "At the limit it can start no process or thread.", "Look whether it leaks processes or threads. Raise the limit (`pids.max`) only if they are needed.",
         source="as for memory"),
    _own("container-forks-failed", "Forks failed at the limit", Measure.MAX, "cgroup.pids.events.max.count_per_s", 10,
         "It could not start a process or thread because of its limit of tasks.",
         "Look whether it leaks processes or threads. Raise the limit (`pids.max`) only if they are needed.", mild=True,
         source="none published; should never happen"),
    _own("container-crash-loop", "Crash loop", Measure.GROWTH, "container.restarts.count", 15,
         "Its restart policy has started it again and again.", "Read its log: `docker logs --since 15m NAME`; `container.exit_code` is the last exit code.",
         where=_CONTAINERS, suspects=_YOUNG, own_steps=RESTARTS, tells="container.exit_code",
         source="KM: crash loop for 15 min; NM: more than 2 restarts in 5 min"),
    _own("service-crash-loop", "Restarts again and again", Measure.GROWTH, "cgroup.restarts.count", 15,
         "A service, or a container of this name, has started again and again.", "Read its log: `journalctl -u UNIT --since -15min`, or that of the container.",
         suspects=_YOUNG, own_steps=RESTARTS, source="NM: more than 2 restarts in 5 min"),
    _own("container-restarting", "Waits for its next restart", Measure.COUNT, "", 3,
         "The container has ended, and docker waits before it starts it again.", "Read its log: `docker logs --since 15m NAME`.",
         where=_RESTARTING, last=_RESTARTING, own_steps=STATE, mild=True, tells="container.exit_code",
         source="KM: waiting in a crash loop"),
    _own("container-unhealthy", "Unhealthy", Measure.COUNT, "", 3,
         "Its health check fails.", "`docker inspect NAME` has the output of the check, under State.Health.",
         where=_UNHEALTHY, last=_UNHEALTHY, own_steps=STATE, source="any"),
    _own("container-gone", "Container gone", Measure.GONE, "", 15,
         "A container that ran for minutes sends no documents any more, although its host does. The alert ends 15 minutes after its last document.",
         "If nobody removed it: `docker ps -a`, then its log and exit code.",
         where=_CONTAINERS, last=_LIVED, own_steps=GONE_S, mild=True, source="APA: not seen for 60 s"),
    _own("container-image-changed", "Image changed", Measure.UNIQUE, "container.image.name", 15,
         "A container of this name runs with another image than before.", "If nobody deployed it, find out who did.",
         where=_CONTAINERS, suspects=_YOUNG, own_steps=VALUES, notice=True, tells="container.image.name", source="information"),
)  # fmt: skip
