"""What is compared: numbers of the documents of a container or service, or of a host."""

from dataclasses import dataclass
from typing import Final

from shipper.view.dashboards.model import find


@dataclass(frozen=True, slots=True)
class Measure:
    """A field of each document. ``least``: the smallest difference that matters, in the unit of the field."""

    name: str
    field: str
    least: float
    dataset: str = "cgroup"

    @property
    def unit(self) -> str:
        """Unit of the values."""
        return find(self.dataset, self.field).unit if self.field else ""


def _host(name: str, field: str, least: float) -> Measure:
    return Measure(name, field, least, "host")


_CORES, _SHARE, _BYTES, _BYTES_PER_S, _PER_S = 0.01, 0.01, 1 << 20, 10_240.0, 0.01

# Starts in a time window beyond the first one of each container, per container
RESTARTS: Final = Measure("restarts", "", 0.0)
OF_CGROUP: Final = (
    Measure("CPU", "cgroup.cpu.cores", _CORES),
    Measure("throttled periods", "cgroup.cpu.throttled.pct", _SHARE),
    Measure("memory", "cgroup.memory.working_set.bytes", _BYTES),
    Measure("disk reads", "cgroup.io.read.bytes_per_s", _BYTES_PER_S),
    Measure("disk writes", "cgroup.io.write.bytes_per_s", _BYTES_PER_S),
    Measure("network in", "cgroup.network.in.bytes_per_s", _BYTES_PER_S),
    Measure("network out", "cgroup.network.out.bytes_per_s", _BYTES_PER_S),
    Measure("receive errors", "cgroup.network.in.errors_per_s", _PER_S),
    Measure("send errors", "cgroup.network.out.errors_per_s", _PER_S),
    Measure("OOM kills", "cgroup.memory.events.oom_kill.count_per_s", 0.0),
    RESTARTS,
)
OF_HOST: Final = (
    _host("CPU", "system.cpu.total.norm.pct", _SHARE),
    _host("CPU pressure", "system.pressure.cpu.some.avg10.pct", _SHARE),
    _host("throttled by heat", "system.cpu.throttle.package.count_per_s", _PER_S),
    _host("memory", "system.memory.actual.used.bytes", 16 * _BYTES),
    _host("disk reads", "system.diskio.total.read.bytes_per_s", _BYTES_PER_S),
    _host("disk writes", "system.diskio.total.write.bytes_per_s", _BYTES_PER_S),
    _host("network in", "system.network.total.in.bytes_per_s", _BYTES_PER_S),
    _host("network out", "system.network.total.out.bytes_per_s", _BYTES_PER_S),
    _host("receive errors", "system.network.total.in.errors_per_s", _PER_S),
    _host("send errors", "system.network.total.out.errors_per_s", _PER_S),
    _host("TCP retransmits", "system.tcp.retransmits.pct", _SHARE),
    _host("I/O errors", "system.kernel.log.io_error.count_per_s", 0.0),
    _host("OOM kills", "system.vm.oom_kills.count_per_s", 0.0),
    RESTARTS,
)
