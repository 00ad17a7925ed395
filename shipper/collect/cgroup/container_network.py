"""Network counters of containers: ``proc/<pid>/net/dev`` of a process, if its network namespace is not the host's.

Several cgroups may share a namespace (a pod, ``--network container:…``). Only the oldest cgroup publishes the counters of a
namespace (in a pod the pause container), so that sums count them once; aggregates publish them too, like everything else of
the cgroups in them. No file is kept open: an open file in ``net/`` would keep the namespace, and interfaces that were moved
into it, alive.
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
    (2, "in.errors", "count", "Received packets with errors"),
    (3, "in.dropped", "count", "Received packets that were dropped"),
    (8, "out.bytes", "bytes", "Bytes sent"),
    (9, "out.packets", "count", "Packets sent"),
    (10, "out.errors", "count", "Packets that could not be sent because of errors"),
    (11, "out.dropped", "count", "Packets dropped before they were sent"),
)
# Elastic's names for the bytes since the previous document
DELTAS: Final = {"in.bytes": "container.network.ingress.bytes", "out.bytes": "container.network.egress.bytes"}
FIELDS: Final[tuple[Field, ...]] = tuple(
    counter(f"{_PREFIX}.{name}", unit, f"{help_}, on the external interfaces of its own network namespace; absent if it shares the host's, or if none of its processes is known", f"proc/PID/net/dev column {at + 1}", DELTAS.get(name, ""))
    for at, name, unit, help_ in _COLUMNS
)  # fmt: skip
_WANTED: Final = tuple((at, f"{_PREFIX}.{name}") for at, name, _, _ in _COLUMNS)
# Bridges, tunnels and the host ends of nested containers: their packets also pass an external interface. sysfs, which knows
# the kind of an interface, shows another namespace
_INSIDE: Final = re.compile(
    rb"(docker|virbr|cni|podman|lxcbr|lxdbr|cbr|kube-bridge|weave|flannel|vxlan|geneve|tunl|sit|ip6?tnl|gre|erspan|tun|tap"
    rb"|wg|dummy|ifb|nodelocaldns|kube-ipvs|vlan)[-.0-9]*.*|(br-|veth|cali|lxc|cilium_).*|br[0-9]+|.*\.[0-9]+"
)


def parse(text: bytes) -> dict[str, Value]:
    """Sums over the external interfaces; empty if there are none. Raises ParseError: a partial sum would be wrong."""
    rows = dict(net_dev.parse_rows(net_dev.rows(text).split(b"\n")[:-1]))
    rows.pop(b"lo", None)
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
    """Counters of the namespace; None if process ``pid`` ended, or is not (or no longer) in namespace ``expected``."""
    if of_pid(reader, pid, "net") != expected:
        return None
    name = f"proc/{pid}/net/dev"
    data = reader.read_once(name)
    return None if data is None else reader.parsed(name, data, parse) or {}
