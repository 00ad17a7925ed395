"""Soft interrupts by type: ``proc/softirqs``, with a column for each possible CPU (Linux 2.6.31).

                    CPU0       CPU1
          HI:          0          2
      NET_RX:    2050530    1625197

The kernel counts in 32 bits for each CPU: when a count wraps, the sum falls and has no rate at that tick. ``cpu`` has the
sum of all types, system.softirqs.count. https://docs.kernel.org/filesystems/proc.html
"""

from collections.abc import Iterable
from typing import Final

from shipper.collect.contract import Collector, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import counter
from shipper.fields.rates import Reading
from shipper.kernel.parse import ParseError, integer, merged
from shipper.kernel.source import Reader

_FILE: Final = "proc/softirqs"
# Row: field, help
_TYPES: Final = {
    b"HI": ("system.softirq.hi.count", "High-priority tasklets"),
    b"TIMER": ("system.softirq.timer.count", "Soft interrupts for expired timers"),
    b"NET_TX": ("system.softirq.net_tx.count", "Soft interrupts for sent packets"),
    b"NET_RX": ("system.softirq.net_rx.count", "Soft interrupts for received packets"),
    b"BLOCK": ("system.softirq.block.count", "Soft interrupts for completed requests of block devices"),
    b"IRQ_POLL": ("system.softirq.irq_poll.count", "Soft interrupts to poll block devices (Linux 4.5)"),
    b"TASKLET": ("system.softirq.tasklet.count", "Tasklets"),
    b"SCHED": ("system.softirq.sched.count", "Soft interrupts of the scheduler for load balancing"),
    b"HRTIMER": ("system.softirq.hrtimer.count", "Soft interrupts for high-resolution timers"),
    b"RCU": ("system.softirq.rcu.count", "Soft interrupts for RCU (read-copy-update)"),
}

FIELDS: Final = tuple(
    counter(name, "count", help_, f"{_FILE} {row.decode()}, all CPUs") for row, (name, help_) in _TYPES.items()
)


def parse(text: bytes) -> dict[str, int]:
    """Sums over the CPUs; a damaged row costs only its own field. Raises ParseError."""
    cpus = len(text.partition(b"\n")[0].split())

    def parse_row(row: bytes) -> dict[str, int]:
        key, colon, rest = row.partition(b":")
        known = _TYPES.get(key.strip())
        if not colon or not known:
            return {}
        counts = rest.split()
        if len(counts) != cpus:
            raise ParseError(f"{len(counts)} columns")
        return {known[0]: sum(map(integer, counts))}

    return merged(text, parse_row)


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    counts = reader.parse(_FILE, parse)
    return host_reading(reader, {**counts} if counts else None)


COLLECTOR: Final = Collector("softirqs", plain(collect), {HOST: Output(FIELDS)})
