"""IP addresses of the host: ``proc/1/net/fib_trie`` and ``proc/1/net/if_inet6``.

        |-- 192.0.2.2
           /32 host LOCAL
    fd000000000000000000000000000002 04 40 00 82     eth0
    (address, number, prefix, scope, flags, name)

No other file lists IPv4 addresses. Loopback and link-local addresses are left out: they do not identify the host, and
each container adds one. https://docs.kernel.org/networking/ipv6.html, net/ipv4/fib_trie.c, net/ipv6/addrconf.c
"""

import socket
from collections.abc import Callable, Iterable

from shipper.collect.contract import Collect, Collector, Need, Output, host_reading
from shipper.collect.host.protocols import directory
from shipper.fields.dataset import HOST
from shipper.fields.field import Type, attribute
from shipper.fields.rates import Reading
from shipper.kernel.every import Every
from shipper.kernel.parse import ParseError, lines, shown, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_EVERY_S = 60
_MOST = 64  # IPVS gives a node the address of every service in its cluster
_LEAF = b"|-- "
_OWN = b"/32 host LOCAL"
_COLUMNS = 6
_GLOBAL = b"00"

FIELDS = (
    attribute(
        "host.ip",
        f"IP addresses of the host (at most {_MOST}), without loopback and link-local addresses",
        "proc/1/net/{fib_trie,if_inet6}",
        Type.IP,
    ),
)


def ipv4(text: bytes) -> list[str]:
    """IPv4 addresses as ``192.0.2.2``, each once: the file lists an address in several tables. Raises ParseError."""
    addresses: dict[str, None] = {}
    leaf = b""
    for line in whole(text).split(b"\n"):
        words = line.strip()
        if words.startswith(_LEAF):
            leaf = words[len(_LEAF) :]
        elif words == _OWN and not leaf.startswith(b"127."):
            addresses[_written(socket.AF_INET, leaf, lambda text: socket.inet_pton(socket.AF_INET, text))] = None
    return list(addresses)


def _written(family: int, address: bytes, read: Callable[[str], bytes]) -> str:
    """The address in its usual notation."""
    try:
        return socket.inet_ntop(family, read(address.decode()))
    except (OSError, ValueError):
        raise ParseError(f"not an address: {shown(address)}") from None


def _ipv6(line: bytes) -> str | None:
    words = line.split()
    if len(words) != _COLUMNS:
        raise ParseError(f"{len(words)} columns")
    return _written(socket.AF_INET6, words[0], bytes.fromhex) if words[3] == _GLOBAL else None


def ipv6(text: bytes) -> list[str]:
    """Global IPv6 addresses as ``fd00::2``. Raises ParseError."""
    return lines(whole(text), _ipv6)


def host(reader: Reader) -> list[str]:
    """The addresses of the host, IPv4 first; at most 64."""
    addresses: list[str] = []
    for file, parser in (("fib_trie", ipv4), ("if_inet6", ipv6)):
        path = f"{directory(reader)}/{file}"
        data = reader.read_once(path)
        addresses += (reader.parsed(path, data, parser) or []) if data else []
    return addresses[:_MOST]


def start(reader: Reader, _config: Config) -> Collect:
    """Addresses are read once a minute and published at every tick."""
    known: list[str] = []
    every = Every(_EVERY_S)

    def collect() -> Iterable[Reading]:
        nonlocal known
        if every.due(reader.now_ns()):
            known = host(reader)
        return host_reading(reader, {"host.ip": known} if known else None)

    return collect


NEEDS = (
    Need("addresses (host.ip)", ("proc/1/net/fib_trie", "proc/net/fib_trie"), "the kernel does not list addresses"),
)

COLLECTOR = Collector("addresses", start, {HOST: Output(FIELDS)}, NEEDS)
