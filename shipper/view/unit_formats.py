"""Values for people, with a suitable prefix: IEC for bytes, SI for counts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

ABSENT: Final = "–"


class Scale(NamedTuple):
    """A value divided by ``factor`` is in the unit ``suffix``."""

    factor: float
    suffix: str


def _prefixed(unit: str, prefixes: Sequence[str], step: int) -> tuple[Scale, ...]:
    return tuple(Scale(step**i, f"{prefix}{unit}") for i, prefix in enumerate(prefixes))


def _iec(unit: str) -> tuple[Scale, ...]:
    return _prefixed(unit, ("", "Ki", "Mi", "Gi", "Ti", "Pi"), 1024)


def _si(unit: str) -> tuple[Scale, ...]:
    return _prefixed(unit, ("", "k", "M", "G", "T"), 1000)


_TIMES: Final = (  # in ns
    *_prefixed("s", ("n", "µ", "m", ""), 1000),
    *(Scale(60e9, "min"), Scale(3600e9, "h"), Scale(86400e9, "d")),
)


def _time(ns: float) -> tuple[Scale, ...]:
    return tuple(Scale(form.factor / ns, form.suffix) for form in _TIMES if form.factor >= ns)


# By unit of the registry, smallest first
SCALES: Final[dict[str, tuple[Scale, ...]]] = {
    "": _si(""),
    "bytes": _iec("B"),
    "count": _si(""),
    "pct": (Scale(0.01, "%"),),
    "ns": _time(1),
    "us": _time(1e3),
    "ms": _time(1e6),
    "s": _time(1e9),
    "per_s": _si("/s"),
    "bytes/s": _iec("B/s"),
    "us/s": (Scale(1, "µs/s"), Scale(1e3, "ms/s"), Scale(1e6, "s/s")),
    "ms/s": (Scale(1, "ms/s"), Scale(1e3, "s/s")),
    "cores": (Scale(1, "cores"),),
    "mbit/s": (Scale(1, "Mbit/s"), Scale(1e3, "Gbit/s")),
    "bits": _si("bit"),
    "hz": _si("Hz"),
    "celsius": (Scale(1, "°C"),),
    "rpm": (Scale(1, "rpm"),),
    "volts": (Scale(1, "V"),),
    "watts": _si("W"),
    "amperes": (Scale(1, "A"),),
    "ppm": (Scale(1, "ppm"),),
    "load": (Scale(1, ""),),
}


def scale(unit: str, highest: float) -> Scale:
    """The largest form of ``unit`` in which ``highest`` is at least 1."""
    forms = SCALES[unit]
    return next((form for form in reversed(forms) if abs(highest) >= form.factor), forms[0])


def shown(value: float | None, unit: str) -> str:
    """``12.3 MiB/s``, ``45 %``, ``2026-11-23 18:00:05`` (UTC); absent is not zero."""
    if value is None:
        return ABSENT
    if unit == "date":
        return moment(round(value))
    form = scale(unit, value)
    return f"{_number(value / form.factor)} {form.suffix}".rstrip()


def percent(share: float, sign: str = "") -> str:
    """``76 %``: without digits after the point. ``sign``: "+" if every value has a sign."""
    return f"{round(share * 100):{sign}d} %"


def together(values: Sequence[float], unit: str) -> str:
    """``0.9, 12.3, 45 MiB/s``: in the prefix that suits the highest one."""
    form = scale(unit, max(map(abs, values)))
    return f"{', '.join(_number(value / form.factor) for value in values)} {form.suffix}".rstrip()


def moment(ms: int) -> str:
    """A time in ms since 1970 as ``2026-11-23 18:00:05`` (UTC)."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _number(value: float) -> str:
    """Three significant digits, or all digits before the point."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2  # noqa: PLR2004
    if size < 1:
        return f"{value:.2g}"
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text
