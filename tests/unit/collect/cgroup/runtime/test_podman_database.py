"""podman's databases: both kinds, and what is no database. tests/nodes has podman itself write one."""

import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.collect.cgroup.runtime import podman_database
from shipper.kernel.parse import ParseError

PAGE = 4096
CONTAINERS: dict[str, dict[str, Any]] = {
    f"{n:064x}": {"name": f"web-{n}", "labels": {"role": "web"}, "spec": {"hostname": "x"}} for n in range(3)
}
PODS: dict[str, dict[str, Any]] = {"f" * 64: {"name": "shop"}}
EXPECTED = {
    **{id_: {"name": one["name"], "labels": one["labels"]} for id_, one in CONTAINERS.items()},
    "f" * 64: {"name": "shop", "labels": None},
}


def leaf(entries: dict[bytes, tuple[int, bytes]], number: int = 0) -> bytes:
    heads, texts = b"", b""
    for at, (key, (flags, value)) in enumerate(sorted(entries.items())):
        heads += struct.pack("<IIII", flags, 16 * (len(entries) - at) + len(texts), len(key), len(value))
        texts += key + value
    return struct.pack("<QHHI", number, 2, len(entries), 0) + heads + texts


def branch(children: dict[bytes, int], number: int) -> bytes:
    heads, texts = b"", b""
    for at, (key, page) in enumerate(sorted(children.items())):
        heads += struct.pack("<IIQ", 16 * (len(children) - at) + len(texts), len(key), page)
        texts += key
    return struct.pack("<QHHI", number, 1, len(children), 0) + heads + texts


def meta(number: int, root: int, transaction: int) -> bytes:
    fields = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, PAGE, 0, root, 0, 2, 8, transaction)
    checksum = 0xCBF29CE484222325
    for byte in fields:
        checksum = (checksum ^ byte) * 0x100000001B3 % (1 << 64)
    return struct.pack("<QHHI", number, 4, 0, 0) + fields + struct.pack("<Q", checksum)


def inline(entries: dict[bytes, tuple[int, bytes]]) -> tuple[int, bytes]:
    return 1, struct.pack("<QQ", 0, 0) + leaf(entries)


def bolt(transactions: tuple[int, int] = (4, 5)) -> bytes:
    """Containers below a branch page, pods in an inline bucket; the first meta page is of an empty database."""
    more = {b"state": (0, b"{}"), b"dependencies": (1, b"")}
    each = [
        {id_.encode(): inline({b"config": (0, json.dumps(one).encode()), **more})} for id_, one in CONTAINERS.items()
    ]
    pods = {id_.encode(): inline({b"config": (0, json.dumps(one).encode())}) for id_, one in PODS.items()}
    root = {
        b"ctr": (1, struct.pack("<QQ", 4, 0)),
        b"pod": inline(pods),
        b"vol": inline({}),
        b"runtime-config": inline({}),
    }
    pages = [
        *(meta(0, 2, transactions[0]), meta(1, 3, transactions[1])),
        *(leaf({}, 2), leaf(root, 3), branch({next(iter(one)): 5 + at for at, one in enumerate(each)}, 4)),
        *(leaf(one, 5 + at) for at, one in enumerate(each)),
    ]
    return b"".join(page.ljust(PAGE, b"\0") for page in pages)


def sqlite(directory: Path) -> bytes:
    file = directory / "db.sql"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE ContainerConfig (ID TEXT PRIMARY KEY, Name TEXT, PodID TEXT, JSON TEXT)")
    database.execute("CREATE TABLE PodConfig (ID TEXT PRIMARY KEY, Name TEXT, JSON TEXT)")
    for id_, one in CONTAINERS.items():
        database.execute("INSERT INTO ContainerConfig VALUES (?, ?, NULL, ?)", (id_, one["name"], json.dumps(one)))
    for id_, one in PODS.items():
        database.execute("INSERT INTO PodConfig VALUES (?, ?, ?)", (id_, one["name"], json.dumps(one).encode()))
    database.commit()
    database.close()
    return file.read_bytes()


def test_both_kinds_tell_the_same(tmp_path: Path) -> None:
    assert podman_database.parse(bolt()) == podman_database.parse(sqlite(tmp_path)) == EXPECTED


def test_the_valid_meta_page_of_the_last_transaction_counts() -> None:
    assert podman_database.parse(bolt((6, 5))) == {}
    half_written = bytearray(bolt((6, 5)))
    half_written[16 + 16] ^= 1
    assert podman_database.parse(bytes(half_written)) == EXPECTED


@pytest.mark.parametrize("data", [b"", b"x" * 9000, b"SQLite format 3\0" + b"x" * 9000, b"\0" * 20000])
def test_what_is_no_database_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError, match="not a database of podman"):
        podman_database.parse(data)


def test_a_page_that_leads_to_itself_is_left() -> None:
    data = bytearray(bolt())
    data[4 * PAGE : 5 * PAGE] = branch({b"a": 4, b"b": 4}, 4).ljust(PAGE, b"\0")
    with pytest.raises(ParseError):
        podman_database.parse(bytes(data))


def test_a_statement_without_end_is_stopped(tmp_path: Path) -> None:
    """A view stands in the place of the table."""
    file = tmp_path / "db.sql"
    endless = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS ID, x AS JSON FROM n WHERE x < 0"
    )
    database = sqlite3.connect(file)
    database.execute(f"CREATE VIEW ContainerConfig AS {endless}")
    database.close()
    with pytest.raises(ParseError, match="interrupted"):
        podman_database.parse(file.read_bytes())


@given(st.data())
def test_any_damage_is_a_parse_error_or_a_database(data: st.DataObject) -> None:
    content = bytearray(bolt())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(2 * PAGE, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(content), 2 * PAGE + 20, 5 * PAGE + 7]))
    try:
        found = podman_database.parse(bytes(content[:cut]))
    except ParseError:
        return
    assert all(isinstance(id_, str) and one.keys() == {"name", "labels"} for id_, one in found.items())
