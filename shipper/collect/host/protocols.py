"""Sockets, IP, ICMP, TCP and UDP of the host: ``proc/1/net/{sockstat,sockstat6,snmp,snmp6,netstat}``.

    TCP: inuse 1 orphan 0 tw 81 alloc 5 mem 194

    Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens …
    Tcp: 1 200 120000 -1 855 290 …

``proc/net`` shows the reader's own namespace; that of pid 1 is the host's, also from inside a container with its own
network. TCP counts IPv4 and IPv6 together, UDP in ``snmp`` only IPv4. https://docs.kernel.org/networking/snmp_counter.html
"""

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache

from shipper.collect.contract import Collect, Collector, Output, host_reading
from shipper.fields import lean
from shipper.fields.dataset import HOST
from shipper.fields.field import counter, gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.learned import Learned
from shipper.kernel.parse import ParseError, key_values, merged, pick, scaled, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_HEADERS = 64
# field: key, help
_SOCKETS = {
    "system.socket.used.count": (b"sockets.used", "Sockets of all kinds"),
    "system.tcp.inuse.count": (b"TCP.inuse", "TCP sockets in use, including listening ones, IPv4 and IPv6"),
    "system.tcp.orphans.count": (b"TCP.orphan", "TCP sockets that no process owns any more"),
    "system.tcp.time_wait.count": (b"TCP.tw", "TCP sockets in TIME_WAIT"),
    "system.tcp.allocated.count": (b"TCP.alloc", "Allocated TCP sockets in any state"),
    "system.tcp.memory.bytes": (b"TCP.mem", "Memory of TCP buffers; limit: net.ipv4.tcp_mem"),
    "system.udp.inuse.count": (b"UDP.inuse", "UDP sockets, IPv4 and IPv6"),
    "system.udp.memory.bytes": (b"UDP.mem", "Memory of UDP buffers; limit: net.ipv4.udp_mem"),
}
_SOCKETS_6 = {b"TCP6.inuse": "system.tcp.inuse.count", b"UDP6.inuse": "system.udp.inuse.count"}
_AGAIN = "system.tcp.retransmits.pct"
_ENOUGH_PER_S = 10
_ESTABLISHED = "system.tcp.established.count"
_SNMP = {
    "system.tcp.opens.active.count": (b"Tcp.ActiveOpens", "TCP connections opened by this host"),
    "system.tcp.opens.passive.count": (b"Tcp.PassiveOpens", "TCP connections accepted"),
    "system.tcp.attempt_fails.count": (b"Tcp.AttemptFails", "TCP connections that failed before they were established"),
    "system.tcp.established_resets.count": (b"Tcp.EstabResets", "Established TCP connections that were reset"),
    "system.tcp.in.segments.count": (b"Tcp.InSegs", "TCP segments received, including those with errors"),
    "system.tcp.out.segments.count": (b"Tcp.OutSegs", "TCP segments sent, without retransmissions"),
    "system.tcp.retransmits.count": (b"Tcp.RetransSegs", "TCP segments retransmitted"),
    "system.tcp.in.errors.count": (b"Tcp.InErrs", "TCP segments received with errors"),
    "system.tcp.out.resets.count": (b"Tcp.OutRsts", "TCP segments sent with RST"),
    "system.udp.in.datagrams.count": (b"Udp.InDatagrams", "Datagrams delivered, IPv4"),
    "system.udp.out.datagrams.count": (b"Udp.OutDatagrams", "Datagrams sent, IPv4"),
    "system.udp.no_ports.count": (b"Udp.NoPorts", "Datagrams to a port without a listener, IPv4"),
    "system.udp.in.errors.count": (b"Udp.InErrors", "Datagrams not delivered for other reasons, IPv4"),
    "system.udp.receive_buffer_errors.count": (
        b"Udp.RcvbufErrors",
        "Datagrams dropped because the receive buffer was full, IPv4",
    ),
    "system.udp.send_buffer_errors.count": (
        b"Udp.SndbufErrors",
        "Datagrams dropped because the send buffer was full, IPv4",
    ),
}
_IP_STATES = {
    "in.receives": "Packets received",
    "in.header_errors": "Packets received with header errors",
    "in.address_errors": "Packets received for an address that is not the host's",
    "in.discards": "Received packets dropped for lack of buffers",
    "in.delivers": "Packets delivered to a protocol",
    "out.requests": "Packets sent by this host",
    "out.discards": "Packets dropped before they were sent for lack of buffers",
    "out.no_routes": "Packets dropped because there was no route",
    "forwarded": "Packets forwarded",
    "reassembly.failures": "Packets that could not be reassembled",
    "fragmentation.failures": "Packets that could not be fragmented",
}
_IP_KEYS = (
    *("InReceives", "InHdrErrors", "InAddrErrors", "InDiscards", "InDelivers", "OutRequests", "OutDiscards"),
    *("OutNoRoutes", "ForwDatagrams", "ReasmFails", "FragFails"),
)
_IP = {
    f"system.ip.{name}.count": (f"Ip.{key}".encode(), f"{help_}, IPv4")
    for key, (name, help_) in zip(_IP_KEYS, _IP_STATES.items(), strict=True)
}
_ICMP = {
    "system.icmp.in.messages.count": (b"Icmp.InMsgs", "ICMP messages received, IPv4"),
    "system.icmp.in.errors.count": (b"Icmp.InErrors", "ICMP messages received with errors, IPv4"),
    "system.icmp.in.unreachable.count": (b"Icmp.InDestUnreachs", "Destination unreachable received, IPv4"),
    "system.icmp.out.messages.count": (b"Icmp.OutMsgs", "ICMP messages sent, IPv4"),
    "system.icmp.out.unreachable.count": (b"Icmp.OutDestUnreachs", "Destination unreachable sent, IPv4"),
}
_V6_KEYS = tuple(key.replace("ForwDatagrams", "OutForwDatagrams") for key in _IP_KEYS)
_SNMP6 = {
    **{
        f"system.ip6.{name}.count": (f"Ip6{key}".encode(), f"{help_}, IPv6")
        for key, (name, help_) in zip(_V6_KEYS, _IP_STATES.items(), strict=True)
    },
    "system.icmp6.in.messages.count": (b"Icmp6InMsgs", "ICMP messages received, IPv6"),
    "system.icmp6.in.errors.count": (b"Icmp6InErrors", "ICMP messages received with errors, IPv6"),
    "system.icmp6.in.unreachable.count": (b"Icmp6InDestUnreachs", "Destination unreachable received, IPv6"),
    "system.icmp6.out.messages.count": (b"Icmp6OutMsgs", "ICMP messages sent, IPv6"),
    "system.icmp6.out.unreachable.count": (b"Icmp6OutDestUnreachs", "Destination unreachable sent, IPv6"),
    "system.udp6.in.datagrams.count": (b"Udp6InDatagrams", "Datagrams delivered, IPv6"),
    "system.udp6.out.datagrams.count": (b"Udp6OutDatagrams", "Datagrams sent, IPv6"),
    "system.udp6.no_ports.count": (b"Udp6NoPorts", "Datagrams to a port without a listener, IPv6"),
    "system.udp6.in.errors.count": (b"Udp6InErrors", "Datagrams not delivered for other reasons, IPv6"),
    "system.udp6.receive_buffer_errors.count": (
        b"Udp6RcvbufErrors",
        "Datagrams dropped because the receive buffer was full, IPv6",
    ),
    "system.udp6.send_buffer_errors.count": (
        b"Udp6SndbufErrors",
        "Datagrams dropped because the send buffer was full, IPv6",
    ),
}
_NETSTAT = {
    "system.tcp.losses.count": (
        b"TcpExt.TCPLoss",
        "TCP segments lost according to the sender's scoreboard (until Linux 3.0)",
    ),
    "system.tcp.slow_start_retransmits.count": (
        b"TcpExt.TCPSlowStartRetrans",
        "TCP segments retransmitted in slow start",
    ),
    "system.tcp.listen.overflows.count": (
        b"TcpExt.ListenOverflows",
        "Connections not accepted because the listen queue was full",
    ),
    "system.tcp.listen.drops.count": (b"TcpExt.ListenDrops", "Connections not accepted for any reason"),
    "system.tcp.timeouts.count": (b"TcpExt.TCPTimeouts", "Expired retransmission timers"),
    "system.tcp.lost_retransmits.count": (b"TcpExt.TCPLostRetransmit", "Retransmitted segments that were lost again"),
    "system.tcp.fast_retransmits.count": (
        b"TcpExt.TCPFastRetrans",
        "TCP segments retransmitted before a timer expired",
    ),
    "system.tcp.backlog_drops.count": (
        b"TcpExt.TCPBacklogDrop",
        "TCP segments dropped because the socket's backlog was full",
    ),
    "system.tcp.memory_aborts.count": (b"TcpExt.TCPAbortOnMemory", "Connections aborted for lack of memory"),
    "system.tcp.syncookies_sent.count": (b"TcpExt.SyncookiesSent", "SYN cookies sent because the SYN queue was full"),
}
_WANTED_SOCKETS = {key: name for name, (key, _) in _SOCKETS.items()}
_WANTED_SNMP = {key: name for name, (key, _) in _SNMP.items()} | {b"Tcp.CurrEstab": _ESTABLISHED}
_WANTED_SNMP |= {key: name for name, (key, _) in {**_IP, **_ICMP}.items()}
_WANTED_SNMP6 = {key: name for name, (key, _) in _SNMP6.items()}
_WANTED_NETSTAT = {key: name for name, (key, _) in _NETSTAT.items()}


def _source(name: str, key: bytes) -> str:
    more = next((f" + proc/1/net/sockstat6 {six.decode()}" for six, field in _SOCKETS_6.items() if field == name), "")
    return f"proc/1/net/sockstat {key.decode()}{more}"


FIELDS = (
    *(gauge(name, name.rpartition(".")[2], help_, _source(name, key)) for name, (key, help_) in _SOCKETS.items()),
    gauge(_ESTABLISHED, "count", "TCP connections established or in CLOSE_WAIT", "proc/1/net/snmp Tcp.CurrEstab"),
    *(counter(name, "count", help_, f"proc/1/net/snmp {key.decode()}") for name, (key, help_) in _SNMP.items()),
    *(
        counter(name, "count", help_, f"proc/1/net/snmp {key.decode()}")
        for name, (key, help_) in {**_IP, **_ICMP}.items()
    ),
    *(counter(name, "count", help_, f"proc/1/net/snmp6 {key.decode()}") for name, (key, help_) in _SNMP6.items()),
    *(counter(name, "count", help_, f"proc/1/net/netstat {key.decode()}") for name, (key, help_) in _NETSTAT.items()),
    real(
        _AGAIN,
        "pct",
        f"Retransmitted TCP segments as a share of the segments sent; absent below {_ENOUGH_PER_S} segments per second",
        "proc/1/net/snmp Tcp.RetransSegs / Tcp.OutSegs",
    ),
)


def directory(reader: Reader) -> str:
    """Directory of the host's network files. ``proc/net``, the reader's own, is used only if there is no pid 1."""
    return reader.root.shared(_directory, reader)


def _directory(reader: Reader) -> str:
    return "proc/1/net" if reader.exists("proc/1") else "proc/net"


def sockstat(text: bytes, wanted: Mapping[bytes, str]) -> dict[str, int]:
    """``TCP: inuse 1 orphan 0`` as ``TCP.inuse`` and ``TCP.orphan``; memory in bytes. Raises ParseError."""

    def parse_line(line: bytes) -> dict[str, int]:
        protocol, _, rest = line.partition(b":")
        words = rest.split()
        if not words or len(words) % 2:
            raise ParseError("not pairs of a key and a value")
        pairs = [(protocol + b"." + key, value) for key, value in zip(words[::2], words[1::2], strict=True)]
        values, bad = {}, ""
        for key, value in pairs:
            if key in wanted:
                try:
                    values[wanted[key]] = scaled(_PAGE if key.endswith(b".mem") else 1)(value)
                except ParseError as error:
                    bad = bad or str(error)
        if bad:
            raise ParseError(bad, values)
        return values

    return merged(text, parse_line)


@lru_cache(maxsize=_MOST_HEADERS)
def _columns(names: bytes) -> tuple[bytes, int, tuple[tuple[int, bytes], ...]]:
    """Protocol and number of the names of a line, and the place of each that is wanted. A kernel's lines never change."""
    protocol, _, rest = names.partition(b":")
    keys = [protocol + b"." + key for key in rest.split()]
    wanted = _WANTED_SNMP.keys() | _WANTED_NETSTAT.keys()
    return protocol, len(keys), tuple((place, key) for place, key in enumerate(keys) if key in wanted)


def paired(text: bytes, wanted: Mapping[bytes, str]) -> dict[str, int]:
    """Pairs of lines, names and values after the name of a protocol, as ``Tcp.ActiveOpens``. Raises ParseError."""
    *lines, _ = whole(text).split(b"\n")
    table: dict[bytes, bytes] = {}
    damage = "" if len(lines) % 2 == 0 else "a line of names without values"
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        protocol, count, columns = _columns(names)
        same, _, rest = values.partition(b":")
        numbers = rest.split()
        if protocol != same or count != len(numbers):
            damage = "names and values that do not match"
            continue
        table.update((key, numbers[place]) for place, key in columns)
    counts = pick(table, wanted)
    if damage or not counts:
        raise ParseError(damage or "no known counter", counts or None)
    return counts


class _Parsers:
    """The parsers of the files, which learn the words of this kernel."""

    def __init__(self) -> None:
        self.sockstat = Learned(lambda text: sockstat(text, _WANTED_SOCKETS), (1, _PAGE))
        self.sockstat6 = Learned(lambda text: sockstat(text, _SOCKETS_6))
        self.snmp = Learned(lambda text: paired(text, _WANTED_SNMP))
        self.snmp6 = Learned(lambda text: key_values(whole(text), _WANTED_SNMP6))
        self.netstat = Learned(lambda text: paired(text, _WANTED_NETSTAT))


def _sockets(reader: Reader, net: str, parsers: _Parsers) -> dict[str, int]:
    counts = reader.parse(f"{net}/sockstat", parsers.sockstat) or {}
    file = f"{net}/sockstat6"
    data = reader.read(file)  # absent without IPv6
    if data is not None:
        more = reader.parsed(file, data, parsers.sockstat6) or {}
        for name in _SOCKETS_6.values():
            if name in counts and name in more:
                counts[name] += more[name]
            else:  # half of the sum would look like the sum
                counts.pop(name, None)
    return counts


def collect(reader: Reader, *, with_ipv6: bool) -> Iterable[Reading]:
    """The reading of the host."""
    net, parsers = directory(reader), reader.root.shared(_Parsers)
    values: dict[str, Value] = {**_sockets(reader, net, parsers)}
    values |= reader.parse(f"{net}/snmp", parsers.snmp) or {}
    if with_ipv6:
        values |= reader.parse(f"{net}/snmp6", parsers.snmp6) or {}
    values |= reader.parse(f"{net}/netstat", parsers.netstat) or {}
    return host_reading(reader, values)


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """The share of segments that were retransmitted; a share of few segments is meaningless."""
    again, sent = (values.get(f"{name}.count_per_s") for name in ("system.tcp.retransmits", "system.tcp.out.segments"))
    if isinstance(again, float) and isinstance(sent, float) and sent >= _ENOUGH_PER_S:
        return {_AGAIN: min(again / sent, 1.0)}
    return {}


def start(reader: Reader, config: Config) -> Collect:
    """Lean documents have no field of ``snmp6``."""
    with_ipv6 = config.collect.detail != lean.LEAN
    return lambda: collect(reader, with_ipv6=with_ipv6)


COLLECTOR = Collector("protocols", start, {HOST: Output(FIELDS, derive)})
