"""Objects whose leaves are not declared: the user's own numbers and their labels, by the names that the user gave them.

Elasticsearch maps such a leaf when it first meets it, by a dynamic template. All numbers are ``double``, so that no
document is rejected because the first value was a whole number. A leaf's name may have dots and is not nested
(``subobjects: false``), so that ``a`` and ``a.b`` can both be metrics.
"""

from collections.abc import Collection, Iterable
from typing import Final

from shipper.fields.field import Field, Kind, Type, attribute

METRICS: Final = "metric"
LABELS: Final = "attributes"

# Key of a document's values for the templates of its leaves: part of the bulk action, not of the document
HINTS: Final = "dynamic_templates"
TOTAL: Final = "_total"
RATE: Final = "_per_s"

# Last word of a metric's name → unit, a key of UNITS (https://prometheus.io/docs/practices/naming/#base-units)
SUFFIXES: Final = {"bytes": "bytes", "seconds": "s", "milliseconds": "ms", "ratio": "pct"}
_RATES: Final = {"bytes": "bytes/s", "ms": "ms/s"}


def unit(name: str) -> str:
    """The unit that the name of a metric or of its rate says, a key of UNITS; empty if it says none."""
    counter = name.removesuffix(RATE)
    found = SUFFIXES.get(_suffix(counter), "")
    return found if counter == name else _RATES.get(found, "per_s")


def leaf(name: str) -> Field | None:
    """What is known of a leaf by its name, such as ``metric.jobs_total`` or a board's choice of one, ``$metric``."""
    top, dot, rest = name.removeprefix("$").partition(".")
    if top == METRICS and (dot or name[0] == "$"):
        return Field(name, Type.DOUBLE, Kind.GAUGE, unit(rest), "A number of the user")
    if (top == LABELS and dot) or name == "$split":
        return attribute(name, "A label of a number of the user")
    return None


def hints(names: Iterable[str], counters: Collection[str]) -> dict[str, str]:
    """The dynamic template of each of ``names`` for which the server would choose another one by the name alone."""
    return {
        f"{METRICS}.{name}": template(_suffix(name), counter=name in counters)
        for name in names
        if (name in counters) != name.endswith(TOTAL)
    }


def template(suffix: str, *, counter: bool) -> str:
    """Name of the dynamic template of the metrics whose names end in ``suffix``, without or before ``_total``."""
    kind = "counter" if counter else "gauge"
    return f"{kind}_{suffix}" if suffix in SUFFIXES else kind


def _suffix(name: str) -> str:
    return name.removesuffix(TOTAL).rpartition("_")[2]
