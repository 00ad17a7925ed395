"""The collectors, in the order in which they run and in which documents have their fields."""

from typing import Any

from shipper.collect import plugins
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
    softirqs,
    storage_clients,
    systemd,
    uptime,
    vmstat,
)
from shipper.collect.metric import collector as metrics
from shipper.collect.process import processes

# Processes, events and metrics use the names of cgroups, so cgroups run before them
_BUILT_IN: tuple[Collector, ...] = (
    uptime.COLLECTOR,
    addresses.COLLECTOR,
    load.COLLECTOR,
    cpu.COLLECTOR,
    softirqs.COLLECTOR,
    memory.COLLECTOR,
    vmstat.COLLECTOR,
    pressure.COLLECTOR,
    disk.COLLECTOR,
    network.COLLECTOR,
    protocols.COLLECTOR,
    conntrack.COLLECTOR,
    storage_clients.COLLECTOR,
    kernel_tables.COLLECTOR,
    clock_sync.COLLECTOR,
    hardware.COLLECTOR,
    systemd.COLLECTOR,
    filesystem.COLLECTOR,
    raid.COLLECTOR,
    sensors.COLLECTOR,
    cgroups.COLLECTOR,
    kernel_events.COLLECTOR,
    processes.COLLECTOR,
    metrics.COLLECTOR,
)

COLLECTORS: tuple[Collector, ...] = (*_BUILT_IN, *plugins.load(_BUILT_IN))

# Dataclasses of the options that collectors declare
OPTIONS: tuple[Any, ...] = tuple(dict.fromkeys(kind for collector in COLLECTORS for kind in collector.options))
