"""Calls on the host's system bus (D-Bus), whose socket is below the host root; with a timeout."""

from typing import Any, Final

from shipper.kernel.source import Reader, Root

SOCKETS: Final = ("run/dbus/system_bus_socket", "var/run/dbus/system_bus_socket")
_TIMEOUT_S: Final = 2.0


def socket_of(reader: Reader) -> str | None:
    """The path of the socket; None if there is none."""
    return next((path for path in SOCKETS if reader.exists(path)), None)


def call(root: Root, path: str, service: str, method: str) -> Any:
    """The answer of ``org.freedesktop.<service>.Manager.<method>``. Raises OSError and what jeepney raises."""
    from jeepney import DBusAddress, new_method_call  # noqa: PLC0415 – only a host with a bus pays for the import

    name = f"org.freedesktop.{service}"
    address = DBusAddress(f"/org/freedesktop/{service}", name, interface=f"{name}.Manager")
    return _send(root, path, new_method_call(address, method))


def get(root: Root, path: str, service: str, name: str) -> Any:
    """The property ``name`` of ``org.freedesktop.<service>``. Raises like ``call``."""
    from jeepney import DBusAddress, Properties  # noqa: PLC0415

    own = f"org.freedesktop.{service}"
    _signature, value = _send(root, path, Properties(DBusAddress(f"/org/freedesktop/{service}", own, own)).get(name))
    return value


def _send(root: Root, path: str, message: Any) -> Any:
    from jeepney import MessageType  # noqa: PLC0415
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415

    def connect(fd: int) -> Any:
        return open_dbus_connection(f"unix:path=/proc/self/fd/{fd}", auth_timeout=_TIMEOUT_S)

    # var/run is an absolute link, which connect(2) would follow into the container
    with root.at(path, connect) as connection:
        reply = connection.send_and_get_reply(message, timeout=_TIMEOUT_S)
    if reply.header.message_type is not MessageType.method_return:
        raise OSError(0, f"D-Bus: {reply.body[0] if reply.body else 'refused'}")
    return reply.body[0]
