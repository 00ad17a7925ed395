"""``shipper fields [WORD]``: what a field means and where it comes from, without leaving the terminal."""

import argparse
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from shipper.base.errors import UserError
from shipper.fields import dynamic
from shipper.fields.dataset import METRIC
from shipper.fields.field import UNITS, Declaration, Field
from shipper.fields.lean import leaves_out
from shipper.schema.datasets import Dataset, every_field
from shipper.settings.config import Config

SECTIONS = ()
EXAMPLES = {
    "fields memory": "fields with this word in name or description",
    "fields system.memory.actual.used.pct": "all that is known of one field",
}
# What a module calls the function that turns kernel text, or an answer, into values; the first that it has
_PARSERS: Final = ("parse", "values", "sizes", "sockstat", "nfs", "summary", "collect", "start")
_LONGEST_DECLARATION: Final = 6  # lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "word", metavar="WORD", nargs="?", default="", help="name of a field, or part of a name or description"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a field")


def run(args: argparse.Namespace, _config: Config) -> int:
    lines = list(map(as_json, matching(args.word))) if args.json else []
    lines = lines or list(details(args.word)) or list(table(matching(args.word)))
    if not lines:
        raise UserError(f'no field has "{args.word}" in its name or description')
    print("\n".join(lines))
    return 0


def matching(word: str) -> list[Field]:
    """Fields with ``word`` in name or help, each once, ordered by name."""
    matching = {field.name: field for _, field in every_field() if word.lower() in f"{field.name} {field.help}".lower()}
    return [matching[name] for name in sorted(matching)]


def as_json(field: Field) -> str:
    """What a program may want to know of a field."""
    facts = {"name": field.name, "type": field.type, "kind": field.kind, "unit": field.unit}
    more = {"rate": field.rate, "lean": not leaves_out(field), "help": field.help, "source": field.source}
    return json.dumps({**facts, **more})


def table(fields: Iterable[Field]) -> Iterator[str]:
    """One line per field, in columns."""
    rows = [(field.name, f"{field.type} {field.kind}", field.unit, field.help) for field in fields]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for *cells, help_ in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), help_])


def details(name: str) -> Iterator[str]:
    """All that is known of the field ``name``, dataset by dataset; nothing if there is no such field."""
    for dataset, field in every_field():
        if field.name == name:
            yield name
            yield from (f"  {what:<11}{text}" for what, text in _facts(dataset, field) if text)
    if own := dynamic.leaf(name):
        facts = {"meaning": own.help, "dataset": METRIC, "type": own.type, "unit": UNITS.get(own.unit, "")}
        yield name
        yield from (f"  {what:<11}{text}" for what, text in {**facts, "source": "docs/own-metrics.md"}.items() if text)


def _facts(dataset: Dataset, field: Field) -> Iterator[tuple[str, str]]:
    counters = [counter for counter in dataset.fields if field.name in (counter.rate, counter.delta)]
    yield "meaning", field.help
    yield "dataset", f"{dataset.name}: {dataset.help}"
    yield "type", field.type
    yield "unit", ": ".join(dict.fromkeys((field.unit, UNITS[field.unit]))) if field.unit else ""
    yield "kind", f"{field.kind}; its rate is {field.rate}" if field.rate else field.kind
    yield "lean", "absent" if leaves_out(field) else ""
    yield "source", field.source
    yield "declared", f"{field.declared.path}:{field.declared.line}"
    yield "read", ", ".join(_reading_lines(field.declared, [field.name, *(counter.name for counter in counters)]))
    for name in (field.name, field.rate):
        for panel in _panels(dataset.name, name) if name else ():
            yield "dashboard", panel + (f" ({name})" if name != field.name else "")


def _panels(dataset: str, name: str) -> Iterator[str]:
    """``board: panel`` for each panel that uses the field; none on nodes, which have no dashboards."""
    try:
        from shipper.view.dashboards import uses
    except ImportError:
        return
    for board, panel in uses.panels(dataset, name):
        yield f"{board.title}: {panel.title}"


def _reading_lines(declared: Declaration, names: Iterable[str]) -> Iterator[str]:
    """Lines of the declaring file that name the field again, and its parser; for people, so by the text of the code."""
    text = Path(declared.file).read_text(encoding="utf-8").splitlines()
    own = range(declared.line, declared.line + _LONGEST_DECLARATION)
    for number, line in enumerate(text, 1):
        if number not in own and any(f'"{name}"' in line for name in names):
            yield f"{declared.path}:{number}"
    module = next((one for one in sys.modules.values() if getattr(one, "__file__", "") == declared.file), None)
    parser = next((getattr(module, name) for name in _PARSERS if inspect.isfunction(getattr(module, name, None))), None)
    if parser and parser.__module__ == getattr(module, "__name__", ""):
        yield f"{declared.path}:{inspect.getsourcelines(parser)[1]} {parser.__name__}()"
