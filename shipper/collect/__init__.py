"""The collectors, in the order in which they run and in which their fields stand in the documents."""

from shipper.collect import cgroup, load, pressure
from shipper.collect.contract import Collector

COLLECTORS: tuple[Collector, ...] = (
    load.COLLECTOR,
    pressure.COLLECTOR,
    cgroup.COLLECTOR,
)
