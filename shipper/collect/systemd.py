"""systemd's units by state, and the failed ones by name: D-Bus, for no file has this.

``org.freedesktop.systemd1.Manager.ListUnits`` on the host's system bus, whose socket lies below the host root
(``run/dbus/system_bus_socket``); asked once a minute, with a time limit (a bus that was stopped answers nothing).
https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.systemd1.html
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from shipper.collect.contract import Collector, host_reading, plain
from shipper.fields import attribute, gauge
from shipper.rates import Reading, Value
from shipper.source import Reader, Root

SOCKETS: Final = ("run/dbus/system_bus_socket", "var/run/dbus/system_bus_socket")
_TIMEOUT_S: Final = 2.0
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
    gauge("system.systemd.units.count", "count", "Units that are loaded", _SOURCE),
    *(
        gauge(f"system.systemd.units.{state}.count", "count", f"Units {which}", _SOURCE)
        for state, which in _STATES.items()
    ),
    attribute("system.systemd.failed", f"Names of failed units, the first {_FAILED_MOST}", _SOURCE),
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


def _ask(path: str) -> list[Sequence[Any]]:
    # Only a host with a bus pays for the import
    from jeepney import DBusAddress, MessageType, new_method_call  # noqa: PLC0415
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415

    manager = DBusAddress(
        "/org/freedesktop/systemd1", "org.freedesktop.systemd1", interface="org.freedesktop.systemd1.Manager"
    )
    with open_dbus_connection(f"unix:path={path}", auth_timeout=_TIMEOUT_S) as connection:
        reply = connection.send_and_get_reply(new_method_call(manager, "ListUnits"), timeout=_TIMEOUT_S)
    if reply.header.message_type is not MessageType.method_return:
        raise OSError(0, f"D-Bus: {reply.body[0] if reply.body else 'refused'}")
    units: list[Sequence[Any]] = reply.body[0]
    return units


def _ask_below(root: Root, path: str) -> list[Sequence[Any]]:
    """``_ask`` at a socket of the host: ``var/run`` is an absolute link, which connect(2) would follow into the container."""
    with root.place(path) as fd:
        return _ask(f"/proc/self/fd/{fd}")


def collect(reader: Reader) -> Iterable[Reading]:
    path = next((path for path in SOCKETS if reader.exists(path)), None)
    if path is None:
        return []
    try:
        units = reader.attempt(path, lambda: _ask_below(reader.root, path))
    except (ValueError, LookupError, StopIteration, EOFError) as error:
        reader.problem(path, f"{type(error).__name__}: {error}")
        return []
    return host_reading(reader, values(units)) if units else []


COLLECTOR = Collector("systemd", "host", FIELDS, plain(collect), pause_s=60)
