"""systemd's units, asked over a real D-Bus daemon; the manager behind it is the test's own."""

import threading
from pathlib import Path
from typing import Any

import pytest
from jeepney import MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from trees import Host, Tree

from shipper.collect.host import systemd
from shipper.kernel.bus import SOCKETS

SOCKET = SOCKETS[0]


def unit(name: str, state: str) -> tuple[Any, ...]:
    return (name, "a description", "loaded", state, "sub", "", "/org/freedesktop/systemd1/unit/x", 0, "", "/")


UNITS = [
    unit("sshd.service", "active"), unit("web.service", "failed"), unit("a.mount", "failed"),
    unit("b.timer", "inactive"), unit("c.service", "activating"),
]  # fmt: skip


pytestmark = pytest.mark.needs("dbus-daemon")


class Manager:
    """Answers ListUnits with ``units``; with an error where there are none, and not at all when ``silent``."""

    def __init__(self, root: Path, units: list[tuple[Any, ...]], *, silent: bool = False) -> None:
        self._connection = open_dbus_connection(f"unix:path={root / SOCKET}")
        self._connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.systemd1"))
        self._units, self._silent = units, silent
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                message = self._connection.receive()
            except (OSError, EOFError):
                return
            if message.header.message_type is not MessageType.method_call or self._silent:
                continue
            if self._units:
                self._connection.send(new_method_return(message, "a(ssssssouso)", (self._units,)))
            else:
                self._connection.send(new_error(message, "org.freedesktop.DBus.Error.AccessDenied", "s", ("denied",)))


def host(root: Path) -> Host:
    return Host(Tree(root, {}), systemd.COLLECTOR)


def test_units_by_state_and_failed_ones_by_name(bus: Path) -> None:
    Manager(bus, UNITS)
    one = host(bus)
    assert one.host() == {
        "system.systemd.units.count": 5,
        "system.systemd.units.active.count": 1,
        "system.systemd.units.reloading.count": 0,
        "system.systemd.units.inactive.count": 1,
        "system.systemd.units.failed.count": 2,
        "system.systemd.units.activating.count": 1,
        "system.systemd.units.deactivating.count": 0,
        "system.systemd.failed": ["a.mount", "web.service"],
    }
    assert one.problems == {}


def test_a_bus_without_systemd_a_refusal_and_a_silent_one_are_named(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host(bus)
    assert one.host() == {}
    assert "systemd1" in one.problems[SOCKET]
    Manager(bus, [])
    assert one.host() == {}
    assert "denied" in one.problems[SOCKET]


def test_a_stopped_manager_costs_the_time_limit_and_no_more(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipper.kernel.bus._TIMEOUT_S", 0.2)
    Manager(bus, UNITS, silent=True)
    one = host(bus)
    assert one.host() == {}
    assert SOCKET in one.problems


def test_no_bus_is_no_problem(tmp_path: Path) -> None:
    one = host(tmp_path)
    assert one.host() == {}
    assert one.problems == {}


def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {SOCKET: ""})
    one = Host(tree, systemd.COLLECTOR)
    assert one.host() == {}
    assert SOCKET in one.problems
