"""Clock synchronisation: what NTP told the kernel. adjtimex(2) gives the same answer in every container.

https://man7.org/linux/man-pages/man2/adjtimex.2.html; no file in /proc has this.
"""

from collections.abc import Iterable

from shipper.collect.contract import Collector, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import Type, attribute, gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.source import Reader
from shipper.kernel.timex import Timex

_ERROR = 5  # TIME_ERROR: the clock is not synchronised
_UNSYNCHRONISED = 0x0040  # STA_UNSYNC
_NANOSECONDS = 0x2000  # STA_NANO: offset is in ns, not µs
_PPM = 65_536  # frequency is in 2^-16 parts per million

FIELDS = (
    attribute(
        "system.clock.synchronised",
        "Whether the clock is synchronised to a time source",
        "adjtimex STA_UNSYNC",
        Type.BOOLEAN,
    ),
    real("system.clock.offset.us", "us", "Remaining offset from the time source", "adjtimex offset"),
    gauge("system.clock.error.estimated.us", "us", "Estimated error of the clock", "adjtimex esterror"),
    gauge("system.clock.error.maximum.us", "us", "Maximum error of the clock", "adjtimex maxerror"),
    real("system.clock.frequency.ppm", "ppm", "Frequency correction of the clock", "adjtimex freq"),
)


def values(state: int, timex: Timex) -> dict[str, Value]:
    """Fields from the answer of adjtimex(2)."""
    offset = timex.offset / 1000 if timex.status & _NANOSECONDS else float(timex.offset)
    return {
        "system.clock.synchronised": state != _ERROR and not timex.status & _UNSYNCHRONISED,
        "system.clock.offset.us": offset,
        "system.clock.error.estimated.us": timex.esterror,
        "system.clock.error.maximum.us": timex.maxerror,
        "system.clock.frequency.ppm": timex.freq / _PPM,
    }


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    answer = reader.attempt("adjtimex(2)", reader.root.adjtimex)
    return host_reading(reader, values(*answer) if answer else None)


COLLECTOR = Collector("clock", plain(collect), {HOST: Output(FIELDS)})
