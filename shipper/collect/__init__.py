"""The collectors, in the order in which they run and in which their fields stand in the documents."""

from shipper.collect import (
    cgroup,
    cpu,
    disk,
    filesystem,
    load,
    memory,
    network,
    pressure,
    processes,
    protocols,
    uptime,
    vmstat,
)
from shipper.collect.contract import Collector

COLLECTORS: tuple[Collector, ...] = (
    uptime.COLLECTOR,
    load.COLLECTOR,
    cpu.COLLECTOR,
    memory.COLLECTOR,
    vmstat.COLLECTOR,
    pressure.COLLECTOR,
    disk.TOTALS,
    network.TOTALS,
    protocols.COLLECTOR,
    processes.COLLECTOR,
    disk.COLLECTOR,
    filesystem.COLLECTOR,
    network.COLLECTOR,
    cgroup.COLLECTOR,
)
