"""Collectors of other packages: entry points of the group ``shipper.collectors``, each a ``Collector``.

They run, are mapped and are explained as the built-in ones. A package that cannot be used costs only its own collector;
``FAULTS`` says why. What the tests hold for fields of built-in collectors is checked here for theirs.
"""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from glob import glob
from typing import Any, Final

from shipper.collect.contract import Collector
from shipper.fields.dataset import DECLARED
from shipper.fields.field import UNITS, Field, Kind

GROUP: Final = "shipper.collectors"
FAULTS: Final[dict[str, str]] = {}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")


def load(built_in: Collection[Collector]) -> tuple[Collector, ...]:
    """The collectors of other packages that can be used."""
    if not any(map(_has_some, sys.path)):
        return ()
    from importlib.metadata import entry_points  # noqa: PLC0415 – takes milliseconds and megabytes, which most need not

    found: list[Collector] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        declared = dict(DECLARED)
        try:
            collector = entry.load()
            _require(collector, [*built_in, *found])
            found.append(collector)
        except Exception as error:  # noqa: BLE001 – whatever a package does, the others are collected
            FAULTS[entry.name] = f"{entry.value}: {error}"
            DECLARED.clear()
            DECLARED.update(declared)
    return tuple(found)


def _has_some(folder: str) -> bool:
    """Whether a package in ``folder`` has such an entry point. It is cheaper than to ask importlib."""
    for path in glob("*.dist-info/entry_points.txt", root_dir=folder or "."):
        with open(os.path.join(folder, path), "rb") as file:
            if f"[{GROUP}]".encode() in file.read():
                return True
    return False


def _require(collector: Any, others: Iterable[Collector]) -> None:
    """Raises ValueError if ``collector`` cannot run beside ``others``."""
    if not isinstance(collector, Collector):
        raise ValueError("not a Collector")  # noqa: TRY004 – one kind of error for all
    names = {other.name for other in others}
    if not _NAME.fullmatch(collector.name) or collector.name in names:
        raise ValueError(f"the name {collector.name} is taken, or not of lower-case letters, digits and _")
    known = {field.name for other in others for field in _fields(other)}
    for dataset in collector.outputs:
        if dataset not in DECLARED:
            raise ValueError(f"no dataset {dataset}; declare it with shipper.fields.dataset.declare")
    for field in _fields(collector):
        if fault := _fault(field, known):
            raise ValueError(f"field {field.name}: {fault}")
        known.add(field.name)


def _fields(collector: Collector) -> Iterator[Field]:
    for output in collector.outputs.values():
        yield from output.all_fields


def _fault(field: Field, known: Collection[str]) -> str:
    """What is wrong with a field; empty if nothing is."""
    if not _FIELD.fullmatch(field.name):
        return "a name is of lower-case words with dots between them"
    if field.unit not in UNITS or (field.kind in {Kind.GAUGE, Kind.COUNTER} and not field.unit):
        return f"no such unit: {field.unit or 'empty'}"
    if not field.help:
        return "it has no help"
    if any(one == field.name or one.startswith(f"{field.name}.") or field.name.startswith(f"{one}.") for one in known):
        return "another field has this name, or one that begins with it"
    return ""
