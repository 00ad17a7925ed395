"""podman's database: names and labels of containers, names of pods. No other file of podman has the labels.

- sqlite (default from podman 4.8): ``db.sql``, tables ContainerConfig and PodConfig, each with ID and JSON
- bolt (before): ``libpod/bolt_state.db``, buckets ctr and pod, in each a bucket per id that has JSON under ``config``.
  Pages of a fixed size form a tree; of two meta pages the valid one with the higher transaction number counts
  (https://pkg.go.dev/go.etcd.io/bbolt)

The file is read without podman's lock: a half-written file is a ParseError, and is read again later. It may belong to a
user: its content is untrusted.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from shipper.kernel.parse import ParseError

FILES: Final = ("db.sql", "libpod/bolt_state.db")

Configs = dict[str, Mapping[str, Any]]
"""``name`` and ``labels`` by id, of containers and pods."""

_SQLITE: Final = b"SQLite format 3\0"
_TABLES: Final = ("ContainerConfig", "PodConfig")
_BUCKETS: Final = (b"ctr", b"pod")
_KEPT: Final = ("name", "labels")
_MOST: Final = 16_384  # containers and pods
_MOST_STEPS: Final = 10_000_000  # of sqlite's virtual machine

_BRANCH, _LEAF = 0x01, 0x02
_MAGIC: Final = 0xED0CDAED
_VERSION: Final = 2
_HEADER: Final = 16
_META: Final = struct.Struct("<IIIIQQQQQQ")
_PAGE: Final = struct.Struct("<8xHH4x")  # flags, count
_BRANCH_ELEMENT: Final = struct.Struct("<IIQ")  # position and size of the key, page
_LEAF_ELEMENT: Final = struct.Struct("<IIII")  # flags, position, sizes of key and value
_BUCKET: Final = struct.Struct("<QQ")  # root page, or 0 if the page follows here; sequence
_FNV_BASIS, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def parse(data: bytes) -> Configs:
    """Names and labels by id. Raises ParseError."""
    try:
        rows = _of_sqlite(data) if data.startswith(_SQLITE) else list(_of_bolt(data))
    except (struct.error, UnicodeDecodeError) as error:
        raise ParseError(f"not a database of podman: {error}") from None
    return {id_: {key: config.get(key) for key in _KEPT} for id_, config in _configs(rows)}


def _configs(rows: Iterable[tuple[object, object]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for id_, text in rows:
        if not isinstance(id_, str) or not isinstance(text, str | bytes):
            continue
        try:
            config = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(config, dict):
            yield id_, config


def _of_sqlite(data: bytes) -> list[tuple[object, object]]:
    import sqlite3  # noqa: PLC0415 – most hosts have no such file

    rows: list[tuple[object, object]] = []
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(data)
            database.set_progress_handler(lambda: 1, _MOST_STEPS)
            for table in _TABLES:
                rows += database.execute(f"SELECT ID, JSON FROM {table} LIMIT {_MOST}")  # noqa: S608 – only constants
    except sqlite3.Error as error:
        raise ParseError(f"not a database of podman: {error}") from None
    return rows


def _of_bolt(data: bytes) -> Iterator[tuple[object, object]]:
    bolt = _Bolt(data)
    for name, _, bucket in bolt.top():
        if name not in _BUCKETS:
            continue
        for id_, _, own in bolt.bucket(bucket):
            for key, is_bucket, value in bolt.bucket(own):
                if key == b"config" and not is_bucket:
                    yield id_.decode(), value


class _Bolt:
    """A bolt file. Entries are (key, whether the value is a bucket, value). Each page is read once at most."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        first = _meta(data, 0)
        size = first[0] if first else 4096
        metas = [meta for meta in (first, _meta(data, size)) if meta]
        if not metas:
            raise ParseError("not a database of podman: no valid meta page")
        self._size, self._root, _ = max(metas, key=lambda meta: meta[2])
        self._left = len(data) // self._size

    def top(self) -> Iterator[tuple[bytes, bool, bytes]]:
        """Entries of the root bucket."""
        return self._page(self._root)

    def bucket(self, value: bytes) -> Iterator[tuple[bytes, bool, bytes]]:
        """Entries of the bucket that is the ``value`` of an entry."""
        root, _ = _BUCKET.unpack_from(value)
        return self._page(root) if root else self._entries(value, _BUCKET.size)

    def _page(self, number: int) -> Iterator[tuple[bytes, bool, bytes]]:
        self._left -= 1
        at = number * self._size
        if self._left < 0 or at >= len(self._data):
            raise ParseError("not a database of podman: an impossible page")
        return self._entries(self._data, at)

    def _entries(self, data: bytes, at: int) -> Iterator[tuple[bytes, bool, bytes]]:
        flags, count = _PAGE.unpack_from(data, at)
        for start in range(at + _HEADER, at + _HEADER + count * _HEADER, _HEADER):
            if flags & _LEAF:
                kind, position, key, value = _LEAF_ELEMENT.unpack_from(data, start)
                middle = start + position + key
                yield data[start + position : middle], bool(kind & 1), data[middle : middle + value]
            elif flags & _BRANCH:
                yield from self._page(_BRANCH_ELEMENT.unpack_from(data, start)[2])


def _meta(data: bytes, page: int) -> tuple[int, int, int] | None:
    """Page size, root page and transaction number; None if the page is damaged."""
    at = page + _HEADER
    if len(data) < at + _META.size:
        return None
    magic, version, size, _, root, _, _, _, transaction, checksum = _META.unpack_from(data, at)
    whole = magic == _MAGIC and version == _VERSION and size and checksum == _fnv(data[at : at + _META.size - 8])
    return (size, root, transaction) if whole else None


def _fnv(data: bytes) -> int:
    value = _FNV_BASIS
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return value
