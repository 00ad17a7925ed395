"""Every parser on damaged text: a value or ParseError, never another exception, never a negative or absurd number.

Each begins with what real kernels wrote and is damaged from there, or is given plain bytes. ``make fuzz`` runs 10,000
inputs per parser, half a million in all, ``make test`` 500 and 28,000; a plain run of pytest a few.
"""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moments import HOSTS

from shipper.collect.cgroup import cgroups, container_network, controllers, slow
from shipper.collect.cgroup.controllers import CgroupFile
from shipper.collect.events import kernel_log
from shipper.collect.host import (
    addresses,
    conntrack,
    cpu,
    disk,
    kernel_tables,
    load,
    memory,
    network,
    protocols,
    raid,
    softirqs,
    storage_clients,
    uptime,
    vmstat,
)
from shipper.collect.metric.exposition import Exposition
from shipper.collect.metric.statsd import Aggregator
from shipper.collect.process import busiest, stat
from shipper.kernel import mountinfo
from shipper.kernel.learned import Learned
from shipper.kernel.parse import LARGEST, ParseError, pressure

INPUTS: Final = int(os.environ.get("FUZZ", "50"))
NET: Final = "proc/1/net"
EXPOSITION: Final = b'# TYPE a counter\na_total{b="c\\n",d="e"} 1.5 17 # {x="y"} 1\n{"f.g",h="i"} 2\n'
NFS: Final = b"rpc 12 3 12\nproc3 22 1 40 29 94 3 18 4 7 8 0 6 0 6 0 7 0 0 2 4 4 2 3\nproc4 2 10 20\n"

Parser = Callable[[bytes], Any]
# Parser, and the captured file (by the end of its name) or the text that it is for


def _numbers_of(datagram: bytes) -> int:
    """How many numbers a StatsD datagram gives."""
    aggregator = Aggregator(10, 300)
    aggregator.take(datagram)
    return len(aggregator.samples(0))


PARSERS: Final[list[tuple[str, Parser, str | bytes]]] = [
    ("cpu", cpu.parse, "proc/stat"),
    ("softirqs", softirqs.parse, "proc/softirqs"),
    ("cores", cpu.parse_cores, "proc/stat"),
    ("load", load.parse, "proc/loadavg"),
    ("statsd", _numbers_of, b"a:1|c\nb:2:3|ms|@0.5|#c:d,e\n\xe2\x98\x83:-1|g|c:ci-1\nu:x|s"),
    ("exposition", lambda text: sum(sample.value > 0 for sample in Exposition(text)), EXPOSITION),
    ("memory", memory.parse, "proc/meminfo"),
    ("vmstat", vmstat.parse, "proc/vmstat"),
    ("pressure", pressure, "proc/pressure/io"),
    ("disk", disk.parse, "proc/diskstats"),
    ("mounts", mountinfo.parse, "proc/1/mountinfo"),
    ("network", network.parse, f"{NET}/dev"),
    ("container network", container_network.parse, f"{NET}/dev"),
    ("sockstat", lambda text: protocols.sockstat(text, protocols._WANTED_SOCKETS), f"{NET}/sockstat"),
    ("snmp", lambda text: protocols.paired(text, protocols._WANTED_SNMP), f"{NET}/snmp"),
    ("netstat", lambda text: protocols.paired(text, protocols._WANTED_NETSTAT), f"{NET}/netstat"),
    ("process", stat.parse, "proc/1/stat"),
    ("cgroup of a process", busiest.cgroup_of, b"5:memory:/docker/x\n0::/system.slice/sshd.service\n"),
    ("uptime", uptime.parse, "proc/uptime"),
    ("IPv4 addresses", addresses.ipv4, b"Local:\n  |-- 192.0.2.2\n     /32 host LOCAL\n"),
    ("IPv6 addresses", addresses.ipv6, b"fd000000000000000000000000000002 04 40 00 82     eth0\n"),
    ("os-release", uptime.os_release, "etc/os-release"),
    ("file-nr", kernel_tables.files, b"1152\t0\t9223372036854775807\n"),
    ("inode-nr", kernel_tables.inodes, b"38270\t7162\n"),
    ("conntrack", conntrack.parse, b"entries found drop\n00000012 00000000 00000003\n"),
    ("raid", raid.progress, b"250 / 1000\n"),
    ("nfs", storage_clients.nfs, NFS),
    ("zfs", storage_clients.arcstats, b"1 1 0x01\nname type data\nhits 4 90\nsize 4 1024\n"),
    ("kernel log", kernel_log.parse, b"6,763,4031597522,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=a,pid=2,uid=0"),
    ("online", cgroups.online, b"0-3,6\n"),
]
# What the captured hosts have only empty
SEEDS: Final = {"misc.current": b"sev 3\nsev_es 4\n", "rdma.current": b"mlx4_0 hca_handle=2 hca_object=2000\n"}
TABLES: Final[dict[str, Mapping[Any, list[CgroupFile]]]] = {
    "cgroup": controllers.TABLES,
    "cgroup slow": slow.TABLES,
}


def of_tables() -> list[tuple[str, Parser, str | bytes]]:
    """The parsers of all cgroup files, each name once."""
    found = {
        f"{kind} {spec.name}": (spec.parse, SEEDS.get(spec.name, spec.name))
        for kind, tables in TABLES.items()
        for table in tables.values()
        for spec in table
    }
    return [(name, parser, file) for name, (parser, file) in sorted(found.items())]


def seed(file: str | bytes) -> bytes:
    """The longest captured file of that name."""
    if isinstance(file, bytes):
        return file
    pattern = f"*/0/{file}" if "/" in file else f"*/0/sys/fs/cgroup/**/{file}"
    return max((path.read_bytes() for path in HOSTS.glob(pattern)), key=len, default=b"0\n")


def damaged(text: bytes) -> st.SearchStrategy[bytes]:
    """``text`` with a part replaced by other bytes, by digits, or by another part of itself."""
    place = st.integers(0, len(text))
    digits = st.sampled_from(
        [b"", b"-1", b"18446744073709551615", b"99999999999999999999999", b"1e5", b"nan", b"0x1", b"\n", b" "]
    )
    part = st.builds(lambda a, b: text[min(a, b) : max(a, b)], place, place)
    return st.builds(
        lambda a, length, new: text[:a] + new + text[a + length :],
        place,
        st.integers(0, 40),
        digits | part | st.binary(max_size=20),
    )


def numbers(found: Any) -> list[float]:
    """All numbers in a parser's value, however deep."""
    if isinstance(found, bool) or found is None:
        return []
    if isinstance(found, int | float):
        return [found]
    if isinstance(found, dict):
        return [number for value in found.values() for number in numbers(value)]
    if isinstance(found, list | tuple):
        return [number for value in found for number in numbers(value)]
    if hasattr(found, "__slots__"):
        return [number for name in found.__slots__ for number in numbers(getattr(found, name))]
    return []


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "parser", "file"), [*PARSERS, *of_tables()], ids=lambda one: one if isinstance(one, str) else ""
)
def test_a_value_or_a_parse_error(name: str, parser: Parser, file: str | bytes) -> None:
    text = seed(file)

    @settings(max_examples=INPUTS, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(text) | st.binary(max_size=200))
    def attempt(data: bytes) -> None:
        try:
            found = parser(data)
        except ParseError as error:
            found = error.partial
        assert all(0 <= number <= LARGEST for number in numbers(found))

    assert seed(file)
    attempt()


LEARNED: Final = {
    "meminfo": (memory.parse, (1, 1024), "proc/meminfo"),
    "vmstat": (vmstat._counts, (1,), "proc/vmstat"),
    "sockstat": (lambda text: protocols.sockstat(text, protocols._WANTED_SOCKETS), (1, 4096), f"{NET}/sockstat"),
    "snmp": (lambda text: protocols.paired(text, protocols._WANTED_SNMP), (1,), f"{NET}/snmp"),
    "netstat": (lambda text: protocols.paired(text, protocols._WANTED_NETSTAT), (1,), f"{NET}/netstat"),
}


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LEARNED)
def test_a_parser_that_has_learned_answers_as_the_parser_itself(name: str) -> None:
    parser, scales, file = LEARNED[name]
    text = seed(file)
    learned = Learned(parser, scales)
    assert learned(text) == parser(text)
    asked: list[bytes] = []

    def ask(data: bytes) -> dict[str, int]:
        asked.append(data)
        found: dict[str, int] = parser(data)
        return found

    learned._parse = ask

    def outcome(parse: Parser, data: bytes) -> object:
        try:
            return parse(data)
        except ParseError as error:
            return str(error), error.partial

    @settings(max_examples=INPUTS, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(text) | st.binary(max_size=200))
    def attempt(data: bytes) -> None:
        assert outcome(learned, data) == outcome(parser, data)

    moved = re.sub(rb"(?<=\s)\d+(?=\s)", lambda number: b"%d" % (int(number[0]) + 1), text)
    assert learned(moved) == parser(moved)
    assert not asked, "it did not learn"
    attempt()
    assert asked


def test_the_parsers_of_all_tables_are_found() -> None:
    names = {name for name, _, _ in of_tables()}
    assert {"cgroup memory.stat", "cgroup cpu.stat", "cgroup slow cgroup.events", "cgroup slow rdma.current"} <= names
    assert len(names) >= 45


def test_every_seed_but_the_empty_ones_is_parsed() -> None:
    """Else the damage would be done to what is no longer the kernel's form."""
    for _, parser, file in PARSERS:
        assert parser(seed(file)) is not None
    for _, parser, file in of_tables():
        with suppress(ParseError):  # what no captured host has begins as a number
            assert parser(seed(file)) is not None
