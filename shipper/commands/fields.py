"""``shipper fields [WORD]``: what a field means, without leaving the terminal."""

import argparse
from collections.abc import Iterable, Iterator

from shipper.base.errors import UserError
from shipper.fields.field import Field
from shipper.schema.datasets import every_field
from shipper.settings.config import Config

HELP = "print name, type, unit and meaning of the fields that contain WORD"
SECTIONS = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", metavar="WORD", nargs="?", default="", help="part of a name or of its explanation")


def run(args: argparse.Namespace, _config: Config) -> int:
    lines = list(table(matching(args.word)))
    if not lines:
        raise UserError(f"no field has {args.word} in its name or explanation")
    print("\n".join(lines))
    return 0


def matching(word: str) -> list[Field]:
    """Fields with ``word`` in name or help, each once, by name."""
    found = {field.name: field for _, field in every_field() if word.lower() in f"{field.name} {field.help}".lower()}
    return [found[name] for name in sorted(found)]


def table(fields: Iterable[Field]) -> Iterator[str]:
    rows = [(field.name, f"{field.type} {field.kind}", field.unit, field.help) for field in fields]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for *cells, help_ in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), help_])
