"""The page: boards as HTML around figures that plotly draws. It contains plotly and the figures, compressed."""

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from shipper import __version__
from shipper.view.dashboards.ask import Answer, Span
from shipper.view.dashboards.model import Metric, Panel, Row, View, key_label, label, sorted_by, steps, unit
from shipper.view.report.figures import course, figure, shared
from shipper.view.report.search import Filled
from shipper.view.thresholds import Level
from shipper.view.unit_formats import moment, shown

MOST_PRINTED: Final = 15  # rows of a table on paper, followed by the number of further rows
_FILES: Final = resources.files(__package__)


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of a stat or table."""

    text: str
    value: float | None
    level: Level = Level.OK
    share: float | None = None  # 0 to 1, drawn as a bar


@dataclass(slots=True)
class Drawn:
    """A panel for the template; only the attributes of its kind of view are filled."""

    id: str
    panel: Panel
    empty: bool
    figure: dict[str, Any] | None = None
    numbers: list[tuple[str, Cell]] = field(default_factory=list)
    course: str = ""  # a path of SVG
    headings: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A board: its rows, each with its panels."""

    id: str
    filled: Filled
    rows: list[tuple[Row, list[Drawn]]]


def render(pages: Sequence[Filled]) -> str:
    """One HTML page."""
    sheets = [_sheet(f"board-{i}", filled) for i, filled in enumerate(pages)]
    figures = {drawn.id: drawn.figure for sheet in sheets for _, row in sheet.rows for drawn in row if drawn.figure}
    script, plotly = _text("page.js"), get_plotlyjs()
    made: str = _template().render(
        sheets=sheets,
        when=_range(pages[0].when),
        made=moment(round(time.time() * 1000)),
        version=__version__,
        most_printed=MOST_PRINTED,
        style=Markup(_text("page.css")),  # noqa: S704 – our own file
        script=Markup(script),  # noqa: S704 – our own file
        hashes=[_hash(script), _hash(plotly)],
        plotly=_packed(plotly),
        figures=_packed(json.dumps(figures, separators=(",", ":"))),
    )
    return made


def _text(name: str) -> str:
    return _FILES.joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["moment"] = moment
    return environment.from_string(_text("page.html"))


def _hash(script: str) -> str:
    """For Content-Security-Policy: these scripts run and no other."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _range(when: Span) -> str:
    return f"{moment(when.first_ms)} to {moment(when.last_ms)} UTC"


def _sheet(id_: str, filled: Filled) -> Sheet:
    panels = filled.page.board.panels
    colours = shared((panel, filled.answers[panel.title]) for panel in panels if panel.title in filled.answers)
    rows = [
        (row, [_drawn(f"{id_}-{i}-{j}", filled, panel, colours) for j, panel in enumerate(row.panels)])
        for i, row in enumerate(filled.page.board.rows)
    ]
    return Sheet(id_, filled, rows)


def _drawn(id_: str, filled: Filled, panel: Panel, colours: Mapping[str, int]) -> Drawn:
    answer = filled.answers.get(panel.title, Answer())
    made = Drawn(id_, panel, answer.empty and panel.view is not View.TEXT)
    if made.empty:
        return made
    if panel.view is View.STAT:
        made.numbers = list(_numbers(panel, answer))
        lines = filled.courses.get(panel.title, Answer()).series.values()
        made.course = course(next(iter(lines), []))
    elif panel.view is View.TABLE:
        made.headings = [key_label(panel), *(label(panel, metric) for metric in panel.metrics)]
        made.rows = list(_rows(panel, answer))
    elif panel.view is not View.TEXT:
        made.figure = figure(panel, filled.when, answer, filled.marks, colours)
    return made


def _numbers(panel: Panel, answer: Answer) -> Iterator[tuple[str, Cell]]:
    if panel.split:  # the highest one, with its name; nothing if there is none
        for key, (value, *_) in [*answer.rows.items()][:1]:
            yield key, _cell(panel, panel.metrics[0], value)
        return
    for metric in panel.metrics:
        title = label(panel, metric)
        yield title if len(panel.metrics) > 1 else "", _cell(panel, metric, answer.numbers[title])


def _rows(panel: Panel, answer: Answer) -> Iterator[tuple[str, list[Cell]]]:
    """Rows sorted by the panel's sort column, highest or lowest first; rows without a value there come last."""
    at, rising = panel.metrics.index(sorted_by(panel)), bool(panel.split and panel.split.rising)
    for key in sorted(answer.rows, key=lambda key: _placed(answer.rows[key][at], rising=rising)):
        cells = zip(panel.metrics, answer.rows[key], strict=True)
        yield key, [_cell(panel, metric, value) for metric, value in cells]


def _placed(value: float | None, *, rising: bool) -> tuple[bool, float]:
    return value is None, (value or 0) if rising else -(value or 0)


def _cell(panel: Panel, metric: Metric, value: float | None) -> Cell:
    of, own = unit(panel, metric), steps(panel, metric)
    share = min(max(value, 0), 1) if of == "pct" and value is not None else None
    return Cell(shown(value, of), value, own.level(value) if own else Level.OK, share)
