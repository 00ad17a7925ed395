"""The connection tracking table of the host's network namespace: ``proc/1/net/stat/nf_conntrack``.

    entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error …
    00000012  00000000 00000000 00000000 00000003 …

One line of hexadecimal numbers per CPU; ``entries`` is that of the whole table on each line. All network namespaces share
one maximum.
"""

from collections.abc import Iterable, Mapping

from shipper.collect.contract import Collect, Collector, Need, Output, host_reading
from shipper.collect.host.protocols import directory
from shipper.fields.dataset import HOST
from shipper.fields.field import counter, gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel import namespace
from shipper.kernel.every import Every
from shipper.kernel.parse import LARGEST, ParseError, integer, shown, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_FILE = "proc/1/net/stat/nf_conntrack"
_COUNT = "proc/sys/net/netfilter/nf_conntrack_count"
_MAX = "proc/sys/net/netfilter/nf_conntrack_max"
_PREFIX = "system.conntrack"
_EVERY_S = 60
_COUNTERS = {
    b"drop": ("drop.count", "Packets dropped because the connection tracking table was full"),
    b"early_drop": ("early_drop.count", "Tracked connections removed early to make room for new ones"),
    b"insert_failed": ("insert_failed.count", "Connections that could not be added to the connection tracking table"),
    b"invalid": ("invalid.count", "Packets that belong to no known connection"),
}

FIELDS = (
    gauge(f"{_PREFIX}.count", "count", "Tracked connections", f"{_FILE} entries; {_COUNT}"),
    gauge(f"{_PREFIX}.limit.count", "count", "Maximum number of tracked connections; read once a minute", _MAX),
    real(
        f"{_PREFIX}.used.pct",
        "pct",
        "Share of the connection tracking table in use",
        f"{_PREFIX}.count / {_PREFIX}.limit.count",
    ),
    *(
        counter(f"{_PREFIX}.{name}", "count", help_, f"{_FILE} {key.decode()}")
        for key, (name, help_) in _COUNTERS.items()
    ),
)


def parse(text: bytes) -> dict[str, Value]:
    """Sums over the CPUs; the number of entries stands on each line. Raises ParseError."""
    head, *rows = [line.split() for line in whole(text).split(b"\n") if line] or [[]]
    if not rows or b"entries" not in head or any(len(row) != len(head) for row in rows):
        raise ParseError(f"not a table with entries: {shown(text)}")
    values: dict[str, Value] = {f"{_PREFIX}.count": _hexadecimal(rows[0][head.index(b"entries")])}
    for key, (name, _) in _COUNTERS.items():
        if key in head:
            at = head.index(key)
            values[f"{_PREFIX}.{name}"] = min(sum(_hexadecimal(row[at]) for row in rows), LARGEST)
    return values


def _hexadecimal(text: bytes) -> int:
    if not text.isalnum() or len(text) > 8:  # noqa: PLR2004 – the kernel's unsigned int
        raise ParseError(f"not a hexadecimal count: {shown(text)}")
    try:
        return int(text, 16)
    except ValueError:
        raise ParseError(f"not a hexadecimal count: {shown(text)}") from None


def _count(reader: Reader) -> dict[str, Value]:
    """Only the number, for kernels without CONFIG_NF_CONNTRACK_PROCFS; the file belongs to the reader's network namespace."""
    if not reader.exists(_COUNT):
        return {}
    if namespace.shared(reader, "net") is not True:
        reader.lacks["system.conntrack.count"] = "this process is in its own network namespace"
        return {}
    count = reader.parse(_COUNT, lambda text: integer(whole(text)))
    return {} if count is None else {f"{_PREFIX}.count": count}


def start(reader: Reader, _config: Config) -> Collect:
    """The limit is read once a minute and published at every tick."""
    every = Every(_EVERY_S)
    most: int | None = None

    def collect() -> Iterable[Reading]:
        nonlocal most
        values = reader.parse(f"{directory(reader)}/stat/nf_conntrack", parse) or _count(reader)
        if not values:
            return []
        if not most or every.due(reader.now_ns()):
            most = reader.parse(_MAX, lambda text: integer(whole(text)))
        return host_reading(reader, {**values, f"{_PREFIX}.limit.count": most} if most else values)

    return collect


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Usage of the table, 0 to 1."""
    count, most = values.get(f"{_PREFIX}.count"), values.get(f"{_PREFIX}.limit.count")
    if isinstance(count, int) and isinstance(most, int) and most:
        return {f"{_PREFIX}.used.pct": count / most}
    return {}


NEEDS = (Need("connection tracking (system.conntrack)", (_FILE, _COUNT), "nf_conntrack is not loaded"),)

COLLECTOR = Collector("conntrack", start, {HOST: Output(FIELDS, derive)}, NEEDS)
