"""What a panel must show, computed from the documents themselves: no Elasticsearch, no query.

Documents are columns of polars frames, one frame a dataset, with ``@timestamp`` in ms. What comes out is the same
Answer that ``dashboards.ask`` reads from the server, so that three drawings can be held to it.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final

import polars as pl
from fleetdocs import Document

from shipper.fields.field import Type
from shipper.view.dashboards.ask import Answer, Span, name, silent
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import (
    DAY,
    RECENT_MS,
    TIME,
    Metric,
    Panel,
    Stat,
    Test,
    View,
    find,
    label,
    narrowed,
    order,
    tests,
)

_WITHIN_MS: Final = {DAY: 86_400_000}
Columns = Mapping[str, pl.DataFrame]
Chosen = Mapping[str, tuple[str, ...]]


@cache
def fields() -> dict[str, list[str]]:
    """Dataset → every field of it that some board asks for."""
    found: dict[str, set[str]] = {}
    for board in BOARDS:
        asked = [(mark.dataset, test) for mark in board.marks for test in mark.where]
        for panel in (one for one in board.panels if one.view is not View.TEXT):
            metrics = [*panel.metrics, *([panel.split.by] if panel.split and panel.split.by else [])]
            names = {one.field for one in metrics if one.field} | {one.per for one in metrics if one.per}
            names |= {panel.split.field} if panel.split else set()
            names |= {test.field for one in metrics for test in one.where}
            found.setdefault(panel.dataset, set()).update(names, (one.field for one in narrowed(board, panel)))
            asked += [(panel.dataset, test) for test in panel.where]
        for dataset, test in asked:
            found.setdefault(dataset, set()).add(test.field)
    return {dataset: sorted({TIME, *names} - {"_index"}) for dataset, names in found.items()}


class Gathered:
    """Documents as columns. ``add`` takes flat values as the shipper sends them, times as ms."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, list[Any]]] = {
            dataset: {one: [] for one in names} for dataset, names in fields().items()
        }

    def add(self, dataset: str, time_ms: int, values: Mapping[str, Any]) -> None:
        columns = self._columns.get(dataset)
        if columns is None:
            return
        for one, column in columns.items():
            column.append(time_ms if one == TIME else _plain(dataset, values, one))

    def see(self, document: Document, time_ms: int) -> None:
        self.add(document.dataset, time_ms, document.values)

    def notes(self) -> dict[str, pl.DataFrame]:
        return self.frames()

    def frames(self) -> dict[str, pl.DataFrame]:
        times = {TIME: pl.Int64}  # also of a dataset without documents
        return {
            dataset: pl.DataFrame(columns, schema_overrides=times, strict=False)
            for dataset, columns in self._columns.items()
        }


def _plain(dataset: str, values: Mapping[str, Any], field: str) -> Any:
    if field.startswith("labels."):
        return values.get("labels", {}).get(field.removeprefix("labels."))
    value = values.get(field)
    if value is not None and find(dataset, field).type is Type.DATE:
        return datetime.fromisoformat(value).timestamp() * 1000
    return str(value).lower() if isinstance(value, bool) else value


def straight(panel: Panel, when: Span, columns: Columns, chosen: Chosen | None = None) -> Answer:
    frame = _documents(panel, when, columns, chosen)
    if panel.view is View.TABLE or (panel.view is View.STAT and panel.split):
        rows = _rows(panel, frame, when)
        return Answer(rows=silent(panel, rows) if panel.silent else rows)
    if panel.view is View.STAT:
        return Answer(numbers={label(panel, one): _number(frame, one, when) for one in panel.metrics})
    return _series(panel, frame, when)


def ranks(panel: Panel, when: Span, columns: Columns, chosen: Chosen | None = None) -> dict[str, float]:
    """What each value of the split is sorted by; of equals any may be drawn."""
    frame = _documents(panel, when, columns, chosen)
    assert panel.split
    found = frame.group_by(panel.split.field).agg(_expression(order(panel), when).alias("_by"))
    return {key: -math.inf if by is None else by for key, by in found.iter_rows() if key is not None}


def _documents(panel: Panel, when: Span, columns: Columns, chosen: Chosen | None) -> pl.DataFrame:
    own = RECENT_MS if panel.recent else _WITHIN_MS.get(panel.within)
    first_ms = when.last_ms - own if own else when.first_ms
    frame = columns[panel.dataset].filter(pl.col(TIME).is_between(first_ms, when.last_ms))
    for test in tests(panel)[1:]:  # a frame is of one dataset
        frame = frame.filter(_passes(test))
    for field, values in (chosen or {}).items():
        if field in frame.columns:
            frame = frame.filter(pl.col(field).is_in(values))
    return frame


def _passes(test: Test) -> pl.Expr:
    column = pl.col(test.field)
    if test.above is not None:
        return column > test.above
    if test.below is not None:
        return column < test.below
    if not test.values:
        return column.is_not_null()
    return column.cast(pl.String).is_in(test.values)


def _expression(metric: Metric, when: Span) -> pl.Expr:
    now = pl.col(TIME) >= when.last_ms - RECENT_MS
    column = pl.col(metric.field) if metric.field else pl.len()
    for test in metric.where:
        column = column.filter(_passes(test))
    found = {
        Stat.COUNT: lambda: now.sum() if metric.recent else pl.len(),
        Stat.UNIQUE: lambda: column.drop_nulls().n_unique(),
        Stat.MISSING: lambda: column.drop_nulls().n_unique() - column.filter(now).drop_nulls().n_unique(),
        Stat.AGE: lambda: when.last_ms - column.max(),
        Stat.TOTAL: lambda: column.mean() * pl.col(metric.per).n_unique(),
        Stat.AVG: column.mean,
        Stat.MAX: column.max,
        Stat.MIN: column.min,
    }[metric.stat]()
    return found.cast(pl.Float64)


def _number(frame: pl.DataFrame, metric: Metric, when: Span) -> float | None:
    if metric.recent:
        frame = frame.filter(pl.col(TIME) >= when.last_ms - RECENT_MS)
    value = frame.select(_expression(metric, when)).item()
    return None if value is None else float(value)


def _first(panel: Panel, frame: pl.DataFrame, when: Span) -> pl.DataFrame:
    """The values of the split that are drawn, in order; those without a number come last."""
    assert panel.split
    key = pl.col(panel.split.field)
    ranked = (
        frame.filter(key.is_not_null()).group_by(panel.split.field).agg(_expression(order(panel), when).alias("_by"))
    )
    down = not panel.split.rising
    return ranked.sort(["_by", panel.split.field], descending=[down, False], nulls_last=True).head(panel.split.size)


def _rows(panel: Panel, frame: pl.DataFrame, when: Span) -> dict[str, list[float | None]]:
    assert panel.split
    field = panel.split.field
    found = frame.group_by(field).agg([_expression(one, when).alias(f"_{i}") for i, one in enumerate(panel.metrics)])
    first = _first(panel, frame, when).join(found, on=field, how="left", maintain_order="left")
    return {row[field]: [row[f"_{i}"] for i in range(len(panel.metrics))] for row in first.iter_rows(named=True)}


def _series(panel: Panel, frame: pl.DataFrame, when: Span) -> Answer:
    times = list(when.buckets)
    bucket = (pl.col(TIME) // when.bucket_ms * when.bucket_ms).alias("_bucket")
    keys = [panel.split.field] if panel.split else []
    if panel.split:
        frame = frame.join(_first(panel, frame, when).select(panel.split.field), on=panel.split.field, how="semi")
    wanted: Iterable[pl.Expr] = [_expression(one, when).alias(f"_{i}") for i, one in enumerate(panel.metrics)]
    found = frame.with_columns(bucket).group_by([*keys, "_bucket"]).agg(wanted)
    values = {(row.get(keys[0]) if keys else None, row["_bucket"]): row for row in found.iter_rows(named=True)}
    shown = _first(panel, frame, when)[panel.split.field].to_list() if panel.split else [None]
    made = Answer(times=times)
    for key in shown:
        for i, metric in enumerate(panel.metrics):
            absent = 0.0 if metric.stat in (Stat.COUNT, Stat.UNIQUE) else None
            line = [values.get((key, time), {}).get(f"_{i}", absent) for time in times]
            made.series[name(panel, metric, key)] = [None if one is None else float(one) for one in line]
    return made
