"""The collectors, in the order in which they run and in which their fields stand in the documents."""

from typing import Any

from shipper.collect.cgroup import cgroups
from shipper.collect.contract import Collector
from shipper.collect.events import kernel_events
from shipper.collect.host import (
    addresses,
    clock_sync,
    conntrack,
    cpu,
    disk,
    filesystem,
    hardware,
    kernel_tables,
    load,
    memory,
    network,
    pressure,
    protocols,
    raid,
    sensors,
    storage_clients,
    systemd,
    uptime,
    vmstat,
)
from shipper.collect.process import busiest, processes

COLLECTORS: tuple[Collector, ...] = (
    uptime.COLLECTOR,
    addresses.COLLECTOR,
    load.COLLECTOR,
    cpu.COLLECTOR,
    memory.COLLECTOR,
    vmstat.COLLECTOR,
    pressure.COLLECTOR,
    disk.TOTALS,
    network.TOTALS,
    protocols.COLLECTOR,
    conntrack.COLLECTOR,
    storage_clients.COLLECTOR,
    kernel_tables.COLLECTOR,
    kernel_events.COUNTS,
    clock_sync.COLLECTOR,
    hardware.COLLECTOR,
    processes.COLLECTOR,
    systemd.COLLECTOR,
    disk.COLLECTOR,
    filesystem.COLLECTOR,
    network.COLLECTOR,
    cpu.CORES,
    busiest.COLLECTOR,
    raid.COLLECTOR,
    sensors.COLLECTOR,
    kernel_events.COLLECTOR,
    cgroups.COLLECTOR,
)

# Dataclasses of the options that collectors declare
OPTIONS: tuple[Any, ...] = tuple(dict.fromkeys(kind for collector in COLLECTORS for kind in collector.options))
