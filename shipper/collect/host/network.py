"""Network interfaces of the host: ``proc/1/net/dev`` and ``sys/class/net/NAME/{ifindex,operstate,mtu,speed}``.

``sys/class/net`` shows the network namespace in which sysfs was mounted, so below the host root that of the host. https://docs.kernel.org/networking/statistics.html
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from shipper.collect.contract import Collect, Collector, Need, Output, host_reading, matcher_of_few
from shipper.collect.host.protocols import directory
from shipper.collect.host.totals import Totals
from shipper.fields.dataset import HOST
from shipper.fields.field import Type, attribute, counter, dimension, gauge, real
from shipper.fields.rates import Ceiling, Reading, Value
from shipper.kernel import net_dev
from shipper.kernel.every import Every
from shipper.kernel.parse import ParseError, SameLines, columns, integer, name, then, whole, word
from shipper.kernel.source import File, Reader
from shipper.settings.config import Config
from shipper.settings.options import globs, option

DATASET = "network"
_PREFIX = "system.network"
_TOTAL = f"{_PREFIX}.total"
_NAME = f"{_PREFIX}.name"
_PHYSICAL = f"{_PREFIX}.physical"
_CLASS = "sys/class/net"
_SLOWLY_S = 60
_KIND = f"{_PREFIX}.kind"
_DUPLEX = (b"full", b"half")
_DEVTYPE = b"DEVTYPE="
_MBIT = 1_000_000 / 8
# Most drivers say -1, some 0, and before Linux 3.10 2^32-1
_UNKNOWN_SPEEDS = (b"-1", b"0", b"4294967295")
# In the order of the columns: field, unit, help
_COLUMNS = (
    ("in.bytes", "bytes", "Bytes received"),
    ("in.packets", "count", "Packets received"),
    ("in.errors", "count", "Received packets with errors"),
    ("in.dropped", "count", "Received packets dropped by the kernel, or by the device for lack of buffers"),
    ("in.fifo.count", "count", "Receive FIFO overruns"),
    ("in.frame.count", "count", "Framing errors"),
    ("in.compressed.count", "count", "Compressed packets received (SLIP, PPP)"),
    ("in.multicast.count", "count", "Multicast packets received"),
    ("out.bytes", "bytes", "Bytes sent"),
    ("out.packets", "count", "Packets sent"),
    ("out.errors", "count", "Packets that could not be sent because of errors"),
    ("out.dropped", "count", "Packets dropped before they were sent"),
    ("out.fifo.count", "count", "Transmit FIFO errors"),
    ("out.collisions.count", "count", "Collisions"),
    ("out.carrier.count", "count", "Carrier losses during transmission"),
    ("out.compressed.count", "count", "Compressed packets sent (SLIP, PPP)"),
)
_COUNTERS = tuple(
    counter(f"{_PREFIX}.{column}", unit, help_, f"proc/1/net/dev column {at}")
    for at, (column, unit, help_) in enumerate(_COLUMNS, 1)
)
_SUMMED = tuple(
    counted for counted in _COUNTERS if counted.name.endswith((".bytes", ".packets", ".errors", ".dropped"))
)

FIELDS = (
    dimension(_NAME, "Name of the interface", "proc/1/net/dev"),
    attribute(_PHYSICAL, "Whether a device is behind the interface", f"{_CLASS}/NAME/device", Type.BOOLEAN),
    attribute(f"{_PREFIX}.operstate", "up, down, lowerlayerdown, or unknown, as for lo", f"{_CLASS}/NAME/operstate"),
    attribute(f"{_PREFIX}.duplex", "full, half", f"{_CLASS}/NAME/duplex"),
    attribute(
        f"{_PREFIX}.kind",
        "physical, bridge, bond, tun, veth, or the kernel's device type (vlan, vxlan, wlan, wireguard), else virtual",
        f"{_CLASS}/NAME/{{device,bridge,bonding,tun_flags,uevent,iflink}}",
    ),
    gauge(
        f"{_PREFIX}.mtu.bytes", "bytes", "Maximum transmission unit: size of the largest packet", f"{_CLASS}/NAME/mtu"
    ),
    gauge(
        f"{_PREFIX}.speed.mbit_per_s",
        "mbit/s",
        "Speed of the link, if it is up and the driver reports it",
        f"{_CLASS}/NAME/speed",
    ),
    *_COUNTERS,
    real(f"{_PREFIX}.util.pct", "pct", "Utilisation of the link in the busier direction", "bytes_per_s / speed"),
)
_OF_INTERFACES = "proc/1/net/dev, interfaces with sys/class/net/NAME/device; if none has: all but lo, veth* and those built on others"
TOTAL_FIELDS = (
    *(
        counter(
            summed.name.replace(_PREFIX, _TOTAL, 1),
            summed.unit,
            f"{summed.help}, sum of the physical interfaces",
            _OF_INTERFACES,
        )
        for summed in _SUMMED
    ),
    gauge("host.network.ingress.bytes", "bytes", "Bytes received since the previous document", _OF_INTERFACES),
    gauge("host.network.egress.bytes", "bytes", "Bytes sent since the previous document", _OF_INTERFACES),
)


_NAMES = tuple(f"{_PREFIX}.{column}" for column, _, _ in _COLUMNS)


def _interface(row: bytes) -> tuple[str, dict[str, Value]]:
    interface, counts = net_dev.parse_row(row)
    if not interface or b"/" in interface or b"\0" in interface:  # it becomes a part of paths in sysfs
        raise ParseError("not the name of an interface")
    try:
        return name(interface), dict(zip(_NAMES, map(integer, counts), strict=True))
    except ParseError:
        named = zip(_NAMES, counts, strict=True)
        return then(lambda _: columns(named), lambda sound: (name(interface), dict[str, Value](sound)))(row)


_Interface = tuple[str, dict[str, Value]]


def parse(text: bytes, interfaces: Callable[[bytes], list[_Interface]] | None = None) -> list[_Interface]:
    """Name and values of every interface. Raises ParseError."""
    return (interfaces or SameLines(_interface))(net_dev.rows(text))


_NEVER_SUMMED = matcher_of_few(("lo", "veth*"))
_BRIDGES = ("docker", "br-", "virbr")
_MADE = re.compile(r"(docker|br|virbr|cni|bond|team|vlan)[-_]?[0-9a-f]*|.*\.[0-9]+")
# The fastest Ethernet is 800 Gbit/s
_ANY_LINK = {"bytes": Ceiling(1e11), "count": Ceiling(2e9)}


def _ceilings(speed: int) -> dict[str, Ceiling]:
    """Ceilings of a link with ``speed`` in Mbit/s; some drivers update their counts only every 2 s."""
    return {**_ANY_LINK, "bytes": Ceiling(speed * _MBIT, grace_s=2.0)}


@dataclass(slots=True)
class _Link:
    """What sysfs says of one interface. Everything but ifindex and operstate is read after a change and once a minute.

    Reading ``speed`` asks the driver, and takes the kernel's global lock of network settings.
    """

    ifindex: File
    operstate: File
    state: tuple[str, str] = ("", "")
    slowly: Every = field(default_factory=lambda: Every(_SLOWLY_S))
    attributes: dict[str, Value] = field(default_factory=dict)
    summed: bool = False
    most: dict[str, Ceiling] = field(default_factory=lambda: dict(_ANY_LINK))

    def close(self) -> None:
        """Close the files of an interface that is gone."""
        for file in (self.ifindex, self.operstate):
            file.close()


class _Interfaces:
    """All interfaces except those to ``skip``, over time."""

    def __init__(self, reader: Reader, skip: Callable[[str], bool]) -> None:
        self._reader = reader
        self._skip = skip
        self._links: dict[str, _Link] = {}
        self._lines = SameLines(_interface)

    def read(self) -> list[tuple[Reading, _Link]]:
        """One reading per interface, and what sysfs says of it."""
        at = self._reader.now_ns()
        interfaces = self._reader.parse(f"{directory(self._reader)}/dev", lambda text: parse(text, self._lines)) or []
        present = {interface: values for interface, values in interfaces if not self._skip(interface)}
        for interface in self._links.keys() - present.keys():
            self._links.pop(interface).close()
        return [self._reading(interface, at, values) for interface, values in present.items()]

    def _reading(self, interface: str, at: int, values: dict[str, Value]) -> tuple[Reading, _Link]:
        link = self._links.get(interface)
        if link is None:
            file, of = self._reader.file, f"{_CLASS}/{interface}"
            link = self._links[interface] = _Link(file(f"{of}/ifindex"), file(f"{of}/operstate"))
        self._refresh(interface, link, at)
        named = {_NAME: interface, **link.attributes, **values}
        return Reading(DATASET, interface, at, named, link.state[0], link.most), link

    def _refresh(self, interface: str, link: _Link, at: int) -> None:
        operstate = self._word(interface, link.operstate)
        state = (self._word(interface, link.ifindex), operstate)
        if state != link.state:
            link.slowly.now()
        if link.slowly.due(at):
            of = f"{_CLASS}/{interface}"
            physical = self._reader.exists(f"{of}/device")
            link.state = state
            # A virtual function whose packets its master counts (Azure's accelerated networking) is not summed
            speed = self._speed(of) if physical else None  # virtual ones invent a speed: 10 Gbit/s for veth
            link.most = _ceilings(speed) if speed else dict(_ANY_LINK)
            link.summed = physical and not self._reader.exists(f"{of}/master/device")
            if self._reader.exists(of):  # else sysfs is absent or shows another namespace
                kind = "physical" if physical else self._kind(of)
                link.attributes = {_PHYSICAL: physical, _KIND: kind, **self._attributes(of, operstate)}

    def _speed(self, of: str) -> int | None:
        data = self._reader.read_once(f"{of}/speed")
        try:
            return None if data is None or data.strip() in _UNKNOWN_SPEEDS else integer(data)
        except ParseError:
            return None

    def _attributes(self, of: str, operstate: str) -> dict[str, Value]:
        values: dict[str, Value] = {f"{_PREFIX}.operstate": operstate} if operstate else {}
        duplex = self._reader.read_once(f"{of}/duplex")
        if duplex is not None and duplex.strip() in _DUPLEX:
            values[f"{_PREFIX}.duplex"] = duplex.strip().decode()
        for file, column in (("mtu", "mtu.bytes"), ("speed", "speed.mbit_per_s")):
            data = self._reader.read_once(f"{of}/{file}")
            if data is not None and data.strip() not in _UNKNOWN_SPEEDS:
                value = self._reader.parsed(f"{of}/{file}", data, lambda text: integer(whole(text)))
                values |= {} if value is None else {f"{_PREFIX}.{column}": value}
        return values

    def _kind(self, of: str) -> str:
        for file, kind in (("bridge", "bridge"), ("bonding", "bond"), ("tun_flags", "tun")):
            if self._reader.exists(f"{of}/{file}"):
                return kind
        lines = (self._reader.read_once(f"{of}/uevent") or b"").split()
        kind = next((name(line.removeprefix(_DEVTYPE)) for line in lines if line.startswith(_DEVTYPE)), "")
        # iflink of a veth is the number of its other end, perhaps in another namespace
        ends = [(self._reader.read_once(f"{of}/{file}") or b"").strip() for file in ("ifindex", "iflink")]
        return kind or ("veth" if ends[0] != ends[1] else "virtual")

    def _word(self, interface: str, file: File) -> str:
        path = f"{_CLASS}/{interface}/{file.path.rpartition('/')[2]}"
        data = self._reader.attempt(path, file.read)
        return (self._reader.parsed(path, data, word) or "") if data is not None else ""


@dataclass(frozen=True)
class Options:
    """Options of the network collector, in section ``collect``."""

    interface_exclude: tuple[str, ...] = option(
        (
            "lo",
            "veth*",
            "cali*",
            "cni*",
            "flannel*",
            "tunl*",
            "lxc*",
            "ifb*",
            "docker*",
            "br-*",
            "virbr*",
            "vb-*",
            "ve-*",
        ),
        "Network interfaces to exclude",
        globs(),
    )


def start(reader: Reader, config: Config) -> Collect:
    """One reading per interface, and the host's totals."""
    interfaces, totals = _Interfaces(reader, matcher_of_few(config.of(Options).interface_exclude)), Totals(_SUMMED)

    def collect() -> Iterable[Reading]:
        read = interfaces.read()
        summed = _summed(reader, read)
        of_host = host_reading(reader, _total(totals, summed)) if summed else []
        return [*of_host, *(reading for reading, _ in read)]

    return collect


def _summed(reader: Reader, interfaces: Iterable[tuple[Reading, _Link]]) -> list[Reading]:
    """The physical interfaces; if there are none, those that are not built on others."""
    candidates = [(reading, link) for reading, link in interfaces if not _NEVER_SUMMED(reading.entity)]
    physical = [reading for reading, link in candidates if link.summed]
    return physical or [reading for reading, _ in candidates if not _is_made_of_others(reader, reading.entity)]


def _total(totals: Totals, summed: Iterable[Reading]) -> dict[str, Value]:
    added = totals.add(summed)
    values: dict[str, Value] = {**totals.values(_PREFIX, _TOTAL)}
    for ecs, column in (("ingress", "in.bytes"), ("egress", "out.bytes")):
        if f"{_PREFIX}.{column}" in added:
            values[f"host.network.{ecs}.bytes"] = added[f"{_PREFIX}.{column}"]
    return values


def _is_made_of_others(reader: Reader, interface: str) -> bool:
    """Whether it is a bond, team, VLAN or bridge, whose members count the same traffic.

    Such an interface has ``lower_NAME`` links; without sysfs the name decides.
    """
    place = f"{_CLASS}/{interface}"
    if not reader.exists(place):
        return _MADE.fullmatch(interface) is not None
    of_others = any(name.startswith("lower_") for name in reader.names(place))
    return of_others or interface.startswith(_BRIDGES) or reader.exists(f"{place}/bridge")


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Utilisation of the link, 0 to 1."""
    speed = values.get(f"{_PREFIX}.speed.mbit_per_s")
    flows = [values.get(f"{_PREFIX}.{way}.bytes_per_s") for way in ("in", "out")]
    known = [flow for flow in flows if isinstance(flow, float)]
    if not isinstance(speed, int) or not speed or not known:
        return {}
    return {f"{_PREFIX}.util.pct": min(max(known) / (speed * _MBIT), 1.0)}


NEEDS = (
    Need("interfaces (system.network)", ("proc/1/net/dev", "proc/net/dev"), "the network of pid 1 cannot be read"),
    Need("speed, state and kind of interfaces", ("sys/class/net",), "sysfs shows no interfaces"),
)

COLLECTOR = Collector(
    "network", start, {DATASET: Output(FIELDS, derive), HOST: Output(TOTAL_FIELDS)}, NEEDS, options=(Options,)
)
