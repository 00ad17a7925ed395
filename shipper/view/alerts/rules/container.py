"""Rules about a container or service, compared with its own limits."""

from typing import Final

from shipper.view.alerts.model import PER_CONTAINER, Measure, Rule
from shipper.view.dashboards.model import above, below, one_of
from shipper.view.thresholds import GONE_S, RESTARTS, SOON_S, STATE, VALUES

_BOARD: Final = "shipper-container"
_MINUTE: Final = 60
_WORKLOADS: Final = (one_of("cgroup.kind", "container", "service", "machine"),)
_CONTAINERS: Final = (one_of("cgroup.kind", "container"),)
_YOUNG: Final = (below("cgroup.uptime.ms", 900_000),)
_LIVED: Final = (above("cgroup.uptime.ms", 300_000),)  # a container that ran for a shorter time was a task
_RESTARTING: Final = (one_of("container.state", "restarting"),)
_UNHEALTHY: Final = (one_of("container.health", "unhealthy"),)


def _own(
    name: str, title: str, measure: Measure, field: str, minutes: int, means: str, first: str, **more: object
) -> Rule:
    more = {"per": PER_CONTAINER, "where": _WORKLOADS, **more}
    return Rule(name, title, "cgroup", measure, field, minutes * _MINUTE, means, first, _BOARD, **more)  # type: ignore[arg-type]


RULES: Final = (
    _own("container-cpu", "CPU near the quota", Measure.AVG, "cgroup.cpu.limit.pct", 15,
         "The container or service uses nearly all CPU time that its quota allows.",
         "Raise the quota, or run more replicas. If the CPUs of the host are also busy, look at the host first.",
         source="APA: 80 %; Elastic: 90 % over 15 min"),
    _own("container-throttled", "CPU throttled", Measure.AVG, "cgroup.cpu.throttled.pct", 15,
         "The value is the share of the quota's periods in which the container or service used up its quota and waited for the next period. Requests become slow, even on an idle host.",
         "Raise the quota, or run fewer threads: a burst of many threads uses up the quota early in the period.",
         source="KM, APA: 25 % of periods"),
    _own("container-memory", "Memory near the limit", Measure.MIN, "cgroup.memory.limit.pct", 5,
         "The working set is nearly as large as the memory limit. At the limit the kernel reclaims memory, then kills processes.",
         "Check whether the working set grows steadily (a leak) or with the load. Raise the limit, or restart the container before the kernel kills it.",
         source="APA: 80 % of the limit, 2 min"),
    _own("container-memory-fills", "Memory limit reached soon", Measure.TREND, "cgroup.memory.limit.pct", 24 * 60,
         "At the growth of the last day, the working set will soon be as large as the memory limit. Containers that use less than half of their limit are not judged.",
         "`shipper forecast` shows the growth. Look for a leak; raise the limit, or restart the container at a time that suits.",
         where=(*_WORKLOADS, above("cgroup.memory.limit.pct", 0.5)), own_steps=SOON_S, mild=True, source="as for filesystems"),
    _own("container-oom", "OOM kill in the container", Measure.MAX, "cgroup.memory.events.oom_kill.count_per_s", 10,
         "The kernel killed a process of the container or service, because the memory limit was reached or because the host had no memory left.",
         "The event documents (dataset event) name the process and the limit. Raise the limit, or find out which process grows.",
         mild=True, source="Elastic: any over 15 min"),
    _own("container-memory-pressure", "Memory pressure in the container", Measure.AVG, "cgroup.pressure.memory.full.avg10.pct", 10,
         "The value is the share of time in which all tasks of the container or service waited for memory. The container thrashes at its limit.",
         "Raise the memory limit or `memory.high`. If the host is also under memory pressure, look at the host first.",
         source="none published; a loss of a tenth of the time is noticeable"),
    _own("container-io-pressure", "I/O pressure in the container", Measure.AVG, "cgroup.pressure.io.full.avg10.pct", 15,
         "The value is the share of time in which all tasks of the container or service waited for a disk.",
         "Check the disks of the host, and find out which other containers use them.", mild=True,
         source="none published; a loss of a tenth of the time is noticeable"),
    _own("container-tasks", "Tasks near the limit", Measure.MIN, "cgroup.pids.used.pct", 5,
         "At the limit the container or service cannot start any process or thread.", "Check whether the program leaks processes or threads. If all of them are needed, raise the limit (`pids.max`).",
         source="as for memory"),
    _own("container-tasks-fill", "Task limit reached soon", Measure.TREND, "cgroup.pids.used.pct", 24 * 60,
         "At the growth of the last day, the container or service will soon have as many tasks as it may have. What uses less than half of its limit is not judged.",
         "`shipper forecast` shows the growth. Look for processes or threads that do not end.",
         where=(*_WORKLOADS, above("cgroup.pids.used.pct", 0.5)), own_steps=SOON_S, mild=True, source="as for filesystems"),
    _own("container-forks-failed", "Forks failed at the limit", Measure.MAX, "cgroup.pids.events.max.count_per_s", 10,
         "The container or service could not start a process or thread, because its task limit was reached.",
         "Check whether the program leaks processes or threads. If all of them are needed, raise the limit (`pids.max`).", mild=True,
         source="none published; should never happen"),
    _own("container-crash-loop", "Crash loop", Measure.GROWTH, "container.restarts.count", 15,
         "The restart policy of the container has restarted it repeatedly.", "Read the log: `docker logs --since 15m NAME`. The field `container.exit_code` has the last exit code.",
         where=_CONTAINERS, suspects=_YOUNG, own_steps=RESTARTS, tells="container.exit_code",
         source="KM: crash loop for 15 min; NM: more than 2 restarts in 5 min"),
    _own("service-crash-loop", "Repeated restarts", Measure.GROWTH, "cgroup.restarts.count", 15,
         "The service, or a container of this name, has started repeatedly.", "Read the log: `journalctl -u UNIT --since -15min`, or `docker logs --since 15m NAME`.",
         suspects=_YOUNG, own_steps=RESTARTS, source="NM: more than 2 restarts in 5 min"),
    _own("container-restarting", "Waiting for restart", Measure.COUNT, "", 3,
         "The container has exited, and docker waits before the next restart.", "Read the log: `docker logs --since 15m NAME`.",
         where=_RESTARTING, last=_RESTARTING, own_steps=STATE, mild=True, tells="container.exit_code",
         source="KM: waiting in a crash loop"),
    _own("container-unhealthy", "Unhealthy", Measure.COUNT, "", 3,
         "The health check of the container fails.", "`docker inspect NAME` shows the output of the health check under State.Health.",
         where=_UNHEALTHY, last=_UNHEALTHY, own_steps=STATE, source="any"),
    _own("container-gone", "Container gone", Measure.GONE, "", 15,
         "New documents of the container no longer arrive, although its host still sends documents. Containers that ran for less than five minutes are not judged. The alert ends 15 minutes after the last document of the container.",
         "If nobody removed the container, find it with `docker ps -a`, then read its log and exit code.",
         where=_CONTAINERS, last=_LIVED, own_steps=GONE_S, mild=True, source="APA: not seen for 60 s"),
    _own("container-image-changed", "Image changed", Measure.UNIQUE, "container.image.name", 15,
         "The container of this name runs a different image than before.", "If the change was not planned, find out who deployed the image.",
         where=_CONTAINERS, suspects=_YOUNG, own_steps=VALUES, notice=True, tells="container.image.name", source="information"),
)  # fmt: skip
