"""A comparison as text: what changed, then a table."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from shipper.base.text import escaped
from shipper.view.compare.compare import WINDOWS, Compared, Row, Spread
from shipper.view.compare.measures import RESTARTS
from shipper.view.compare.variation import FEWEST, Verdict
from shipper.view.unit_formats import ABSENT, moment, percent, shown, together

_NAME: Final = 18
_CELL: Final = 30
_TIMES: Final = 3


def lines(made: Compared) -> Iterator[str]:
    """The comparison line by line, fit for a terminal."""
    return map(escaped, _lines(made))


def _lines(made: Compared) -> Iterator[str]:
    subject = made.subject
    same = subject.change is not None and subject.change.at_ms == made.at_ms
    why = f" ({subject.change.words})" if subject.change and same else ""
    span = shown(made.window_ms, "ms")
    yield f"{subject.kind} {subject.name}: {span} before and after {moment(made.at_ms)} UTC{why}"
    if subject.kind in ("unit", "image"):
        yield f"values per container or service; before: {made.entities[0]}, after: {made.entities[1]}"
    for verdict in Verdict:
        names = [row.measure.name for row in made.rows if row.verdict is verdict and row.mean is not None]
        if names:
            yield f"{verdict}: {', '.join(names)}"
    absent = [row.measure.name for row in made.rows if row.mean is None]
    if absent:
        yield f"not measured after the change: {', '.join(absent)}"
    if made.windows < FEWEST:
        yield f"what is usual is unknown: {made.windows} of {WINDOWS} windows before the change have documents"
    yield ""
    yield f"{'':<{_NAME}}{'before: p50, p95, max':<{_CELL}}{'after: p50, p95, max':<{_CELL}}usual mean, mean after"
    for row in made.rows:
        if row.mean is not None or row.usual is not None:
            yield _row(row)


def _row(row: Row) -> str:
    measure = row.measure
    before, after = (_spread(one, measure.unit).ljust(_CELL) for one in (row.before, row.after))
    marks = {Verdict.MORE: ", more", Verdict.LESS: ", less"}
    known = [one for one in (row.usual, row.mean) if one is not None]
    means = f"{together(known, measure.unit)}{_ratio(row)}" if len(known) > 1 else shown(row.mean, measure.unit)
    name = f"{measure.name} each" if measure is RESTARTS else measure.name
    return f"{name:<{_NAME}}{before}{after}{means}{marks.get(row.verdict, '')}"


def _spread(spread: Spread | None, unit: str) -> str:
    return ABSENT if spread is None else together((spread.p50, spread.p95, spread.highest), unit)


def _ratio(row: Row) -> str:
    if not row.usual or row.mean is None or row.verdict is Verdict.USUAL:
        return ""
    ratio = row.mean / row.usual
    return f" (× {ratio:.1f})" if ratio >= _TIMES else f" ({percent(ratio - 1, '+')})"


def plain(made: Compared) -> dict[str, Any]:
    """The comparison as JSON: times in ms since 1970, values in the units of their fields."""
    change = made.subject.change
    return {
        "kind": made.subject.kind,
        "name": made.subject.name,
        "at_ms": made.at_ms,
        "window_ms": made.window_ms,
        "windows": made.windows,
        "entities": {"before": made.entities[0], "after": made.entities[1]},
        "newest_change": asdict(change) if change else None,
        "rows": [
            {
                "name": row.measure.name,
                "field": row.measure.field or None,
                "before": asdict(row.before) if row.before else None,
                "after": asdict(row.after) if row.after else None,
                "usual_mean": row.usual,
                "mean": row.mean,
                "verdict": row.verdict,
            }
            for row in made.rows
        ],
        "searches": [{"dataset": dataset, "body": body} for dataset, body in made.searches],
    }
