"""Interfaces of a network namespace and what they counted: ``proc/PID/net/dev``.

    Inter-|   Receive                                                |  Transmit
     face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
        lo:  513852    4059    0    0    0     0          0         0   513852    4059    0    0    0     0       0          0

Before about Linux 2.6.37 there is no blank between name and bytes (``eth0:123``).
https://docs.kernel.org/networking/statistics.html
"""  # noqa: E501

from collections.abc import Iterable
from typing import Final

from shipper.kernel.parse import ParseError, whole

COLUMNS: Final = 16
_HEADERS: Final = 2


def rows(text: bytes) -> bytes:
    """What follows the two header lines. Raises ParseError."""
    *headers, rest = whole(text).split(b"\n", _HEADERS)
    if len(headers) < _HEADERS or b"|bytes" not in headers[1]:
        raise ParseError("not the two header lines")
    return rest


def parse_row(row: bytes) -> tuple[bytes, list[bytes]]:
    """Name and columns of one interface. Raises ParseError."""
    [(interface, columns)] = parse_rows([row])
    return interface, columns


def parse_rows(rows: Iterable[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """Name and columns of each interface; one loop, because each container has such a file. Raises ParseError."""
    interfaces = []
    for row in rows:
        interface, colon, rest = row.rpartition(b":")
        columns = rest.split()
        if not colon or len(columns) != COLUMNS:
            raise ParseError(f"{len(columns)} columns")
        interfaces.append((interface.strip(), columns))
    return interfaces
