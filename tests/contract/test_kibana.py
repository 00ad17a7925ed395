"""What Kibana's own pages need: growth of counters, a container's module and period, memory it may have, addresses."""

from pathlib import Path

import pytest
from trees import Host, Tree, config
from unit.collect.cgroup.test_container_network import Containers, net_dev

from shipper.collect.cgroup import cgroups
from shipper.collect.host import addresses
from shipper.fields.rates import Value
from shipper.kernel.parse import ParseError

GROWTH = ("container.network.ingress.bytes", "container.network.egress.bytes")
TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
           |-- 192.0.2.2
              /32 host LOCAL
           |-- 198.51.100.7
              /24 link UNICAST
              /32 host LOCAL
"""
INET6 = """\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def container(host: Containers) -> dict[str, Value]:
    return host.tick()["cgroup"][f"/docker/{'a' * 64}"]


def growth(values: dict[str, Value]) -> list[Value | None]:
    return [values.get(name) for name in GROWTH]


def test_a_containers_traffic_since_the_document_before(tmp_path: Path) -> None:
    host = Containers(tmp_path, a=(7, "net:[2]"))
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 100, 200)))
    first = container(host)
    assert growth(first) == [None, None]
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 150, 207)))
    assert growth(container(host)) == [50, 7]
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 149, 217)))
    assert growth(container(host)) == [None, 10]  # a counter that went back says nothing
    assert (first["event.module"], first["metricset.period"]) == ("docker", 10_000)


def test_a_service_with_a_network_of_its_own_is_no_container(tmp_path: Path) -> None:
    host, at = Containers(tmp_path), "sys/fs/cgroup/a.service"
    host.tree.write(f"{at}/cpu.stat", "usage_usec 1\n")
    host.tree.write(f"{at}/cgroup.procs", "7\n")
    host.namespace(7, "net:[2]")
    for received in (100, 150):
        host.tree.write("proc/7/net/dev", net_dev(("eth0", received, 200)))
        found = host.tick()["cgroup"]["/a.service"]
    assert found["cgroup.network.in.bytes_per_s"] == 5.0
    assert not {*GROWTH, "event.module", "metricset.period"} & found.keys()


@pytest.mark.parametrize(
    ("limit", "total_kb", "expected"),
    [("max", 4, 0.5), ("3072", 4, 2 / 3), ("1048576", 4, 0.5), ("3072", 0, None), ("0", 4, None)],
)
def test_working_set_of_the_smallest_limit_or_else_of_the_host(
    limit: str, total_kb: int, expected: float | None, tmp_path: Path
) -> None:
    at = "sys/fs/cgroup/a.slice/b.service"
    files = {
        "sys/fs/cgroup/cgroup.controllers": "memory\n",
        "proc/meminfo": f"MemTotal:       {total_kb} kB\n",
        "sys/fs/cgroup/a.slice/memory.max": f"{limit}\n",
        "sys/fs/cgroup/a.slice/memory.current": "2060\n",
        f"{at}/memory.current": "2060\n",
        f"{at}/memory.stat": "inactive_file 12\n",
    }
    host = Host(Tree(tmp_path, files), cgroups.COLLECTOR, settings=config(cgroup_exclude=()))
    found = host.tick()["cgroup"]["/a.slice/b.service"].get("cgroup.memory.working_set.pct")
    assert found == (pytest.approx(expected) if expected else None)


def test_addresses_of_the_host_without_loopback_and_link_local_ones(tmp_path: Path) -> None:
    host = Host(Tree(tmp_path, {"proc/1/net/fib_trie": TRIE, "proc/1/net/if_inet6": INET6}), addresses.COLLECTOR)
    assert host.host() == {"host.ip": ["192.0.2.2", "198.51.100.7", "fd00::2"]}
    host.tree.write("proc/1/net/if_inet6", "")
    assert host.host(10) == {"host.ip": ["192.0.2.2", "198.51.100.7", "fd00::2"]}
    assert host.host(60) == {"host.ip": ["192.0.2.2", "198.51.100.7"]}
    assert host.problems == {}


def test_a_host_without_addresses_has_no_field(tmp_path: Path) -> None:
    assert Host(Tree(tmp_path, {"proc/uptime": "1 1\n"}), addresses.COLLECTOR).tick() == {}


@pytest.mark.parametrize("text", [b"  |-- 192.0.2\n     /32 host LOCAL\n", b"  |-- 192.0.2.2\n     /32 host LOCAL"])
def test_damaged_trie(text: bytes) -> None:
    with pytest.raises(ParseError):
        addresses.ipv4(text)


@pytest.mark.parametrize("text", [b"fd00 04 40 00 82 eth0\n", b"fd00\n", b"zz" * 16 + b" 04 40 00 82 eth0\n"])
def test_damaged_list_of_ipv6(text: bytes) -> None:
    with pytest.raises(ParseError):
        addresses.ipv6(text)
