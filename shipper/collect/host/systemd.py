"""systemd's units by state, and the failed ones by name: D-Bus, for no file has this.

``org.freedesktop.systemd1.Manager.ListUnits`` on the host's system bus, whose socket lies below the host root
(``run/dbus/system_bus_socket``); asked once a minute, with a time limit (a bus that was stopped answers nothing).
https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.systemd1.html
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import attribute, gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel import bus
from shipper.kernel.source import Reader

_FAILED_MOST: Final = 20
_STATES: Final = {
    "active": "that run, or are in effect",
    "reloading": "that read their configuration again",
    "inactive": "that are not in use",
    "failed": "that failed",
    "activating": "that are being started",
    "deactivating": "that are being stopped",
}
_SOURCE: Final = "systemd1.Manager ListUnits"
_NAME, _ACTIVE = 0, 3  # of the tuple that ListUnits gives for each unit

FIELDS = (
    gauge("system.systemd.units.count", "count", "Units that are loaded; read each minute", _SOURCE),
    *(
        gauge(f"system.systemd.units.{state}.count", "count", f"Units {which}; read each minute", _SOURCE)
        for state, which in _STATES.items()
    ),
    attribute("system.systemd.failed", f"Names of failed units, the first {_FAILED_MOST}; read each minute", _SOURCE),
)


def values(units: Iterable[Sequence[Any]]) -> dict[str, Value]:
    """Fields of what ListUnits answered."""
    listed = [(str(unit[_NAME]), str(unit[_ACTIVE])) for unit in units]
    states = Counter(state for _, state in listed)
    failed = sorted(name for name, state in listed if state == "failed")[:_FAILED_MOST]
    counts: dict[str, Value] = {f"system.systemd.units.{state}.count": states[state] for state in _STATES}
    return {
        "system.systemd.units.count": len(listed),
        **counts,
        **({"system.systemd.failed": failed} if failed else {}),
    }


def collect(reader: Reader) -> Iterable[Reading]:
    path = bus.socket_of(reader)
    if path is None:
        return []
    try:
        units = reader.attempt(path, lambda: bus.call(reader.root, path, "systemd1", "ListUnits"))
    except (ValueError, LookupError, StopIteration, EOFError) as error:
        reader.problem(path, f"{type(error).__name__}: {error}")
        return []
    return host_reading(reader, values(units)) if units else []


NEEDS = (Need("systemd's units (system.systemd)", bus.SOCKETS, "there is no system bus"),)

COLLECTOR = Collector("systemd", plain(collect), {HOST: Output(FIELDS)}, NEEDS, every_s=60)
