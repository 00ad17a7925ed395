"""Filesystems with counters of their own: the NFS client and ZFS's cache.

``proc/1/net/rpc/nfs``::

    rpc 1218785755 374636 1218815394       (calls, retransmissions, authentication refreshes)
    proc3 22 1 4084749 29200 …             (number of operations, then a count each, in the protocol's order)

https://docs.kernel.org/filesystems/nfs/; ``proc/spl/kstat/zfs/arcstats``: ``name type data`` lines after two of heading.
"""

from collections.abc import Iterable

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.collect.host.protocols import directory
from shipper.fields.dataset import HOST
from shipper.fields.field import counter, gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import LARGEST, ParseError, columns, integer, merged, pick, whole
from shipper.kernel.source import Reader

_RPC = {1: ("calls", "Calls"), 2: ("retransmits", "Calls sent again"), 3: ("auth_refreshes", "Credentials renewed")}
# Operation → its place in proc3 (RFC 1813); version 4 has an order of its own that changes with the kernel
_V3 = {
    "getattr": 1, "setattr": 2, "lookup": 3, "access": 4, "read": 6, "write": 7, "create": 8, "remove": 12, "rename": 14,
    "readdir": 16, "readdirplus": 17, "commit": 21,
}  # fmt: skip
_ARC = {
    "system.zfs.arc.size.bytes": (b"size", "Size of the cache"),
    "system.zfs.arc.target.bytes": (b"c", "Size it aims at"),
    "system.zfs.arc.limit.bytes": (b"c_max", "Size it may have"),
}
_ARC_COUNTERS = {
    "system.zfs.arc.hits.count": (b"hits", "Reads answered from the cache"),
    "system.zfs.arc.misses.count": (b"misses", "Reads not answered from the cache"),
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
    """The words at ``places`` under their fields; an older kernel's line may be shorter."""
    found = columns((field, words[at]) for at, field in places.items() if at < len(words))
    return {field: int(number) for field, number in found.items()}


def nfs(text: bytes) -> dict[str, int]:
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
    rows = [line.split() for line in whole(text).split(b"\n")]
    found = pick({row[0]: row[2] for row in rows if len(row) == 3}, _WANTED_ARC)  # noqa: PLR2004
    if not found:
        raise ParseError("nothing known in it")
    return found


def collect(reader: Reader) -> Iterable[Reading]:
    values: dict[str, Value] = {**(reader.parse(f"{directory(reader)}/rpc/nfs", nfs) or {})}
    values |= reader.parse(_ARC_FILE, arcstats) or {}
    return host_reading(reader, values)


NEEDS = (
    Need("NFS client (system.nfs)", ("proc/1/net/rpc/nfs", "proc/net/rpc/nfs"), "nothing is mounted by NFS"),
    Need("ZFS (system.zfs)", (_ARC_FILE,), "the module zfs is not loaded"),
)

COLLECTOR = Collector("storage_clients", plain(collect), {HOST: Output(FIELDS)}, NEEDS)
