"""Output of every benchmark: a table for people and one JSON line for programs."""

import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows``, which have the same columns; None as a dash, numbers with four digits."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right" if _number(rows[0][name]) else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    Console(width=200).print(table)


def line(bench: str, results: Mapping[str, Any]) -> None:
    """Print one line of JSON with the results and the machine."""
    machine = {"machine": f"{platform.machine()}, Linux {platform.release()}", "python": platform.python_version()}
    print(json.dumps({"bench": bench, **machine, **results}))


def _number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
