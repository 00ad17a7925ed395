"""Software RAID (md): ``sys/block/mdN/md``. Elastic's names where it has them.

    array_state clean · level raid1 · raid_disks 2 · degraded 0 · sync_action resync · sync_completed 123904 / 976640

https://docs.kernel.org/admin-guide/md.html
"""

from collections.abc import Iterator

from shipper.collect.contract import Collect, Collector, Output
from shipper.fields.field import attribute, dimension, gauge, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.every import Every
from shipper.kernel.parse import ParseError, integer, shown, whole, word
from shipper.kernel.source import Reader
from shipper.settings.config import Config

DATASET = "raid"
_BLOCK = "sys/block"
_PREFIX = "system.raid"
_SEEK_S = 60.0
_STATES = ("active", "spare", "failed")

FIELDS = (
    dimension(f"{_PREFIX}.name", "Name of the array", "sys/block/mdN"),
    attribute(f"{_PREFIX}.status", "clean, active, inactive, readonly …", "md/array_state"),
    attribute(f"{_PREFIX}.level", "raid0, raid1, raid5 …", "md/level"),
    attribute(f"{_PREFIX}.sync_action", "idle, resync, recover, check, repair", "md/sync_action"),
    gauge(f"{_PREFIX}.disks.total", "count", "Disks in the array, in any state", "md/dev-*"),
    gauge(f"{_PREFIX}.disks.configured.count", "count", "Disks that a complete array has, without spares", "md/raid_disks"),
    *(gauge(f"{_PREFIX}.disks.{state}", "count", f"Disks in the array that are {state}", "md/dev-*/state") for state in _STATES),
    gauge(f"{_PREFIX}.disks.missing.count", "count", "Missing disks; 0 in a healthy array", "md/degraded"),
    real(f"{_PREFIX}.sync.pct", "pct", "Progress of a resync or check", "md/sync_completed"),
    gauge(f"{_PREFIX}.mismatch.count", "count", "Sectors that differed in the last check", "md/mismatch_cnt"),
)  # fmt: skip
_NUMBERS = {"raid_disks": "disks.configured.count", "degraded": "disks.missing.count", "mismatch_cnt": "mismatch.count"}
_WORDS = {"array_state": "status", "level": "level", "sync_action": "sync_action"}


def progress(text: bytes) -> float | None:
    """Progress from 0 to 1 of ``123904 / 976640`` sectors; None if nothing is in progress. Raises ParseError."""
    if text.strip() in (b"none", b"delayed"):
        return None
    done, slash, of = whole(text).partition(b"/")
    if not slash or not integer(of) or integer(done) > integer(of):
        raise ParseError(f"not a progress: {shown(text)}")
    return integer(done) / integer(of)


def start(reader: Reader, _config: Config) -> Collect:
    """One reading per array. A host without arrays is asked for new ones once a minute."""
    seek = Every(_SEEK_S)
    arrays: list[Reading] = []

    def collect() -> list[Reading]:
        nonlocal arrays
        if not arrays and not seek.due(reader.now_ns()):
            return []
        arrays = list(_collect(reader))
        reader.lacks = {} if arrays else {"software RAID (system.raid)": "the host has no md array"}
        return arrays

    return collect


def _collect(reader: Reader) -> Iterator[Reading]:
    for array in reader.names(_BLOCK):
        directory = f"{_BLOCK}/{array}/md"
        if array.startswith("md") and reader.exists(directory):
            at_ns = reader.now_ns()
            yield Reading(DATASET, array, at_ns, {f"{_PREFIX}.name": array, **_values(reader, directory)})


def _values(reader: Reader, directory: str) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for file, name in _WORDS.items():
        path = f"{directory}/{file}"
        data = reader.read(path)
        text = reader.parsed(path, data, word) if data and data.strip() else None  # an inactive array has no level
        if text is not None:
            values[f"{_PREFIX}.{name}"] = text
    for file, name in _NUMBERS.items():
        number = reader.parse(f"{directory}/{file}", lambda text: integer(whole(text)))
        if number is not None:
            values[f"{_PREFIX}.{name}"] = number
    done = reader.parse(f"{directory}/sync_completed", progress)
    if done is not None:
        values[f"{_PREFIX}.sync.pct"] = done
    return values | _disks(reader, directory)


def _disks(reader: Reader, directory: str) -> dict[str, Value]:
    """Disks by state: ``in_sync`` is active, ``faulty`` is failed; a spare may be in a rebuild."""
    counts = dict.fromkeys(_STATES, 0)
    disks = [name for name in reader.names(directory) if name.startswith("dev-")]
    for disk in disks:
        states = (reader.read(f"{directory}/{disk}/state") or b"").strip().split(b",")
        kind = "failed" if b"faulty" in states else "active" if b"in_sync" in states else "spare"
        counts[kind] += 1
    counts["total"] = len(disks)
    return {f"{_PREFIX}.disks.{state}": count for state, count in counts.items()} if disks else {}


COLLECTOR = Collector("raid", start, {DATASET: Output(FIELDS)})
