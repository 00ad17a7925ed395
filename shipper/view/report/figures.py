"""Panels of lines and heat as figures of plotly: plain dicts of its schema, https://plotly.com/javascript/reference/.

Values are divided by the scale of their axis and rounded to seven digits. An evenly spaced series is written as its
first time and the distance between points, which halves the size.
"""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from shipper.view.dashboards.ask import Answer, Span
from shipper.view.dashboards.colours import BAD, COLOURS, MARKS, WARNING
from shipper.view.dashboards.model import HOST, Panel, View, label
from shipper.view.unit_formats import Scale, scale

Marks = Mapping[str, list[tuple[int, str]]]
Line = list[float | None]
_DASHES: Final = ("solid", "dash", "dot", "dashdot")
_LEGEND: Final = {
    "orientation": "h",
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "maxheight": 0.25,
    "tracegroupgap": 0,
    "font": {"size": 10},
}
_CLEAR: Final = "rgba(0,0,0,0)"
_CLOCK: Final = [
    {"dtickrange": [None, 59_000], "value": "%H:%M:%S"},
    {"dtickrange": [60_000, 43_200_000], "value": "%H:%M"},
    {"dtickrange": [86_400_000, None], "value": "%b %-d"},
]
_NEAR: Final = 1.5  # a threshold further above the highest value would flatten the lines


def shared(filled: Iterable[tuple[Panel, Answer]]) -> dict[str, int]:
    """Host → index of its colour and dashes on all charts of a board; empty if there are more hosts than those."""
    hosts = {
        key
        for panel, answer in filled
        if panel.split and panel.split.field == HOST and panel.view is View.LINES
        for key in map(partial(_key, panel), answer.series, range(len(answer.series)))
    }
    return {host: i for i, host in enumerate(sorted(hosts))} if len(hosts) <= len(COLOURS) * len(_DASHES) else {}


def _key(panel: Panel, title: str, i: int) -> str:
    """The split's value to which line ``i`` belongs."""
    metric = panel.metrics[i % len(panel.metrics)]
    return title.removesuffix(f" {label(panel, metric)}") if len(panel.metrics) > 1 else title


def figure(panel: Panel, when: Span, answer: Answer, marks: Marks, colours: Mapping[str, int]) -> dict[str, Any]:
    """``data`` and ``layout`` for Plotly.newPlot. ``marks``: name → (ms, label); ``colours``: see ``shared``."""
    values = [abs(value) for line in answer.series.values() for value in line if value is not None]
    highest = max(values, default=0)
    form = scale(panel.unit, max(highest, panel.top or 0) if panel.unit == "pct" else highest)
    layout = _layout(when)
    if panel.view is View.HEAT:
        layout["yaxis"] = {"type": "category", "autorange": "reversed", "automargin": True, "ticks": ""}
        return {"data": [_heat(panel, when, answer, form, highest)], "layout": layout}
    layout |= {"hovermode": "x unified", "showlegend": len(answer.series) > 1, "yaxis": _axis(panel, form)}
    layout["shapes"] = [*_thresholds(panel, form, highest), *_lines_of(marks)]
    data = [*_traces(panel, when, answer, form, colours)]
    if any(marks.values()):
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        data += [_mark(title, points) for title, points in marks.items() if points]
    return {"data": data, "layout": layout}


def course(line: Line) -> str:
    """``line`` as a path of SVG in a box of one by one, y downward from the highest value; a gap is a gap."""
    highest, width = max((value for value in line if value is not None), default=0) or 1, max(len(line) - 1, 1)
    parts, pen = [], "M"
    for i, value in enumerate(line):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{i / width:.4g} {1 - value / highest:.4g}")
        pen = "L"
    return "".join(parts)


def _layout(when: Span) -> dict[str, Any]:
    return {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"family": "system-ui, sans-serif", "size": 11},
        "xaxis": {
            "type": "date",
            "range": [when.first_ms, when.last_ms],
            "automargin": True,
            "tickformatstops": _CLOCK,
        },
        "legend": _LEGEND,
        "hoverlabel": {"namelength": -1},
    }


def _axis(panel: Panel, form: Scale) -> dict[str, Any]:
    axis: dict[str, Any] = {"ticksuffix": f" {form.suffix}", "automargin": True, "nticks": 6, "exponentformat": "none"}
    if not any(metric.mirrored for metric in panel.metrics):
        axis["rangemode"] = "tozero"
    if panel.top is not None:
        axis["autorangeoptions"] = {"include": [0, panel.top / form.factor]}
    return axis


def _traces(
    panel: Panel, when: Span, answer: Answer, form: Scale, colours: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    below = _mirrored(panel, answer)
    segments = list(_segments(answer)) if panel.stacked else [slice(None)]
    for i, (title, line) in enumerate(answer.series.items()):
        sign = -1 if title in below else 1
        colour, dash = _look(panel, i, colours.get(_key(panel, title, i)))
        look = {
            "type": "scatter",
            "line": {"color": colour, "width": 1.5, "dash": dash},
            "hovertemplate": f"%{{y:.4~g}} {form.suffix}",
            "meta": title,
            **_entry(panel, title, i, form),
        }
        for number, part in enumerate(segments):
            drawn = [None if value is None else sign * value / form.factor for value in line[part]]
            more: dict[str, Any] = {} if number == 0 else {"showlegend": False}
            if panel.stacked:
                if not any(value is not None for value in drawn):
                    continue
                over = panel.metrics[i % len(panel.metrics)].over
                more |= {} if over else {"stackgroup": str(number)}
            yield look | _points(answer.times[part], drawn, when.bucket_ms, panel.joined_ms) | more


def _entry(panel: Panel, title: str, i: int, form: Scale) -> dict[str, Any]:
    """Line ``i`` in the legend. Lines above and below zero that look the same have one entry: the split's value."""
    if not panel.split or not any(metric.mirrored for metric in panel.metrics):
        return {"name": html.escape(title, quote=False), "legendgroup": str(i)}
    metric, key = panel.metrics[i % len(panel.metrics)], html.escape(_key(panel, title, i), quote=False)
    hover = f"%{{y:.4~g}} {form.suffix} {metric.label}"
    return {"name": key, "legendgroup": key, "showlegend": not metric.mirrored, "hovertemplate": hover}


def _look(panel: Panel, i: int, own: int | None) -> tuple[str, str]:
    """Colour and dashes of line ``i``. A split's value has the same colour above and below zero."""
    kinds = len(panel.metrics) if panel.split else 1
    key, kind = divmod(i, kinds)
    key = key if own is None or not panel.split else own
    dash = key // len(COLOURS) + (0 if panel.metrics[kind].mirrored else kind)
    return COLOURS[key % len(COLOURS)], _DASHES[dash % len(_DASHES)]


def _mirrored(panel: Panel, answer: Answer) -> set[str]:
    """Names of the lines that are drawn below zero. The lines of a split's value follow the order of the metrics."""
    each = [panel.metrics[i % len(panel.metrics)] for i in range(len(answer.series))]
    return {title for title, metric in zip(answer.series, each, strict=True) if metric.mirrored}


def _segments(answer: Answer) -> Iterator[slice]:
    """Stretches in which any series has a value: plotly would draw a stack down to zero across the gaps."""
    filled = [any(value is not None for value in column) for column in zip(*answer.series.values(), strict=True)]
    begin = None
    for at, value in enumerate([*filled, False]):
        if value and begin is None:
            begin = at
        elif not value and begin is not None:
            yield slice(begin, at)
            begin = None


def _points(times: Sequence[int], line: Line, step_ms: int, joined_ms: int) -> dict[str, Any]:
    """Coordinates. A point between two gaps gets a marker, because no line goes through it."""
    kept = [at for at in range(len(times)) if line[at] is not None or not _slow(times, line, at, joined_ms)]
    values = [_short(line[at]) for at in kept]
    padded = [None, *values, None]
    alone = any(padded[i] is None and value is not None and padded[i + 2] is None for i, value in enumerate(values))
    look = {"mode": "lines+markers", "marker": {"size": 4}} if alone else {"mode": "lines"}
    if len(kept) == len(times) and times:
        return {"x0": times[0], "dx": step_ms, "y": values, **look}
    return {"x": [times[at] for at in kept], "y": values, **look}


def _slow(times: Sequence[int], line: Line, at: int, joined_ms: int) -> bool:
    """Whether the values before and after are so close in time that none was due in between."""
    before = next((i for i in range(at, -1, -1) if line[i] is not None), None)
    after = next((i for i in range(at, len(line)) if line[i] is not None), None)
    return before is not None and after is not None and times[after] - times[before] <= joined_ms


def _short(value: float | None) -> float | None:
    if value is None:
        return None
    rounded = float(f"{value:.7g}")
    return int(rounded) if rounded.is_integer() else rounded


def _heat(panel: Panel, when: Span, answer: Answer, form: Scale, highest: float) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "x0": (answer.times[0] if answer.times else when.first_ms) + when.bucket_ms // 2,
        "dx": when.bucket_ms,
        "y": [html.escape(title, quote=False) for title in answer.series],
        "z": [
            [_short(None if value is None else value / form.factor) for value in line]
            for line in answer.series.values()
        ],
        "zmin": 0,
        "zmax": (panel.top or highest) / form.factor,
        "colorscale": "Cividis",
        "colorbar": {"ticksuffix": f" {form.suffix}", "thickness": 8, "outlinewidth": 0, "len": 1},
        "hovertemplate": "%{y}<br>%{x}<br>%{z:.4~g} " + form.suffix + "<extra></extra>",
        "hoverongaps": False,
    }


def _thresholds(panel: Panel, form: Scale, highest: float) -> Iterator[dict[str, Any]]:
    if panel.steps is None:
        return
    for value, colour in ((panel.steps.warning, WARNING), (panel.steps.bad, BAD)):
        if value <= max(highest * _NEAR, panel.top or 0):
            yield _line(colour, "dash", x=(0, 1), y=(value / form.factor, value / form.factor), xref="paper")


def _lines_of(marks: Marks) -> Iterator[dict[str, Any]]:
    for points in marks.values():
        for ms, _ in points:
            yield _line(MARKS, "dot", x=(ms, ms), y=(0, 1), yref="paper")


def _line(colour: str, dash: str, x: tuple[float, float], y: tuple[float, float], **more: str) -> dict[str, Any]:
    ends = {"x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1]}
    return {"type": "line", "line": {"color": colour, "dash": dash, "width": 1}, "layer": "below", **ends, **more}


def _mark(title: str, points: list[tuple[int, str]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": "marks",
        "name": title,
        "x": [ms for ms, _ in points],
        "y": [1] * len(points),
        "yaxis": "y2",
        "text": [html.escape(text, quote=False) for _, text in points],
        "hovertemplate": "%{text}",
        "marker": {"symbol": "triangle-down", "color": MARKS, "size": 9},
        "cliponaxis": False,
        "showlegend": False,
    }
