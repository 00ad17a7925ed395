"""Flat values → the JSON line of one document.

A document's leaves are dotted names; the JSON is nested. The set of leaves of a dataset's documents changes rarely, so
the nested text is prepared once per set, with places for the values. This is cheaper than any JSON encoder.
"""

import json
from collections.abc import Container, Iterable, Mapping
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any, Final

from shipper.base.text import DIMENSION_BYTES, dimension, utf8
from shipper.fields.field import Field, Kind, Type
from shipper.fields.rates import Value

_MOST_FORMS: Final = 512
_PLACES: Final = {Type.LONG: "%d", Type.FLOAT: "%.7g", Type.DOUBLE: "%.7g"}
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode
_FLAGS: Final = {True: b"true", False: b"false"}


def quote(value: Value) -> bytes:
    """JSON of a value that is not a plain number."""
    if isinstance(value, str):
        return encode_basestring(value if value.isascii() else utf8(value)).encode()
    if isinstance(value, bool):
        return _FLAGS[value]
    return _ENCODE(_clean(value)).encode()


def _clean(value: Any) -> Any:
    """``value`` with every text in it valid UTF-8: labels and file names come from untrusted sources."""
    if isinstance(value, str):
        return utf8(value)
    if isinstance(value, Mapping):
        # Elasticsearch rejects the document for a key with a NUL, or one too long for a term
        return {utf8(dimension(key)).replace("\0", "\\x00"): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def nested(names: Iterable[str]) -> dict[str, Any]:
    """Dotted names as a tree whose leaves are the names."""
    tree: dict[str, Any] = {}
    for name in names:
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = name
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A document's leaves under their dotted names; the inverse of ``nested``."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return leaves


class Form:
    """The prepared text of documents with one set of leaves. ``dimensions`` are those whose values are cut to size."""

    def __init__(self, names: tuple[str, ...], types: Mapping[str, Type], dimensions: Container[str] = ()) -> None:
        order: list[str] = []
        # Bytes are formatted in two thirds of the time that text takes
        self._text = self._prepare(nested(names), types, order).encode()
        self._pick = itemgetter(*order)
        self._quoted = [i for i, name in enumerate(order) if types[name] not in _PLACES and name not in dimensions]
        self._cut = [i for i, name in enumerate(order) if name in dimensions]

    def _prepare(self, tree: dict[str, Any], types: Mapping[str, Type], order: list[str]) -> str:
        parts = []
        for key, below in tree.items():
            if isinstance(below, dict):
                text = self._prepare(below, types, order)
            else:
                order.append(below)
                text = _PLACES.get(types[below], "%b")
            parts.append(f"{json.dumps(key)}:".replace("%", "%%") + text)
        return "{" + ",".join(parts) + "}"

    def fill(self, values: Mapping[str, Value]) -> bytes:
        row = list(self._pick(values))
        for i in self._quoted:
            row[i] = quote(row[i])
        for i in self._cut:
            value = row[i]
            is_long = isinstance(value, str) and len(value) > DIMENSION_BYTES // 4
            row[i] = quote(dimension(value) if is_long else value)
        return self._text % tuple(row)


class Writer:
    """Documents of one dataset as JSON lines, without the leaves ``left_out``.

    ``write`` raises KeyError for a name that the registry does not know.
    """

    def __init__(self, fields: Iterable[Field], left_out: Container[str] = ()) -> None:
        fields = tuple(fields)
        self._left_out = left_out
        self._types = {field.name: field.type for field in fields}
        self._dimensions = {field.name for field in fields if field.kind in {Kind.DIMENSION, Kind.NAME}}
        self._forms: dict[tuple[str, ...], Form] = {}

    def known(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """``values`` without names that the registry does not know."""
        return {name: value for name, value in values.items() if name in self._types}

    def write(self, values: dict[str, Value]) -> bytes:
        """One line without its newline. ``values`` has at least two leaves; dimensions are cut to size."""
        key = tuple(values)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            kept = tuple(name for name in key if name not in self._left_out)
            form = self._forms[key] = Form(kept, self._types, self._dimensions)
        return form.fill(values)
