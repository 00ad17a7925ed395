"""systemd's units by state, and the names of failed units: over D-Bus, because no file has this.

``org.freedesktop.systemd1.Manager.ListUnits`` on the host's system bus, whose socket is below the host root
(``run/dbus/system_bus_socket``); called once a minute with a timeout (a stopped bus does not respond).
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
    "active": "that are active",
    "reloading": "that reload their configuration",
    "inactive": "that are inactive",
    "failed": "that failed",
    "activating": "that are starting",
    "deactivating": "that are stopping",
}
_SOURCE: Final = "systemd1.Manager ListUnits"
_NAME, _ACTIVE = 0, 3  # of the tuple that ListUnits gives for each unit

FIELDS = (
    gauge("system.systemd.units.count", "count", "Loaded units; read once a minute", _SOURCE),
    *(
        gauge(f"system.systemd.units.{state}.count", "count", f"Units {which}; read once a minute", _SOURCE)
        for state, which in _STATES.items()
    ),
    attribute("system.systemd.failed", f"Names of failed units, at most {_FAILED_MOST}; read once a minute", _SOURCE),
)


def values(units: Iterable[Sequence[Any]]) -> dict[str, Value]:
    """Fields from the answer of ListUnits."""
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
    """The reading of the host."""
    path = bus.socket_of(reader)
    if path is None:
        return []
    try:
        units = reader.attempt(path, lambda: bus.call(reader.root, path, "systemd1", "ListUnits"))
    except (ValueError, LookupError, StopIteration, EOFError) as error:
        reader.problem(path, f"{type(error).__name__}: {error}")
        return []
    return host_reading(reader, values(units)) if units else []


NEEDS = (Need("systemd's units (system.systemd)", bus.SOCKETS, "the host has no system bus"),)

COLLECTOR = Collector("systemd", plain(collect), {HOST: Output(FIELDS)}, NEEDS, every_s=60)
