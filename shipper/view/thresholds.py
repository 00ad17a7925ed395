"""From which value on a number is a warning or bad: one declaration for boards, report, top and alert rules.

The values follow published rules: the mixins of node_exporter and Kubernetes (NM, KM), awesome-prometheus-alerts (APA),
and the rule templates of Elastic's system package. Where none is published, the comment gives the reason.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_PRECISION: Final = 1e-6  # the server keeps shares as floats: 0.9 comes back as 0.89999998


class Level(StrEnum):
    """How bad a value is."""

    OK = ""
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Steps:
    """From which value on, inclusive, a number is a warning or bad. ``falling``: lower values are worse."""

    warning: float
    bad: float
    falling: bool = False

    def level(self, value: float | None) -> Level:
        """How bad ``value`` is; an absent value is not bad."""
        if value is None:
            return Level.OK
        for level, bound in ((Level.BAD, self.bad), (Level.WARNING, self.warning)):
            beyond = value < bound if self.falling else value > bound
            if beyond or math.isclose(value, bound, rel_tol=_PRECISION):
                return level
        return Level.OK


_ANY: Final = Steps(1, 1)  # should never happen: the first one is bad
_ANY_RATE: Final = Steps(1e-9, 1e-9)  # any event at all
_SOME_RATE: Final = Steps(1e-9, 1)
_FULL: Final = Steps(0.8, 0.9)
_PRESSURE: Final = Steps(0.1, 0.4)  # none is published; a loss of a tenth of the time is noticeable, 40 % is an outage

MISSING: Final = _ANY  # hosts that sent within a day, but do not send now
NOTHING_SENT: Final = Steps(0.5, 0.5, falling=True)  # documents of a host in the last two minutes
SILENT_MS: Final = Steps(120_000, 600_000)  # since a host's last document: two minutes, ten minutes

THRESHOLDS: Final[dict[str, Steps]] = {
    # Host
    "system.cpu.total.norm.pct": Steps(0.85, 0.95),  # Elastic 0.85, APA 0.8, NM 0.9
    "system.cpu.steal.norm.pct": Steps(0.1, 0.25),  # APA 0.1
    "system.cpu.iowait.norm.pct": Steps(0.1, 0.3),  # APA 0.1
    "system.load.norm.1": Steps(2, 4),  # NM 2
    "system.memory.actual.used.pct": Steps(0.9, 0.95),  # NM, APA, Elastic 0.9
    "system.memory.swap.used.pct": Steps(0.8, 0.95),  # APA 0.8
    "system.vm.faults.major.count_per_s": Steps(500, 2000),  # NM 500
    "system.vm.oom_kills.count_per_s": _ANY_RATE,  # APA: any
    "system.conntrack.used.pct": Steps(0.75, 0.9),  # NM 0.75
    "system.files.used.pct": Steps(0.7, 0.9),  # NM 0.7 and 0.9
    "system.threads.used.pct": Steps(0.7, 0.9),  # as for files
    "system.edac.correctable.count_per_s": _SOME_RATE,
    "system.edac.uncorrectable.count_per_s": _ANY_RATE,  # APA: any
    "system.systemd.units.failed.count": _ANY,  # NM: any
    "system.clock.offset.us": Steps(50_000, 1_000_000),  # NM 50 ms; either way
    "system.clock.error.maximum.us": Steps(1_000_000, 16_000_000),  # NM: 16 s is the kernel's "not synchronised"
    "system.kernel.log.io_error.count_per_s": _ANY_RATE,
    "system.kernel.log.hung_task.count_per_s": _ANY_RATE,
    "system.kernel.log.mce.count_per_s": _ANY_RATE,
    "system.kernel.log.remount_ro.count_per_s": _ANY_RATE,
    "system.cpu.throttle.package.count_per_s": Steps(0.1, 10),
    "system.tcp.retransmits.pct": Steps(
        0.03, 0.1
    ),  # none is published; a few per cent already reduce the speed greatly
    "system.tcp.listen.overflows.count_per_s": _SOME_RATE,
    **{
        f"{what}.pressure.{resource}.{who}.avg10.pct": _PRESSURE
        for what in ("system", "cgroup")
        for resource in ("cpu", "memory", "io")
        for who in ("some", "full")
    },
    # Devices
    "system.filesystem.used.pct": Steps(0.9, 0.97),  # APA 0.9, NM 0.95 and 0.97
    "system.filesystem.used_files.pct": Steps(0.9, 0.97),
    "system.diskio.util.pct": Steps(0.9, 0.98),  # Elastic 0.9
    "system.diskio.total.util.max.pct": Steps(0.9, 0.98),
    "system.diskio.queue.count": Steps(10, 30),  # NM, Elastic 10
    "system.diskio.read.await.ms": Steps(100, 500),  # APA 100
    "system.diskio.write.await.ms": Steps(100, 500),
    "system.network.in.errors_per_s": Steps(5, 50),  # Elastic 5
    "system.network.out.errors_per_s": Steps(5, 50),
    "system.network.util.pct": Steps(0.8, 0.95),  # APA 0.8
    "system.raid.disks.failed": _ANY,  # NM: any
    "system.raid.disks.missing.count": _ANY,
    "system.sensor.temperature.celsius": Steps(80, 95),  # APA: the sensor's maximum, which few sensors report
    # Containers and services, against their own limits
    "cgroup.cpu.limit.pct": Steps(0.8, 0.95),  # APA 0.8, Elastic 0.9
    "cgroup.cpu.throttled.pct": Steps(0.25, 0.5),  # KM, APA 0.25
    "cgroup.memory.limit.pct": Steps(0.8, 0.95),  # APA 0.8
    "cgroup.memory.working_set.pct": Steps(0.8, 0.95),
    "cgroup.memory.refaults.file.count_per_s": Steps(500, 2000),  # as major faults of a host, NM 500
    "cgroup.pids.used.pct": Steps(0.8, 0.95),  # as for memory
    "cgroup.memory.events.oom_kill.count_per_s": _ANY_RATE,
    "cgroup.pids.events.max.count_per_s": _ANY_RATE,
    "cgroup.restarts.count": Steps(1, 3),
    "container.restarts.count": Steps(1, 3),
    # The shipper
    "agent.ledger.spooled.count": Steps(1_000, 100_000),  # seconds, or hours, of a host with containers
    "agent.ledger.rejected.count": _ANY,
    "agent.ledger.dropped.count": _ANY,
    "agent.ledger.rejected.count_per_s": _ANY_RATE,
    "agent.ledger.dropped.count_per_s": _ANY_RATE,
    "agent.delivery.twins.count": _ANY,
    "agent.clock.skew.ms": Steps(
        2_000, 30_000
    ),  # in either direction; at 30 s ahead, a range up to now misses documents
    "agent.problems.count": _ANY,
    "agent.delivery.restarts.count_per_s": _ANY_RATE,
    "agent.tick.missed.count_per_s": _SOME_RATE,
}


# What alert rules measure over time
STATE: Final = Steps(1, 1)  # documents with a state, or a growth, that should never occur
SILENCE_S: Final = Steps(300, 900)  # Elastic's template: 15 min; a third of that also reports short gaps
WAITING: Final = Steps(
    10_000, 100_000
)  # for minutes; a host with a thousand containers sends a thousand documents per tick
GONE_S: Final = Steps(180, 180)  # APA 60 s; longer than two of the longest usual period, a minute
UNSYNCHRONISED_US: Final = Steps(
    16_000_000, 16_000_000
)  # NM; the error reaches 1 s between two polls of systemd-timesyncd
FULL_IN_S: Final = Steps(24 * 3600, 4 * 3600, falling=True)  # NM: 24 h and 4 h
SOON_S: Final = Steps(24 * 3600, 24 * 3600, falling=True)  # as for filesystems
RESTARTS: Final = Steps(3, 6)  # NM: more than 2 in 5 min
VALUES: Final = Steps(2, 2)  # distinct values of a field that should not change


def level(field: str, value: float | None) -> Level:
    """How bad ``value`` of ``field`` is by THRESHOLDS."""
    steps = THRESHOLDS.get(field)
    return steps.level(value) if steps else Level.OK
