"""Counters of filesystems: the NFS client and the cache of ZFS.

``proc/1/net/rpc/nfs``::

    rpc 1218785755 374636 1218815394       (calls, retransmissions, authentication refreshes)
    proc3 22 1 4084749 29200 …             (number of operations, then a count each, in the protocol's order)

https://docs.kernel.org/filesystems/nfs/; ``proc/spl/kstat/zfs/arcstats``: two lines of heading, then lines of ``name type data``.
"""

from collections.abc import Iterable

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.collect.host.protocols import directory
from shipper.fields.dataset import HOST
from shipper.fields.field import counter, gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import LARGEST, ParseError, columns, integer, merged, pick, whole
from shipper.kernel.source import Reader

_RPC = {
    1: ("calls", "NFS calls"),
    2: ("retransmits", "Retransmitted NFS calls"),
    3: ("auth_refreshes", "NFS credential refreshes"),
}
# Operation → its position in proc3 (RFC 1813); the order of version 4 changes with the kernel
_V3 = {
    "getattr": 1, "setattr": 2, "lookup": 3, "access": 4, "read": 6, "write": 7, "create": 8, "remove": 12, "rename": 14,
    "readdir": 16, "readdirplus": 17, "commit": 21,
}  # fmt: skip
_ARC = {
    "system.zfs.arc.size.bytes": (b"size", "Size of the ARC (cache of ZFS)"),
    "system.zfs.arc.target.bytes": (b"c", "Target size of the ARC"),
    "system.zfs.arc.limit.bytes": (b"c_max", "Maximum size of the ARC"),
}
_ARC_COUNTERS = {
    "system.zfs.arc.hits.count": (b"hits", "Reads answered from the ARC"),
    "system.zfs.arc.misses.count": (b"misses", "Reads not answered from the ARC"),
}
_ARC_FILE = "proc/spl/kstat/zfs/arcstats"
_WANTED_ARC = {key: name for name, (key, _) in {**_ARC, **_ARC_COUNTERS}.items()}

FIELDS = (
    *(counter(f"system.nfs.client.{name}.count", "count", f"{help_}, all versions", f"rpc/nfs rpc, number {at}")
      for at, (name, help_) in _RPC.items()),
    *(counter(f"system.nfs.client.v3.{name}.count", "count", f"NFS 3 {name} calls", f"rpc/nfs proc3, number {at + 2}")
      for name, at in _V3.items()),
    counter("system.nfs.client.v4.operations.count", "count", "NFS 4 operations", "rpc/nfs proc4, sum"),
    *(gauge(name, "bytes", help_, f"{_ARC_FILE} {key.decode()}") for name, (key, help_) in _ARC.items()),
    *(counter(name, "count", help_, f"{_ARC_FILE} {key.decode()}") for name, (key, help_) in _ARC_COUNTERS.items()),
)  # fmt: skip


def _numbers(words: list[bytes], places: dict[int, str]) -> dict[str, int]:
    """The words at ``places`` by their fields; the line of an older kernel may be shorter."""
    numbers = columns((field, words[at]) for at, field in places.items() if at < len(words))
    return {field: int(number) for field, number in numbers.items()}


def nfs(text: bytes) -> dict[str, int]:
    """Counts of ``rpc/nfs``. Raises ParseError."""

    def parse_line(line: bytes) -> dict[str, int]:
        kind, *words = line.split()
        if kind == b"rpc":
            return _numbers(words, {at - 1: f"system.nfs.client.{name}.count" for at, (name, _) in _RPC.items()})
        if kind == b"proc3":
            return _numbers(words, {at + 1: f"system.nfs.client.v3.{name}.count" for name, at in _V3.items()})
        if kind == b"proc4":
            total = sum(integer(word) for word in words[1:])
            return {"system.nfs.client.v4.operations.count": total} if total <= LARGEST else {}
        return {}

    return merged(text, parse_line)


def arcstats(text: bytes) -> dict[str, int]:
    """Sizes in bytes and counts of ``arcstats``. Raises ParseError."""
    rows = [line.split() for line in whole(text).split(b"\n")]
    stats = pick({row[0]: row[2] for row in rows if len(row) == 3}, _WANTED_ARC)  # noqa: PLR2004
    if not stats:
        raise ParseError("no known counter")
    return stats


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    values: dict[str, Value] = {**(reader.parse_if_any(f"{directory(reader)}/rpc/nfs", nfs) or {})}
    values |= reader.parse_if_any(_ARC_FILE, arcstats) or {}
    return host_reading(reader, values)


NEEDS = (
    Need("NFS client (system.nfs)", ("proc/1/net/rpc/nfs", "proc/net/rpc/nfs"), "no NFS filesystem is mounted"),
    Need("ZFS (system.zfs)", (_ARC_FILE,), "the module zfs is not loaded"),
)

COLLECTOR = Collector("storage_clients", plain(collect), {HOST: Output(FIELDS)}, NEEDS)
