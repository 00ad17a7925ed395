"""Block devices: ``proc/diskstats``, one line per device and partition.

    254       0 vda 37625 6498 2907658 14410 21815 18240 2035544 4445 0 15692 19669 6617 33 213664 454 9004 359

14 columns; 18 with discards since Linux 4.18, 20 with flushes since 5.5. A sector is always 512 bytes here, whatever the
device uses. A partition has no directory in ``sys/block``, where the slash in ``cciss/c0d0`` is an exclamation mark.
https://docs.kernel.org/admin-guide/iostats.html
"""

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from shipper.collect.contract import Collect, Collector, Need, Output, host_reading, matcher_of_few
from shipper.collect.host.totals import Totals
from shipper.fields.dataset import HOST
from shipper.fields.field import Type, attribute, counter, dimension, gauge, real
from shipper.fields.rates import Ceiling, Counters, Kept, Reading, Value
from shipper.kernel.parse import LARGEST, ParseError, SameLines, first_line, integer, name, scaled, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config
from shipper.settings.options import globs, option

DATASET = "disk"
_FILE = "proc/diskstats"
_PREFIX = "system.diskio"
_TOTAL = f"{_PREFIX}.total"
_NAME = f"{_PREFIX}.name"
_PHYSICAL = f"{_PREFIX}.physical"
_MODEL = f"{_PREFIX}.model"
_ROTATIONAL = f"{_PREFIX}.rotational"
_SECTOR = 512
_KEY_COLUMNS = 3
_FEWEST_COLUMNS = 14
# In the order of the columns: field, unit, factor, help
_COLUMNS = (
    ("read.count", "count", 1, "Reads completed"),
    ("read.merges.count", "count", 1, "Reads merged with a queued request"),
    ("read.bytes", "bytes", _SECTOR, "Bytes read"),
    ("read.time", "ms", 1, "Total time of all reads in ms, including time in the queue"),
    ("write.count", "count", 1, "Writes completed"),
    ("write.merges.count", "count", 1, "Writes merged with a queued request"),
    ("write.bytes", "bytes", _SECTOR, "Bytes written"),
    ("write.time", "ms", 1, "Total time of all writes in ms, including time in the queue"),
    ("io.ops", "", 1, "Requests in flight"),
    ("io.time", "ms", 1, "Time in ms during which at least one request was in flight"),
    ("io.weighted_time.ms", "ms", 1, "Total time of all requests: io.time multiplied by the number in flight"),
    ("discard.count", "count", 1, "Discards completed"),
    ("discard.merges.count", "count", 1, "Discards merged with a queued request"),
    ("discard.bytes", "bytes", _SECTOR, "Bytes discarded"),
    ("discard.time", "ms", 1, "Total time of all discards in ms"),
    ("flush.count", "count", 1, "Flushes of the device's write cache"),
    ("flush.time", "ms", 1, "Total time of all flushes in ms"),
)
_COUNTERS = tuple(
    counter(f"{_PREFIX}.{field}", unit, help_, f"{_FILE} column {column}")
    for column, (field, unit, _, help_) in enumerate(_COLUMNS, 1 + _KEY_COLUMNS)
    if unit
)
_IO_TIME = next(field for field in _COUNTERS if field.name == f"{_PREFIX}.io.time")
_IO_TIMES = Counters((_IO_TIME,))
_SUMMED = tuple(
    field for field in _COUNTERS
    if field.name.removeprefix(f"{_PREFIX}.") in ("read.count", "read.bytes", "write.count", "write.bytes")
)  # fmt: skip

FIELDS = (
    dimension(_NAME, "Name of the device", f"{_FILE} column 3"),
    attribute(
        _PHYSICAL, "Whether it is a physical device, not one built on others", "sys/block/NAME/device", Type.BOOLEAN
    ),
    attribute(_MODEL, "Model of the device", "sys/block/NAME/device/model"),
    attribute(_ROTATIONAL, "Whether it is a rotating disk", "sys/block/NAME/queue/rotational", Type.BOOLEAN),
    gauge(f"{_PREFIX}.io.ops", "count", "Requests in flight", f"{_FILE} column 12"),
    *_COUNTERS,
    *(
        real(
            f"{_PREFIX}.{kind}.await.ms",
            "ms",
            f"Average time of a {kind}, including time in the queue",
            f"{kind}.time / {kind}.count",
        )
        for kind in ("read", "write", "discard", "flush")
    ),
    real(
        f"{_PREFIX}.util.pct",
        "pct",
        "Utilisation: share of time during which at least one request was in flight",
        "io.time / elapsed time",
    ),
    real(f"{_PREFIX}.queue.count", "count", "Average number of requests in flight", "io.weighted_time / elapsed time"),
    real(f"{_PREFIX}.request.bytes", "bytes", "Average size of a read or write", "bytes / count"),
)
_OF_DISKS = f"{_FILE}, disks with sys/block/NAME/device"
TOTAL_FIELDS = (
    *(
        counter(
            field.name.replace(_PREFIX, _TOTAL, 1), field.unit, f"{field.help}, sum of the physical disks", _OF_DISKS
        )
        for field in _SUMMED
    ),
    real(f"{_TOTAL}.util.max.pct", "pct", "Utilisation of the busiest physical disk", _OF_DISKS),
)


_MADE = ("dm-", "md", "loop", "ram", "zram", "drbd", "bcache", "nbd", "sr", "fd")
_FACTORS = tuple((f"{_PREFIX}.{field}", factor) for field, _, factor, _ in _COLUMNS)
_NAMES = tuple(field for field, _ in _FACTORS)


def _split(line: bytes) -> tuple[str, str, list[bytes]]:
    """Name, major:minor and the columns of counts."""
    words = line.split()
    if len(words) < _FEWEST_COLUMNS:
        raise ParseError(f"{len(words)} columns")
    return name(words[2]), f"{integer(words[0])}:{integer(words[1])}", words[_KEY_COLUMNS:]


def _device(line: bytes) -> tuple[str, str, dict[str, Value]]:
    disk, number, counts = _split(line)
    if set(counts) == {b"0"}:  # most are: loop0, ram0
        values: dict[str, Value] = dict.fromkeys(_NAMES[: len(counts)], 0)
    else:
        values = {field: integer(word) * factor for (field, factor), word in zip(_FACTORS, counts, strict=False)}
        if max(values.values()) > LARGEST:  # type: ignore[type-var, operator]
            raise ParseError("not a count of sectors")
    return disk, number, values


def _carefully(line: bytes) -> tuple[str, str, dict[str, Value]]:
    """As ``_device``; of a damaged line ParseError has the sound columns."""
    try:
        return _device(line)
    except ParseError as error:
        disk, number, counts = _split(line)
        sound: dict[str, Value] = {}
        for (field, factor), word in zip(_FACTORS, counts, strict=False):
            with suppress(ParseError):
                sound[field] = scaled(factor)(word)
        raise ParseError(str(error), (disk, number, sound)) from None


_Device = tuple[str, str, dict[str, Value]]


def parse(text: bytes, devices: Callable[[bytes], list[_Device]] | None = None) -> list[_Device]:
    """Name, major:minor and values of every device and partition. Raises ParseError."""
    return (devices or SameLines(_carefully))(whole(text))


# No device is faster, or is busy for more than a second per second
_MOST = {
    "bytes": Ceiling(1e11),
    "count": Ceiling(1e9),
    _IO_TIME.name: Ceiling(1000, grace_s=2.0),
}


class _Devices:
    """All devices except partitions. What sysfs says of a device is read once, when the device first appears."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[str, str], dict[str, Value] | None] = {}
        self._lines = SameLines(_carefully)

    def read(self) -> list[Reading]:
        """One reading per device."""
        at = self._reader.now_ns()
        devices = self._reader.parse(_FILE, lambda text: parse(text, self._lines)) or []
        keys = [(disk, number) for disk, number, _ in devices]
        if self._known.keys() != set(keys):
            self._known = self._examined(keys)
        return [
            Reading(DATASET, disk, at, {_NAME: disk, **attributes, **values}, number, _MOST)
            for disk, number, values in devices
            if (attributes := self._known[disk, number]) is not None
        ]

    def _examined(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Value] | None]:
        if self._reader.exists("sys/block"):
            return {key: self._attributes(*key) for key in keys}
        names = {disk for disk, _ in keys}
        return {key: None if is_partition(key[0], names) else {} for key in keys}

    def _attributes(self, disk: str, number: str) -> dict[str, Value] | None:
        """None for a partition."""
        key = (disk, number)
        if key in self._known:
            return self._known[key]
        directory = f"sys/block/{disk.replace('/', '!')}"
        if not self._reader.exists(directory):
            return None
        if (self._reader.read_once(f"{directory}/hidden") or b"").strip() == b"1":
            return None  # a path of a multipath NVMe device; the head device has the same counts (Linux 4.15)
        values: dict[str, Value] = {_PHYSICAL: self._reader.exists(f"{directory}/device")}
        turns = self._reader.read_once(f"{directory}/queue/rotational")
        if turns is not None and turns.strip() in (b"0", b"1"):
            values[_ROTATIONAL] = turns.strip() == b"1"
        model = first_line(self._reader.read_once(f"{directory}/device/model") or b"")
        return values | ({_MODEL: model} if model else {})


def is_partition(disk: str, others: Container[str]) -> bool:
    """Whether the name says that it is a partition: ``sda1`` of ``sda``, ``nvme0n1p1`` of ``nvme0n1``."""
    whole = disk.rstrip("0123456789")
    return whole != disk and (whole in others or (whole.endswith("p") and whole[:-1] in others))


@dataclass(frozen=True)
class Options:
    """Options of the disk collector, in section ``collect``."""

    device_exclude: tuple[str, ...] = option(
        ("loop*", "ram*", "zram*", "sr*", "fd*", "nbd*"), "Block devices to exclude", globs()
    )


def start(reader: Reader, config: Config) -> Collect:
    """One reading per disk that is used, and the host's totals."""
    devices, totals, excluded = _Devices(reader), _Totals(reader), matcher_of_few(config.of(Options).device_exclude)

    def collect() -> Iterable[Reading]:
        disks = [reading for reading in devices.read() if not excluded(reading.entity)]
        of_host = totals.of(disk for disk in disks if _is_summed(disk))
        return [*of_host, *(disk for disk in disks if _used(disk.values))]

    return collect


def _used(values: dict[str, Value]) -> bool:
    """False for devices that a driver creates in advance, such as loop0, nbd0 and ram0."""
    return bool(values.get(_PHYSICAL) or values.get(f"{_PREFIX}.read.count") or values.get(f"{_PREFIX}.write.count"))


def _is_summed(reading: Reading) -> bool:
    """Whether it is a physical disk; without sysfs, whether its name is not that of a device built on others."""
    return bool(reading.values.get(_PHYSICAL, not reading.entity.startswith(_MADE)))


class _Totals:
    """The totals of all disks over time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._totals = Totals(_SUMMED)
        self._before: dict[str, Kept] = {}

    def of(self, disks: Iterable[Reading]) -> list[Reading]:
        """The host's reading; empty if there is no disk."""
        now = {reading.entity: reading for reading in disks}
        busy = {disk: _IO_TIMES.rates(reading, self._before.get(disk)) for disk, reading in now.items()}
        self._before = {disk: kept for disk, (_, kept) in busy.items()}
        if not now:
            return []
        self._totals.add(now.values())
        values: dict[str, Value] = {**self._totals.values(_PREFIX, _TOTAL)}
        shares = [min(rates[_IO_TIME.rate] / 1000, 1.0) for rates, _ in busy.values() if rates]
        busiest = max(shares, default=None)
        return host_reading(self._reader, values if busiest is None else {**values, f"{_TOTAL}.util.max.pct": busiest})


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Averages over the time since the last tick."""

    def rate(field: str) -> float | None:
        value = values.get(f"{_PREFIX}.{field}_per_s")
        return value if isinstance(value, float) else None

    result: dict[str, Value] = {}
    for kind in ("read", "write", "discard", "flush"):
        time, count = rate(f"{kind}.time"), rate(f"{kind}.count")
        if time is not None and count:
            result[f"{_PREFIX}.{kind}.await.ms"] = time / count
    if (busy := rate("io.time")) is not None:
        result[f"{_PREFIX}.util.pct"] = min(busy / 1000, 1.0)
    if (weighted := rate("io.weighted_time.ms")) is not None:
        result[f"{_PREFIX}.queue.count"] = weighted / 1000
    requests = (rate("read.count") or 0.0) + (rate("write.count") or 0.0)
    size = [rate("read.bytes"), rate("write.bytes")]
    if requests and None not in size:
        result[f"{_PREFIX}.request.bytes"] = sum(part or 0.0 for part in size) / requests
    return result


NEEDS = (
    Need(
        "disks (system.diskio)",
        (_FILE,),
        "the kernel has no block devices (CONFIG_BLOCK), or proc is not that of the host",
    ),
    Need("which disks are physical, their models", ("sys/block",), "sysfs shows no block devices"),
)

COLLECTOR = Collector(
    "disk", start, {DATASET: Output(FIELDS, derive), HOST: Output(TOTAL_FIELDS)}, NEEDS, options=(Options,)
)
