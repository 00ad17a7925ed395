"""Is the host's clock right? What NTP told the kernel: adjtimex(2), which is the same in every container.

https://man7.org/linux/man-pages/man2/adjtimex.2.html; no file of /proc has this.
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
    attribute("system.clock.synchronised", "The clock follows another one", "adjtimex STA_UNSYNC", Type.BOOLEAN),
    real("system.clock.offset.us", "us", "Distance to that clock still to be corrected", "adjtimex offset"),
    gauge("system.clock.error.estimated.us", "us", "Estimated error", "adjtimex esterror"),
    gauge("system.clock.error.maximum.us", "us", "Largest possible error", "adjtimex maxerror"),
    real("system.clock.frequency.ppm", "ppm", "Correction of the clock's rate", "adjtimex freq"),
)


def values(state: int, timex: Timex) -> dict[str, Value]:
    """Fields of what adjtimex answered."""
    offset = timex.offset / 1000 if timex.status & _NANOSECONDS else float(timex.offset)
    return {
        "system.clock.synchronised": state != _ERROR and not timex.status & _UNSYNCHRONISED,
        "system.clock.offset.us": offset,
        "system.clock.error.estimated.us": timex.esterror,
        "system.clock.error.maximum.us": timex.maxerror,
        "system.clock.frequency.ppm": timex.freq / _PPM,
    }


def collect(reader: Reader) -> Iterable[Reading]:
    answer = reader.attempt("adjtimex(2)", reader.root.adjtimex)
    return host_reading(reader, values(*answer) if answer else None)


COLLECTOR = Collector("clock", plain(collect), {HOST: Output(FIELDS)})
