"""Network counters of containers: ``proc/<pid>/net/dev`` of a member, where its network namespace is not the host's.

Several cgroups may share a namespace (a pod, ``--network container:…``). A namespace's counters stand in one document
only, that of the cgroup made first (a pod's is that of its pause container), so that sums count them once; aggregates
have them too, as they have all else of what lies in them. Nothing is kept open: an open file of ``net/`` would keep the
namespace, and interfaces moved into it, from going away.
"""

import re
from typing import Final

from shipper.fields.field import Field, counter
from shipper.fields.rates import Value
from shipper.kernel import net_dev
from shipper.kernel.namespace import of_pid
from shipper.kernel.parse import LARGEST, ParseError, integer
from shipper.kernel.source import Reader

_PREFIX: Final = "cgroup.network"
# Column of net/dev after the name, field, unit, help
_COLUMNS: Final = (
    (0, "in.bytes", "bytes", "Bytes received"),
    (1, "in.packets", "count", "Packets received"),
    (2, "in.errors", "count", "Bad packets received"),
    (3, "in.dropped", "count", "Packets received and dropped"),
    (8, "out.bytes", "bytes", "Bytes sent"),
    (9, "out.packets", "count", "Packets sent"),
    (10, "out.errors", "count", "Packets that could not be sent"),
    (11, "out.dropped", "count", "Packets dropped on the way out"),
)
# Elastic's names for the bytes since the document before
DELTAS: Final = {"in.bytes": "container.network.ingress.bytes", "out.bytes": "container.network.egress.bytes"}
FIELDS: Final[tuple[Field, ...]] = tuple(
    counter(f"{_PREFIX}.{name}", unit, f"{help_}, the interfaces to the outside of its own network namespace, which is not the host's", f"proc/PID/net/dev column {at + 1}", DELTAS.get(name, ""))
    for at, name, unit, help_ in _COLUMNS
)  # fmt: skip
_WANTED: Final = tuple((at, f"{_PREFIX}.{name}") for at, name, _, _ in _COLUMNS)
# Bridges, ends of containers inside the container, tunnels: what passes them passes the interface to the outside too.
# sysfs, which would tell, shows another namespace's
_INSIDE: Final = re.compile(
    rb"(docker|virbr|cni|podman|lxcbr|lxdbr|cbr|kube-bridge|weave|flannel|vxlan|geneve|tunl|sit|ip6?tnl|gre|erspan|tun|tap"
    rb"|wg|dummy|ifb|nodelocaldns|kube-ipvs|vlan)[-.0-9]*.*|(br-|veth|cali|lxc|cilium_).*|br[0-9]+|.*\.[0-9]+"
)


def parse(text: bytes) -> dict[str, Value]:
    """Sums over the interfaces to the outside; empty where there is none. A sum that lacks one interface is none."""
    rows: dict[bytes, list[bytes]] = {}
    for row in net_dev.rows(text).split(b"\n")[:-1]:
        interface, words = net_dev.parse_row(row)
        if interface != b"lo":
            rows[interface] = words
    outside = {interface: words for interface, words in rows.items() if not _INSIDE.fullmatch(interface)}
    return _summed(list((outside or rows).values()))


def _summed(rows: list[list[bytes]]) -> dict[str, Value]:
    sums: dict[str, int] = {}
    bad: dict[str, str] = {}
    for words in rows:
        for at, field in _WANTED:
            try:
                sums[field] = sums.get(field, 0) + integer(words[at])
            except ParseError as error:
                bad[field] = str(error)
    known: dict[str, Value] = {field: total for field, total in sums.items() if total <= LARGEST and field not in bad}
    if bad:
        raise ParseError(next(iter(bad.values())), known)
    return known


def read(reader: Reader, pid: int, expected: str) -> dict[str, Value] | None:
    """Counters of the namespace; None if ``pid`` is no longer in ``expected``, which a reused pid is not either."""
    if of_pid(reader, pid, "net") != expected:
        return None
    name = f"proc/{pid}/net/dev"
    data = reader.read_once(name)
    return None if data is None else reader.parsed(name, data, parse) or {}
