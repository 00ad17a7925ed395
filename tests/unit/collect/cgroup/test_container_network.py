"""Network of containers: real namespaces and interfaces of the test's own against the kernel's own counters."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import Host, Tree, config

from shipper.collect.cgroup import cgroups, container_network
from shipper.fields.rates import Reading, Value
from shipper.kernel.hierarchy import detect
from shipper.kernel.parse import ParseError
from shipper.kernel.source import Reader, Root

ID = "4f1c0ffee0" * 6 + "abcd"
HEADER = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n"  # noqa: E501
LINE = "{}: {} 2 3 4 9 9 9 9 {} 6 7 8 9 9 9 9\n"
NET = "cgroup.network"


def net_dev(*interfaces: tuple[str, int, int]) -> str:
    return HEADER + "".join(LINE.format(*one) for one in interfaces)


class Containers(Host):
    """Containers on a v2 tree: member pid and namespace of each."""

    def __init__(self, directory: Path, **members: tuple[int, str]) -> None:
        files = {"sys/fs/cgroup/cgroup.controllers": "\n"}
        super().__init__(Tree(directory, files), cgroups.COLLECTOR, settings=config(cgroup_exclude=()))
        self.namespace(1, "net:[1]")
        for name, (pid, namespace) in members.items():
            self.tree.write(f"{self.directory(name)}/cpu.stat", "usage_usec 1\n")
            self.tree.write(f"{self.directory(name)}/cgroup.procs", f"{pid}\n")
            self.namespace(pid, namespace)

    def directory(self, name: str) -> str:
        return f"sys/fs/cgroup/docker/{name * 64}"

    def namespace(self, pid: int, name: str) -> None:
        link = Path(self.tree.absolute(f"proc/{pid}/ns/net"))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(name)

    def of(self, name: str, seconds: float = 10) -> dict[str, Value]:
        found = self.tick(seconds)["cgroup"][f"/docker/{name * 64}"]
        return {key.removeprefix(f"{NET}."): value for key, value in found.items() if key.startswith(NET)}


def test_sums_over_all_interfaces_but_lo(tmp_path: Path) -> None:
    host = Containers(tmp_path, a=(7, "net:[2]"))
    host.tree.write("proc/7/net/dev", net_dev(("lo", 5000, 5000), ("eth0", 100, 200), ("eth1", 1, 2)))
    assert host.of("a") == {
        "in.bytes": 101, "in.packets": 4, "in.errors": 6, "in.dropped": 8,
        "out.bytes": 202, "out.packets": 12, "out.errors": 14, "out.dropped": 16,
    }  # fmt: skip
    host.tree.write("proc/7/net/dev", net_dev(("lo", 9000, 9000), ("eth0", 300, 200), ("eth1", 1, 52)))
    found = host.of("a")
    assert (found["in.bytes_per_s"], found["out.bytes_per_s"]) == (20.0, 5.0)
    assert host.problems == {}


def test_the_hosts_own_namespace_is_no_containers(tmp_path: Path) -> None:
    host = Containers(tmp_path, a=(7, "net:[1]"))
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 1, 2)))
    assert host.of("a") == {}


def test_a_shared_namespace_is_counted_once_in_the_cgroup_made_first(tmp_path: Path) -> None:
    host = Containers(tmp_path, a=(7, "net:[2]"), b=(8, "net:[2]"), c=(9, "net:[3]"))
    for pid in (7, 8):
        host.tree.write(f"proc/{pid}/net/dev", net_dev(("eth0", 100, 200)))
    host.tree.write("proc/9/net/dev", net_dev(("eth0", 1, 1)))
    for name, made in (("a", 2000), ("b", 1000), ("c", 3000)):
        os.utime(host.tree.absolute(host.directory(name)), (made, made))
    found = host.tick()["cgroup"]
    assert sum(int(str(one.get(f"{NET}.in.bytes", 0))) for one in found.values()) == 101
    assert f"{NET}.in.bytes" in found[f"/docker/{'b' * 64}"]


def test_another_namespace_is_another_identity_without_rates(tmp_path: Path) -> None:
    host = Containers(tmp_path, a=(7, "net:[2]"))
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 100, 200)))
    host.of("a")
    host.namespace(7, "net:[4]")
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 5_000_000, 6_000_000)))
    assert host.of("a")["in.bytes"] == 5_000_000
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 5_000_100, 6_000_000)))
    found = host.of("a")
    assert found["in.bytes_per_s"] == 10.0


def test_a_member_that_ended_is_replaced_at_once_by_another(tmp_path: Path) -> None:
    host = Containers(tmp_path, a=(7, "net:[2]"))
    host.tree.write("proc/7/net/dev", net_dev(("eth0", 100, 200)))
    host.of("a")
    Path(host.tree.absolute("proc/7/ns/net")).unlink()
    host.namespace(8, "net:[2]")
    host.tree.write("proc/8/net/dev", net_dev(("eth0", 150, 200)))
    host.tree.write(f"{host.directory('a')}/cgroup.procs", "8\n")
    found = host.of("a")
    assert (found["in.bytes"], found["in.bytes_per_s"]) == (150, 5.0)


@pytest.mark.parametrize(
    "text", [HEADER + "eth0: 1 2\n", HEADER + "eth0 1\n", HEADER + "eth0: x" + " 1" * 15 + "\n", "x"]
)
def test_damaged_net_dev_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError):
        container_network.parse(text.encode())


# Joins the cgroups given, makes a network of two interfaces of its own, and moves a known number of bytes over it.
MEMBER = """
import json, os, socket, subprocess, sys
for path in sys.argv[1:]:
    with open(path + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
run = lambda *words: subprocess.run(words, check=True)
run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
run("ip", "link", "set", "eth1", "arp", "off", "up")
run("ip", "address", "add", "10.9.8.7/24", "dev", "eth0")
run("ip", "link", "set", "eth0", "arp", "off", "up")
print("up", flush=True)
sys.stdin.readline()
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(1000):
    sender.sendto(b"x" * 972, ("10.9.8.9", 9))
numbers = [line.split(":")[1].split() for line in open("/proc/net/dev") if "eth" in line]
print(json.dumps([sum(map(int, column)) for column in zip(*numbers)]), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def directories() -> Iterator[list[Path]]:
    hierarchies = detect(Reader(Root())).hierarchies
    name = f"docker-{secrets.token_hex(32)}.scope"
    made = [Path(f"/{base}/{name}") for base in hierarchies.values()]
    for directory in made:
        directory.mkdir()
    try:
        yield made
    finally:
        for directory in made:
            directory.rmdir()


def descriptors() -> set[tuple[str, str]]:
    """Number and file of each descriptor that this process has open."""
    links = [(fd, f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return {(fd, os.readlink(link)) for fd, link in links if os.path.lexists(link)}


@pytest.mark.root
def test_a_real_namespace_agrees_with_its_own_counters_and_is_not_kept_alive(directories: list[Path]) -> None:
    reader = Reader(Root())
    collect = cgroups.COLLECTOR.start(reader, config(cgroup_exclude=()))
    path = f"/{directories[0].name}"

    def reading() -> Reading:
        return next(one for one in collect() if one.entity == path)

    held = descriptors()
    arguments = ["unshare", "--net", sys.executable, "-c", MEMBER, *map(str, directories)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as member:
        assert member.stdin and member.stdout
        try:
            assert member.stdout.readline() == "up\n"
            before = reading()
            member.stdin.write("\n")
            member.stdin.flush()
            theirs = json.loads(member.stdout.readline())
            after = reading()
            pinned = descriptors() - held
        finally:
            member.kill()
            member.wait()
    columns = [after.values[f"{NET}.{name}"] for name in ("in.bytes", "in.packets", "out.bytes", "out.packets")]
    assert columns == [theirs[at] for at in (0, 1, 8, 9)]
    grown = int(str(after.values[f"{NET}.out.bytes"])) - int(str(before.values[f"{NET}.out.bytes"]))
    assert grown >= 1_000_000
    assert not [name for _, name in pinned if "/net/" in name]
    assert reader.take_problems() == []


# The collector in a pid namespace of its own, as below systemd-nspawn --as-pid2, where cgroup.procs lists no one else
INSIDE = """
import json, sys
from shipper.collect.cgroup import cgroups
from shipper.collect.cgroup.runtime import containers
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config
reader = Reader(Root())
config = Config(collectors=(containers.Options(docker_roots=(sys.argv[1],)),))
collect = cgroups.COLLECTOR.start(reader, config)
print(json.dumps(next(one.values for one in collect() if one.entity == sys.argv[2])))
assert reader.take_problems() == []
"""


@pytest.mark.root
@pytest.mark.parametrize("noted", ["member", "another"])
def test_from_a_pid_namespace_of_our_own_the_runtimes_note_leads_to_the_network(
    directories: list[Path], tmp_path: Path, noted: str
) -> None:
    path = f"/{directories[0].name}"
    id_ = path.removeprefix("/docker-").removesuffix(".scope")
    file = tmp_path / "containers" / id_ / "config.v2.json"
    file.parent.mkdir(parents=True)
    arguments = ["unshare", "--net", sys.executable, "-c", MEMBER, *map(str, directories)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as member:
        assert member.stdout
        try:
            assert member.stdout.readline() == "up\n"
            pid = member.pid if noted == "member" else os.getpid()
            file.write_text(json.dumps({"Name": "/web-1", "State": {"Pid": pid}}))
            inside = ["unshare", "--pid", "--fork", sys.executable, "-c", INSIDE, str(tmp_path), path]
            done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
        finally:
            member.kill()
            member.wait()
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["container.name"] == "web-1"
    # Known where there is a cgroup2, which lists what is in another namespace as 0; v1 leaves it out
    assert values.get("cgroup.processes.count", 1) == 1
    assert (f"{NET}.in.bytes" in values) == (noted == "member")
