"""What a dashboard consists of, whoever draws it: boards of panels, panels of metrics over fields of one dataset.

Grafana, Kibana and the report draw the same boards. Units and permitted averages come from the field registry:
``verify`` rejects a panel that names an unknown field, averages a counter, or mixes units on one axis.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Final

from shipper.fields import dynamic
from shipper.fields.aliases import PERIOD
from shipper.fields.field import Field, Type
from shipper.schema.datasets import DATASETS, MINUTELY
from shipper.view.thresholds import MISSING, NOTHING_SENT, SILENT_MS, THRESHOLDS, Steps

WIDTH: Final = 24
MOST_SERIES: Final = 25  # per chart; a sorted table shows the rest
TIME: Final = "@timestamp"
HOST: Final = "host.name"
ENTITY: Final = "cgroup.entity"
MINUTELY_TOLD: Final = "once a minute"  # what the description of such a panel must contain
RECENT: Final = "2m"  # a host that shipped within this time is up; longer than the longest usual period, a minute
RECENT_MS: Final = 120_000
DAY: Final = "24h"  # a host that sent documents within this time, but not in the last RECENT, is missing
_MINUTELY_JOINED_MS: Final = 90_000  # values that come once a minute may be late


class BoardError(ValueError):
    """A board must not be rendered; the message says why."""


class Stat(StrEnum):
    """How the values of a field are aggregated."""

    AVG = "avg"
    MAX = "max"
    MIN = "min"
    COUNT = "count"  # of documents; without a field
    UNIQUE = "unique"  # number of a field's distinct values
    TOTAL = "total"  # sum of the entities' means: mean × number of entities (distinct values of ``per``); see PERIODS
    AGE = "age"  # of a row: time from its last document to the end of the range
    MISSING = "missing"  # number of a field's distinct values in the panel's range, but not in its last RECENT


# Dataset → field with the period of its documents, the weight in a TOTAL. Grafana and Kibana cannot weight a mean, so
# their totals are exact only if all hosts have the same period
PERIODS: Final = {"host": PERIOD.name, "cgroup": PERIOD.name, "agent": "agent.period.ms"}
COUNTED: Final = frozenset({Stat.COUNT, Stat.UNIQUE, Stat.MISSING})


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on documents: one of ``values``, ``above`` or ``below`` an exclusive bound, else the field exists."""

    field: str
    values: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None


def one_of(name: str, *values: str) -> Test:
    """The field has one of ``values``."""
    return Test(name, values)


def exists(name: str) -> Test:
    """The field has a value."""
    return Test(name)


def above(name: str, bound: float) -> Test:
    """The field is greater than ``bound``."""
    return Test(name, above=bound)


def below(name: str, bound: float) -> Test:
    """The field is less than ``bound``."""
    return Test(name, below=bound)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number, or one line: ``stat`` of ``field`` over the panel's documents.

    ``recent``: only documents of the last RECENT of the time range. ``mirrored``: drawn below zero. ``over``: drawn as
    a line over a stack, not in it. ``unit``: that of the result, if it differs from the field's, as for counts.
    ``where``: only documents that meet these conditions too; only in a table of silent rows.
    """

    stat: Stat
    field: str = ""
    label: str = ""
    per: str = HOST
    recent: bool = False
    mirrored: bool = False
    over: bool = False
    unit: str = ""
    where: tuple[Test, ...] = ()


def avg(name: str, label: str = "", *, mirrored: bool = False, over: bool = False) -> Metric:
    """Mean of a field."""
    return Metric(Stat.AVG, name, label, mirrored=mirrored, over=over)


def most(name: str, label: str = "", *, where: tuple[Test, ...] = ()) -> Metric:
    """Maximum of a field."""
    return Metric(Stat.MAX, name, label, where=where)


def least(name: str, label: str = "") -> Metric:
    """Minimum of a field."""
    return Metric(Stat.MIN, name, label)


def total(name: str, label: str = "", *, per: str = HOST, mirrored: bool = False) -> Metric:
    """Sum of the means of the entities, which are the values of ``per``."""
    return Metric(Stat.TOTAL, name, label, per=per, mirrored=mirrored)


def unique(name: str, label: str, *, recent: bool = False) -> Metric:
    """Number of distinct values of a field."""
    return Metric(Stat.UNIQUE, name, label, recent=recent, unit="count")


def count(label: str) -> Metric:
    """Number of documents."""
    return Metric(Stat.COUNT, "", label, unit="count")


def missing(name: str, label: str = "") -> Metric:
    """Number of distinct values of a field in the range that are absent from the last RECENT."""
    return Metric(Stat.MISSING, name, label, unit="count")


def age(label: str) -> Metric:
    """Time since the last document."""
    return Metric(Stat.AGE, TIME, label, unit="ms")


@dataclass(frozen=True, slots=True)
class Split:
    """The ``size`` values of ``field`` with the highest ``by`` (default: the panel's first metric), highest first.

    ``rising``: those with the lowest, lowest first.
    """

    field: str
    size: int = 10
    by: Metric | None = None
    rising: bool = False


class View(StrEnum):
    """How a panel shows its metrics."""

    LINES = "lines"
    STAT = "stat"
    TABLE = "table"
    HEAT = "heat"  # one row per value of the split, time on the x axis, the first metric as colour
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of the documents of one dataset. ``width``: of WIDTH columns; ``height``: in rows of about 30 pixels.

    A table has a row per value of ``split`` and a column per metric. A stat with a split of size 1 names the value that
    has the number. ``recent``: only documents of the last RECENT of the time range; with 9,000 containers an
    aggregation over an hour is expensive, one over two minutes is not. ``trend``: a recent number has the values of the
    range behind it, as a line. ``within``: a time range of the panel's own, up to the end of the board's. ``silent``:
    only rows without a document in the last RECENT. ``coloured``: numbers have the colours of THRESHOLDS, and lines
    have the thresholds beside them.
    """

    title: str
    help: str
    view: View
    dataset: str = ""
    metrics: tuple[Metric, ...] = ()
    split: Split | None = None
    where: tuple[Test, ...] = ()
    coloured: bool = True
    trend: bool = False
    stacked: bool = False
    recent: bool = False
    within: str = ""
    silent: bool = False
    top: float | None = None  # the axis reaches at least so far
    width: int = 8
    height: int = 8
    text: str = ""

    @property
    def unit(self) -> str:
        """Unit of the axis, the number or the colour: a key of ``shipper.fields.field.UNITS``."""
        return unit(self, self.metrics[0]) if self.metrics else ""

    @property
    def steps(self) -> Steps | None:
        """The thresholds of the axis or the colour: those that all metrics share."""
        first, *others = {steps(self, metric) for metric in self.metrics} or {None}
        return None if others else first

    @property
    def minutely(self) -> bool:
        """Whether the panel draws values that are read once a minute, whatever the period."""
        return any((self.dataset, metric.field) in MINUTELY for metric in self.metrics)

    @property
    def joined_ms(self) -> int:
        """The longest gap across which a line is drawn. 0: a time bucket without a value is a gap."""
        return _MINUTELY_JOINED_MS if self.minutely else 0

    @property
    def counts(self) -> bool:
        """Whether no value means zero, because the panel shows counts."""
        return all(metric.stat in COUNTED for metric in self.metrics)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels with a heading. ``collapsed``: closed until somebody opens it."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a board, which filters every panel whose documents can have its field."""

    name: str
    label: str
    field: str
    multi: bool = True
    where: tuple[Test, ...] = ()
    dataset: str = "host"
    within: str = ""  # another variable: only values of documents that match its choice
    hidden: bool = False  # not shown: its value follows from another variable
    names: str = ""  # the choice is a field whose name matches this regular expression; panels name it $NAME
    busiest: bool = False  # values are sorted by their number of documents, among which are those of busy processes


@dataclass(frozen=True, slots=True)
class Mark:
    """Documents that every chart shows as marks on the time axis: boots, OOM kills.

    ``once``: of documents with the same value of this field the report shows only the first.
    """

    name: str
    dataset: str
    where: tuple[Test, ...]
    text: str  # the field whose value labels the mark
    once: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. ``uid``: its id in Grafana and Kibana, and its file name."""

    uid: str
    title: str
    help: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()
    last: str = "1h"  # time range when the board opens

    @property
    def panels(self) -> Iterator[Panel]:
        """The panels of all rows."""
        for row in self.rows:
            yield from row.panels


STATS: Final = {Stat.MISSING: MISSING, Stat.AGE: SILENT_MS}  # thresholds of statistics that belong to no field

NAMESPACE: Final = Variable("namespace", "Namespace", "_index", multi=False)
CLUSTER: Final = Variable("cluster", "Cluster", "labels.cluster")
HOSTS: Final = Variable("host", "Host", HOST)
ONE_HOST: Final = replace(HOSTS, multi=False)

# Headings of fields whose last word does not say what their values are
_KEYS: Final = {
    HOST: "host",
    ENTITY: "container",
    "$split": "label",
    "agent.collectors.failed": "collector and error",
    "agent.delivery.trouble": "error",
    "agent.ledger.rejected.reasons": "number, status and error",
    "agent.problems.files": "file and reason",
    "agent.spool.trouble": "error",
    "container.image.name": "image",
    "process.name": "process",
    "system.core.id": "core",
    "system.diskio.name": "disk",
    "system.network.name": "interface",
    "system.raid.name": "array",
    "system.sensor.name": "sensor",
}

# Field → the board for one value of the field, and the variable that holds the value there
PAGES: Final = {HOST: ("shipper-host", "host"), ENTITY: ("shipper-container", "container")}


def lines(title: str, help_: str, dataset: str, *metrics: Metric, **more: object) -> Panel:
    """A line chart. ``more``: further attributes of Panel, here and below."""
    return Panel(title, help_, View.LINES, dataset, metrics, **more)  # type: ignore[arg-type]


def stat(title: str, help_: str, dataset: str, *metrics: Metric, **more: object) -> Panel:
    """One or two numbers. Grafana draws a line behind a number only in a panel of five rows or more."""
    return Panel(title, help_, View.STAT, dataset, metrics, **{"width": 4, "height": 5, **more})  # type: ignore[arg-type]


def table(title: str, help_: str, dataset: str, split: Split, *metrics: Metric, **more: object) -> Panel:
    """A table with a row per value of ``split``."""
    return Panel(title, help_, View.TABLE, dataset, metrics, split, **{"width": 12, **more})  # type: ignore[arg-type]


def heat(title: str, help_: str, dataset: str, split: Split, metric: Metric, **more: object) -> Panel:
    """A heat map with a row per value of ``split``."""
    return Panel(title, help_, View.HEAT, dataset, (metric,), split, **{"width": 12, **more})  # type: ignore[arg-type]


def text(title: str, body: str, **more: object) -> Panel:
    """A text."""
    return Panel(title, "", View.TEXT, text=body, **{"width": WIDTH, "height": 3, **more})  # type: ignore[arg-type]


def find(dataset: str, name: str) -> Field:
    """The declared field; for a key below a flattened field, the flattened field. Raises BoardError.

    A leaf with a name of the user, or the choice of one (``$metric``), is a number or a label.
    """
    if dataset not in DATASETS:
        raise BoardError(f"{dataset}: no such dataset")
    if own := dynamic.leaf(name):
        return own
    fields = _fields(dataset)
    if name in fields:
        return fields[name]
    for declared in fields.values():
        if declared.type is Type.FLATTENED and name.startswith(f"{declared.name}."):
            return declared
    raise BoardError(f"{name}: no field of {dataset}")


@cache
def _fields(dataset: str) -> dict[str, Field]:
    return {declared.name: declared for declared in DATASETS[dataset].fields}


def has(dataset: str, name: str) -> bool:
    """Whether documents of ``dataset`` can have the field ``name``; every document has an index."""
    if name == "_index":
        return True
    try:
        find(dataset, name)
    except BoardError:
        return False
    return True


def unit(panel: Panel, metric: Metric) -> str:
    """Unit of the metric: a key of UNITS, or ``date``."""
    if metric.unit or not metric.field:
        return metric.unit
    declared = find(panel.dataset, metric.field)
    return "date" if declared.type is Type.DATE else declared.unit


def counted(name: str) -> str:
    """What a rate per second counts: packets, I/O operations, or other events (empty)."""
    if name.endswith(("packets_per_s", "dropped_per_s", "errors_per_s")):
        return "packets"
    return "operations" if "io." in name else ""


def steps(panel: Panel, metric: Metric) -> Steps | None:
    """From which values on the metric is a warning or bad; None for counts of documents or values."""
    if metric.stat is Stat.COUNT and metric.recent:
        return NOTHING_SENT
    if not panel.coloured or metric.stat in (Stat.COUNT, Stat.UNIQUE, Stat.TOTAL):
        return None
    return STATS.get(metric.stat) or THRESHOLDS.get(metric.field)


def label(panel: Panel, metric: Metric) -> str:
    """Label of the metric: its own, else the title of the panel or the name of the field."""
    return metric.label or (panel.title if len(panel.metrics) == 1 else metric.field)


def key_label(panel: Panel) -> str:
    """What the values of the split are, as the heading of a table's first column."""
    assert panel.split
    of = panel.split.field
    return _KEYS.get(of, of.rpartition(".")[2].replace("_", " "))


def order(panel: Panel) -> Metric:
    """The metric by which Elasticsearch sorts the split of ``panel``: the maximum where the panel shows a mean.

    A mean is more expensive, and Elasticsearch sorts buckets without a mean before all others.
    """
    assert panel.split
    by = panel.split.by or panel.metrics[0]
    return replace(by, stat=Stat.MAX) if by.stat is Stat.AVG else by


def sorted_by(panel: Panel) -> Metric:
    """The column by which a table's rows are sorted, highest first."""
    by = panel.split.by if panel.split else None
    return by if by in panel.metrics and by else panel.metrics[0]


def tests(panel: Panel) -> tuple[Test, ...]:
    """Every condition on the panel's documents, except the time range and the board's variables."""
    own = (Test("event.dataset", (f"shipper.{panel.dataset}",)), *panel.where)
    if panel.split and panel.view is not View.TABLE and order(panel).field:
        return (*own, exists(order(panel).field))  # else the chart would have lines of entities without values
    return own


def narrowed(board: Board, panel: Panel) -> tuple[Variable, ...]:
    """The variables of ``board`` that apply to the documents of ``panel``."""
    return tuple(variable for variable in board.variables if has(panel.dataset, variable.field))
