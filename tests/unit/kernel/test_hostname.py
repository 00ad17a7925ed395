"""The host's name: what a person set, else what the kernel of the host has, never that of the container around us."""

import threading
from pathlib import Path

import pytest
from casetrees import host_of
from jeepney import MessageType, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from trees import Tree

from shipper.base.findings import Level
from shipper.kernel import hostname, hostview
from shipper.kernel.bus import SOCKETS
from shipper.kernel.source import Reader

KERNEL = "proc/sys/kernel/hostname"
ANOTHER_UTS = "uts:[1]"


def tree(directory: Path, files: dict[str, str], *, own_uts: bool = False) -> Tree:
    """``own_uts``: pid 1 is in another UTS namespace than this process."""
    found = Tree(directory, files)
    if own_uts:
        (directory / "proc/1/ns").mkdir(parents=True)
        (directory / "proc/1/ns/uts").symlink_to(ANOTHER_UTS)
    return found


def name(root: Tree) -> tuple[str, str]:
    found = hostname.find(Reader(root))
    return found.name, found.source


def test_12_a_name_that_every_host_has_gives_way_to_the_kernels(tmp_path: Path) -> None:
    root = host_of("12", tmp_path).tree
    assert hostview.examine(root, environ={}).name == "io4.int.example.org"


@pytest.mark.parametrize(
    "said", ["", "\n", "# only a comment\n", "(none)\n", "localhost\n", "LOCALHOST.localdomain\n", "0a1b2c3d4e5f\n"]
)
def test_what_is_no_name_gives_way_to_the_kernels(said: str, tmp_path: Path) -> None:
    assert name(tree(tmp_path, {"etc/hostname": said, KERNEL: "node-1\n"})) == ("node-1", KERNEL)


@pytest.mark.parametrize(
    ("said", "kernels", "expected"),
    [
        ("node-1\n", "dhcp-7\n", ("node-1", "etc/hostname")),
        ("localhost\n", "(none)\n", ("localhost", "etc/hostname")),
        ("(none)\n", "(none)\n", ("", "etc/hostname")),
    ],
)
def test_the_first_plausible_name_counts(said: str, kernels: str, expected: tuple[str, str], tmp_path: Path) -> None:
    assert name(tree(tmp_path, {"etc/hostname": said, KERNEL: kernels})) == expected


def test_a_name_that_is_only_the_containers_is_refused_with_what_to_do(tmp_path: Path) -> None:
    root = tree(tmp_path, {KERNEL: "shipper-box\n"}, own_uts=True)
    found = [one.text for one in hostview.examine(root, environ={}).findings if one.level is Level.WRONG]
    assert (
        'host name "shipper-box" is only that of this container; set host.name, or share the UTS namespace of the host'
        in found
    )
    assert name(tree(tmp_path / "told", {"etc/hostname": "node-1\n", KERNEL: "x\n"}, own_uts=True))[0] == "node-1"


@pytest.mark.needs("dbus-daemon")
def test_from_a_container_the_hosts_hostnamed_is_asked(bus: Path) -> None:
    connection = open_dbus_connection(f"unix:path={bus / SOCKETS[0]}")
    connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.hostname1"))

    def serve() -> None:
        message = connection.receive(timeout=30)
        while message.header.message_type is not MessageType.method_call:
            message = connection.receive(timeout=30)
        assert message.body == ("org.freedesktop.hostname1", "Hostname")
        connection.send(new_method_return(message, "v", (("s", "core-3.example.org"),)))

    thread = threading.Thread(target=serve)
    thread.start()
    root = tree(bus, {KERNEL: "shipper-box\n"}, own_uts=True)
    assert name(root) == ("core-3.example.org", "org.freedesktop.hostname1")
    thread.join()
    connection.close()
