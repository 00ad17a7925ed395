"""Flat values → one JSON line, whatever names and texts they have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.base.text import DIMENSION_BYTES, dimension
from shipper.deliver.document import Writer, nested
from shipper.fields.field import Field, Kind, Type, attribute, gauge, real
from shipper.fields.field import dimension as dimension_field

FIELDS = (
    dimension_field("d.path", "a dimension"),
    attribute("d.text", "a text"),
    attribute("d.list", "texts"),
    attribute("d.flag", "a flag", "", Type.BOOLEAN),
    Field("labels", Type.FLATTENED, Kind.ATTRIBUTE, "", "labels"),
    gauge("d.n.bytes", "bytes", "a number", ""),
    real("d.x%d.pct", "pct", "a name with a per cent sign", ""),
)


def written(values: dict[str, Any]) -> Any:
    return json.loads(Writer(FIELDS).write(values))


def test_leaves_are_nested_and_typed() -> None:
    values = {
        "d.path": "/a",
        "d.n.bytes": 2**62,
        "d.x%d.pct": 0.25,
        "d.flag": True,
        "labels": {"a.b": 'q"'},
        "d.list": ["x"],
    }
    assert written(values) == {
        "d": {"path": "/a", "n": {"bytes": 2**62}, "x%d": {"pct": 0.25}, "flag": True, "list": ["x"]},
        "labels": {"a.b": 'q"'},
    }


@given(st.text(), st.text())
def test_no_text_breaks_the_line(path: str, text: str) -> None:
    line = Writer(FIELDS).write({"d.path": path, "d.text": text})
    assert b"\n" not in line
    document = json.loads(line)
    if text.isprintable():
        assert document["d"]["text"] == text


def test_names_that_are_not_utf8_stay_apart() -> None:
    first, second = (written({"d.path": name, "d.text": ""})["d"]["path"] for name in ("a\udcff", "a\udcfe"))
    assert (first, second) == ("a\\xff", "a\\xfe")


def test_dimensions_are_cut_to_size_and_stay_apart() -> None:
    long = "/" + "ä" * 4000
    one, other = dimension(long + "1"), dimension(long + "2")
    assert one != other
    assert len(one.encode()) <= DIMENSION_BYTES
    assert dimension("/short") == "/short"
    assert written({"d.path": long + "1", "d.text": ""})["d"]["path"] == one


def test_an_undeclared_name_is_refused() -> None:
    with pytest.raises(KeyError, match=r"d\.unknown"):
        Writer(FIELDS).write({"d.path": "/", "d.unknown": 1})


def test_forms_are_kept_per_set_of_leaves() -> None:
    writer = Writer(FIELDS)
    assert writer.write({"d.path": "/", "d.n.bytes": 1}) == b'{"d":{"path":"/","n":{"bytes":1}}}'
    assert writer.write({"d.path": "/", "d.text": "t"}) == b'{"d":{"path":"/","text":"t"}}'
    assert writer.write({"d.path": "/", "d.n.bytes": 2}) == b'{"d":{"path":"/","n":{"bytes":2}}}'


def test_nested_names() -> None:
    assert nested(["a.b", "a.c.d", "e"]) == {"a": {"b": "a.b", "c": {"d": "a.c.d"}}, "e": "e"}


def test_leaves_that_are_left_out() -> None:
    writer = Writer(FIELDS, {"d.text", "d.n.bytes"})
    assert (
        writer.write({"d.path": "/", "d.text": "t", "d.n.bytes": 1, "d.flag": True})
        == b'{"d":{"path":"/","flag":true}}'
    )
