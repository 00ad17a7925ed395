from pathlib import Path

import pytest
from trees import Host, Tree, config

from shipper.collect.host import network
from shipper.kernel.parse import ParseError

HEADER = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
"""  # noqa: E501
COUNTS = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"


def dev(**counts: int | str) -> str:
    """``eth0=5``: every column 5."""
    rows = {name: count if isinstance(count, str) else " ".join([str(count)] * 16) for name, count in counts.items()}
    return HEADER + "".join(f"{name:>6}: {row}\n" for name, row in rows.items())


def tree_of(directory: Path, text: str, *, physical: str = "", virtual: str = "") -> Tree:
    tree = Tree(directory, {"proc/1/net/dev": text})
    for index, name in enumerate([*physical.split(), *virtual.split()], 2):
        tree.write(f"sys/class/net/{name}/ifindex", f"{index}\n")
        tree.write(f"sys/class/net/{name}/operstate", "up\n")
        tree.write(f"sys/class/net/{name}/mtu", "1500\n")
    for name in physical.split():
        tree.write(f"sys/class/net/{name}/device", "")
    return tree


def test_every_column_has_its_own_field() -> None:
    [(name, values)] = network.parse(dev(eth0=COUNTS).encode())
    assert name == "eth0"
    assert {key.removeprefix("system.network."): value for key, value in values.items()} == {
        "in.bytes": 1, "in.packets": 2, "in.errors": 3, "in.dropped": 4, "in.fifo.count": 5, "in.frame.count": 6,
        "in.compressed.count": 7,
        "in.multicast.count": 8, "out.bytes": 9, "out.packets": 10, "out.errors": 11, "out.dropped": 12,
        "out.fifo.count": 13, "out.collisions.count": 14, "out.carrier.count": 15,
        "out.compressed.count": 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "name"),
    [(f"eth0:{COUNTS}", "eth0"), (f"eth0:1:{COUNTS}", "eth0:1"), (f"wg-a.b_c@x: {COUNTS}", "wg-a.b_c@x")],
)
def test_odd_forms_of_names(line: str, name: str) -> None:
    assert [found for found, _ in network.parse(f"{HEADER}{line}\n".encode())] == [name]


@pytest.mark.parametrize("line", [f"a/b: {COUNTS}", f": {COUNTS}", "eth0: 1 2 3"])
def test_damaged_line_spoils_only_itself(line: str) -> None:
    with pytest.raises(ParseError) as caught:
        network.parse(f"{dev(lo=1)}{line}\n".encode())
    assert [name for name, _ in caught.value.partial] == ["lo"]


def test_a_damaged_column_spoils_only_itself() -> None:
    with pytest.raises(ParseError) as caught:
        network.parse(f"{dev(lo=1)}eth0: -{COUNTS}\n".encode())
    values = dict(caught.value.partial)["eth0"]
    assert "system.network.in.bytes" not in values
    assert values["system.network.out.compressed.count"] == 16


def test_attributes_of_the_link(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(eth0=1, dummy0=1), physical="eth0", virtual="dummy0")
    tree.write("sys/class/net/eth0/speed", "10000\n")
    tree.write("sys/class/net/dummy0/speed", "-1\n")
    host = Host(tree, network.COLLECTOR)
    documents = host.tick()["network"]
    assert documents["eth0"]["system.network.physical"] is True
    assert documents["eth0"]["system.network.operstate"] == "up"
    assert documents["eth0"]["system.network.mtu.bytes"] == 1500
    assert documents["eth0"]["system.network.speed.mbit_per_s"] == 10_000
    assert documents["dummy0"]["system.network.physical"] is False
    assert "system.network.speed.mbit_per_s" not in documents["dummy0"]
    assert not host.problems


def test_interface_that_sysfs_does_not_know_has_counters_only(tmp_path: Path) -> None:
    host = Host(tree_of(tmp_path, dev(eth0=7)), network.COLLECTOR)
    values = host.tick()["network"]["eth0"]
    assert values["system.network.in.bytes"] == 7
    assert not [name for name in values if name.endswith(("physical", "operstate", "mtu.bytes"))]
    assert not host.problems


def test_slow_attributes_are_read_again_after_a_minute_or_a_change(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(eth0=1), physical="eth0")
    host = Host(tree, network.COLLECTOR)
    host.tick()
    tree.write("sys/class/net/eth0/mtu", "9000\n")
    assert host.tick()["network"]["eth0"]["system.network.mtu.bytes"] == 1500
    assert host.tick(60)["network"]["eth0"]["system.network.mtu.bytes"] == 9000
    tree.write("sys/class/net/eth0/mtu", "1400\n")
    tree.write("sys/class/net/eth0/operstate", "down\n")
    values = host.tick()["network"]["eth0"]
    assert (values["system.network.operstate"], values["system.network.mtu.bytes"]) == ("down", 1400)


def test_other_interface_of_the_same_name_has_no_rates(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(eth0=1), physical="eth0")
    host = Host(tree, network.COLLECTOR)
    host.tick()
    tree.write("proc/1/net/dev", dev(eth0=101))
    assert host.tick()["network"]["eth0"]["system.network.in.bytes_per_s"] == pytest.approx(10.0)
    tree.write("sys/class/net/eth0/ifindex", "9\n")
    tree.write("proc/1/net/dev", dev(eth0=5000))
    assert not [name for name in host.tick()["network"]["eth0"] if name.endswith("per_s") and "speed" not in name]


def test_excluded_interfaces_have_no_document(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(lo=1, veth1=1, eth0=1), physical="eth0")
    host = Host(tree, network.COLLECTOR, settings=config(interface_exclude=("lo", "veth*")))
    assert set(host.tick()["network"]) == {"eth0"}


def test_totals_are_of_physical_interfaces(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, dev(lo=1, eth0=20, eth1=300, bond0=4000, docker0=50000), physical="eth0 eth1", virtual="bond0"
    )
    assert Host(tree, network.COLLECTOR).host()["system.network.total.in.bytes"] == 320


def test_virtual_function_below_a_physical_interface_is_not_counted_twice(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(eth0=20, enP1=20), physical="eth0 enP1")
    tree.write("sys/class/net/enP1/master/device", "")
    assert Host(tree, network.COLLECTOR).host()["system.network.total.in.bytes"] == 20


def test_totals_without_any_physical_interface(tmp_path: Path) -> None:
    names = {"lo": 1, "eth0": 20, "veth3": 300, "docker0": 4000, "br-1": 50_000, "cni0": 600_000}
    tree = tree_of(tmp_path, dev(**names), virtual="eth0 cni0")
    tree.write("sys/class/net/cni0/bridge/bridge_id", "")
    assert Host(tree, network.COLLECTOR).host()["system.network.total.out.bytes"] == 20


def test_bytes_since_the_last_document_for_kibana(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(eth0=1000), physical="eth0 eth1")
    host = Host(tree, network.COLLECTOR)
    assert "host.network.ingress.bytes" not in host.host()
    tree.write("proc/1/net/dev", dev(eth0=f"1500 {'0 ' * 7}1700 {'0 ' * 7}", eth1=10**12))
    values = host.host()
    assert (values["host.network.ingress.bytes"], values["host.network.egress.bytes"]) == (500, 700)
    assert values["system.network.total.in.bytes"] == 1500
    assert values["system.network.total.in.bytes_per_s"] == pytest.approx(50.0)


def test_descriptors_of_gone_interfaces_are_closed(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, dev(eth0=1), physical="eth0")
    host = Host(tree, network.COLLECTOR)
    free = tree.descriptors.free
    host.tick()
    tree.write("proc/1/net/dev", dev())
    host.tick()
    assert free - tree.descriptors.free == 1  # proc/1/net/dev itself
