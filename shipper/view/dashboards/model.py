"""What a dashboard is, apart from who draws it: boards of panels, panels of metrics over fields of one dataset.

Grafana, Kibana and the report draw the same boards. Units, and what may be averaged, come from the field registry:
``verify`` refuses a panel that names an unknown field, averages a counter, or mixes units on one axis.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from shipper.fields.field import UNITS, Field, Kind, Type
from shipper.schema.datasets import DATASETS, MINUTELY

WIDTH: Final = 24
MOST_SERIES: Final = 25  # a panel draws no more; the rest is in a sorted table
TIME: Final = "@timestamp"
HOST: Final = "host.name"
ENTITY: Final = "cgroup.entity"
MINUTELY_TOLD: Final = "once a minute"
RECENT: Final = "2m"  # what has shipped in the last of it is up: more than one period of a minute


class BoardError(ValueError):
    """A board that must not be rendered, and why."""


class Stat(StrEnum):
    """How the values of a field become one."""

    AVG = "avg"
    MAX = "max"
    MIN = "min"
    COUNT = "count"  # of documents; takes no field
    UNIQUE = "unique"  # of a field's distinct values
    TOTAL = "total"  # sum over the entities (``per``) of each one's mean: mean × number of entities


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on documents: one of ``values``, ``above`` or ``below`` a bound (exclusive), else any value."""

    field: str
    values: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None


def one_of(name: str, *values: str) -> Test:
    return Test(name, values)


def there(name: str) -> Test:
    return Test(name)


def above(name: str, bound: float) -> Test:
    return Test(name, above=bound)


def below(name: str, bound: float) -> Test:
    return Test(name, below=bound)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number, or one line: ``stat`` of ``field`` over the panel's documents.

    ``recent`` takes only the end of the time range, RECENT long. ``mirrored`` is drawn below zero. ``unit`` is that of
    the result where it is not the field's: what is counted has no other.
    """

    stat: Stat
    field: str = ""
    label: str = ""
    per: str = HOST
    recent: bool = False
    mirrored: bool = False
    unit: str = ""


def avg(name: str, label: str = "", *, mirrored: bool = False) -> Metric:
    return Metric(Stat.AVG, name, label, mirrored=mirrored)


def most(name: str, label: str = "") -> Metric:
    return Metric(Stat.MAX, name, label)


def least(name: str, label: str = "") -> Metric:
    return Metric(Stat.MIN, name, label)


def total(name: str, label: str = "", *, per: str = HOST, mirrored: bool = False) -> Metric:
    return Metric(Stat.TOTAL, name, label, per=per, mirrored=mirrored)


def unique(name: str, label: str, *, recent: bool = False) -> Metric:
    return Metric(Stat.UNIQUE, name, label, recent=recent, unit="count")


def count(label: str) -> Metric:
    return Metric(Stat.COUNT, "", label, unit="count")


@dataclass(frozen=True, slots=True)
class Split:
    """The ``size`` values of ``field`` that are first by ``by`` (default: the panel's first metric), most first."""

    field: str
    size: int = 10
    by: Metric | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """Where a value becomes a warning and where it is bad. ``falling``: the less, the worse."""

    warning: float
    bad: float
    falling: bool = False


class View(StrEnum):
    LINES = "lines"
    STAT = "stat"
    TABLE = "table"
    HEAT = "heat"  # one row for each value of the split, time to the right, the first metric as colour
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart, of documents of one dataset. ``width`` is of WIDTH columns, ``height`` in rows of about 30 pixels.

    A table has a row for each value of ``split`` and a column for each metric. ``recent`` takes only the end of the
    time range, RECENT long: of the documents of 9,000 containers an hour is dear, two minutes are not.
    """

    title: str
    help: str
    view: View
    dataset: str = ""
    metrics: tuple[Metric, ...] = ()
    split: Split | None = None
    where: tuple[Test, ...] = ()
    steps: Steps | None = None
    stacked: bool = False
    recent: bool = False
    top: float | None = None  # upper end of the axis
    width: int = 8
    height: int = 8
    text: str = ""

    @property
    def unit(self) -> str:
        """Of the axis, the number or the colour: a key of ``shipper.fields.UNITS``."""
        return unit(self, self.metrics[0]) if self.metrics else ""

    @property
    def minutely(self) -> bool:
        """Whether it draws what is read once a minute, whatever the period."""
        return any((self.dataset, metric.field) in MINUTELY for metric in self.metrics)


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a board, which narrows every panel whose documents have its field.

    ``always`` tells that every document of the board has the field. Without, "all" also means those without it.
    """

    name: str
    label: str
    field: str
    multi: bool = True
    always: bool = True
    where: tuple[Test, ...] = ()
    dataset: str = "host"
    within: str = ""  # another variable: only values of documents that it lets through
    hidden: bool = False  # there is nothing to choose, it follows from another


@dataclass(frozen=True, slots=True)
class Mark:
    """Documents that are drawn as marks in time on every panel: a boot, an OOM kill."""

    name: str
    dataset: str
    where: tuple[Test, ...]
    text: str  # the field whose value the mark shows


@dataclass(frozen=True, slots=True)
class Board:
    uid: str
    title: str
    help: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()
    last: str = "1h"  # time range when opened

    @property
    def panels(self) -> Iterator[Panel]:
        for row in self.rows:
            yield from row.panels


# Dated indices are of no namespace
NAMESPACE: Final = Variable("namespace", "Namespace", "_index", multi=False, always=False)
CLUSTER: Final = Variable("cluster", "Cluster", "labels.cluster", always=False)
HOSTS: Final = Variable("host", "Host", HOST)
ONE_HOST: Final = replace(HOSTS, multi=False)

# Field → board that shows one such thing, and the variable that names it there
PAGES: Final = {HOST: ("shipper-host", "host"), ENTITY: ("shipper-container", "container")}

_MOST_NUMBERS: Final = 2
_AVERAGED: Final = frozenset({Stat.AVG, Stat.TOTAL})


def lines(title: str, help_: str, dataset: str, *metrics: Metric, **more: object) -> Panel:
    return Panel(title, help_, View.LINES, dataset, metrics, **more)  # type: ignore[arg-type]


def stat(title: str, help_: str, dataset: str, *metrics: Metric, **more: object) -> Panel:
    return Panel(title, help_, View.STAT, dataset, metrics, **{"width": 4, "height": 4, **more})  # type: ignore[arg-type]


def table(title: str, help_: str, dataset: str, split: Split, *metrics: Metric, **more: object) -> Panel:
    return Panel(title, help_, View.TABLE, dataset, metrics, split, **{"width": 12, **more})  # type: ignore[arg-type]


def heat(title: str, help_: str, dataset: str, split: Split, metric: Metric, **more: object) -> Panel:
    return Panel(title, help_, View.HEAT, dataset, (metric,), split, **{"width": 12, **more})  # type: ignore[arg-type]


def text(title: str, body: str, **more: object) -> Panel:
    return Panel(title, "", View.TEXT, text=body, **{"width": WIDTH, "height": 3, **more})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel lies: columns from the left, rows from the top, width and height."""

    x: int
    y: int
    w: int
    h: int


@dataclass(slots=True)
class _Shelf:
    """Panels from left to right; one that does not fit begins a new line below the highest of the last."""

    y: int
    x: int = 0
    height: int = 0
    places: list[Place] = field(default_factory=list)

    def put(self, panel: Panel) -> None:
        if self.x + panel.width > WIDTH:
            self.y, self.x, self.height = self.y + self.height, 0, 0
        self.places.append(Place(self.x, self.y, panel.width, panel.height))
        self.x, self.height = self.x + panel.width, max(self.height, panel.height)


def places(row: Row, y: int) -> tuple[list[Place], int]:
    """Where the panels of ``row`` lie when it begins at ``y``, and where it ends."""
    shelf = _Shelf(y)
    for panel in row.panels:
        shelf.put(panel)
    return shelf.places, shelf.y + shelf.height


def find(dataset: str, name: str) -> Field:
    """The registry's field; a key below a flattened one counts as that. Raises BoardError."""
    if dataset not in DATASETS:
        raise BoardError(f"{dataset}: no such dataset")
    fields = {one.name: one for one in DATASETS[dataset].fields}
    if name in fields:
        return fields[name]
    for one in fields.values():
        if one.type is Type.FLATTENED and name.startswith(f"{one.name}."):
            return one
    raise BoardError(f"{name}: no field of {dataset}")


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
    if metric.unit or not metric.field:
        return metric.unit
    found = find(panel.dataset, metric.field)
    return "date" if found.type is Type.DATE else found.unit


def label(panel: Panel, metric: Metric) -> str:
    return metric.label or (panel.title if len(panel.metrics) == 1 else metric.field)


def key_label(panel: Panel) -> str:
    """Heading of a table's first column."""
    assert panel.split
    return {"host.name": "host", "cgroup.entity": "container"}.get(
        panel.split.field, panel.split.field.rpartition(".")[2].replace("_", " ")
    )


def order(panel: Panel) -> Metric:
    """What the split of ``panel`` is sorted by, where only the first are asked for: highest values in place of means.

    A mean is dearer, and Elasticsearch puts what has none before all others.
    """
    assert panel.split
    by = panel.split.by or panel.metrics[0]
    return replace(by, stat=Stat.MAX) if by.stat is Stat.AVG else by


def sorted_by(panel: Panel) -> Metric:
    """The column by which a table's rows are shown in order, most first."""
    by = panel.split.by if panel.split else None
    return by if by in panel.metrics and by else panel.metrics[0]


def tests(panel: Panel) -> tuple[Test, ...]:
    """Every condition on the panel's documents but the time range and the board's variables."""
    own = (Test("event.dataset", (f"shipper.{panel.dataset}",)), *panel.where)
    if panel.split and panel.view is not View.TABLE and order(panel).field:
        return (*own, there(order(panel).field))  # or lines would be drawn of what has no such value
    return own


def narrowed(board: Board, panel: Panel) -> tuple[Variable, ...]:
    """The variables of ``board`` that apply to the documents of ``panel``."""
    return tuple(one for one in board.variables if has(panel.dataset, one.field))


def verify(board: Board) -> Board:
    """``board``, if it can be drawn and every number on it means something. Raises BoardError."""
    seen: set[str] = set()
    for panel in board.panels:
        where = f"{board.title}: {panel.title}"
        if panel.title in seen:
            raise BoardError(f"{where}: a title used twice")
        seen.add(panel.title)
        try:
            _verify(panel)
        except BoardError as error:
            raise BoardError(f"{where}: {error}") from None
    return board


def _verify(panel: Panel) -> None:
    if panel.view is View.TEXT:
        return
    if not panel.metrics or not panel.help or not panel.title:
        raise BoardError("a panel needs a title, a description and a metric")
    if panel.view is View.STAT and len(panel.metrics) > _MOST_NUMBERS:
        raise BoardError("Kibana shows no more than two numbers at once")
    if panel.minutely and MINUTELY_TOLD not in panel.help.lower():
        raise BoardError(f"its values are read {MINUTELY_TOLD}; the description must say so")
    for metric in panel.metrics:
        _verify_metric(panel, metric)
    for test in panel.where:
        find(panel.dataset, test.field)
    _verify_split(panel)
    units = {unit(panel, metric) for metric in panel.metrics}
    if panel.view is View.LINES and len(units) > 1:
        raise BoardError(f"{', '.join(sorted(units))} on one axis")
    labels = [label(panel, metric) for metric in panel.metrics]
    if len(set(labels)) < len(labels):
        raise BoardError("two metrics of one name")


def _verify_metric(panel: Panel, metric: Metric) -> None:
    if metric.recent and panel.view is not View.STAT:
        raise BoardError("of a chart's metrics all or none are of the end of the range")
    if metric.stat is Stat.COUNT:
        return
    found = find(panel.dataset, metric.field)
    if found.kind is Kind.COUNTER and metric.stat in _AVERAGED:
        raise BoardError(f"{metric.field}: the {metric.stat} of a counter means nothing; take {found.rate}")
    if metric.stat in _AVERAGED and found.type not in (Type.LONG, Type.DOUBLE):
        raise BoardError(f"{metric.field}: the {metric.stat} of a {found.type}")
    if metric.unit and metric.unit not in UNITS:
        raise BoardError(f"{metric.unit}: no such unit")
    if metric.stat is not Stat.UNIQUE and metric.unit not in ("", found.unit):
        raise BoardError(f"{metric.field} is in {found.unit}, not in {metric.unit}")


def _verify_split(panel: Panel) -> None:
    if panel.split is None:
        if panel.view in (View.TABLE, View.HEAT):
            raise BoardError(f"a {panel.view} needs a split")
        return
    found = find(panel.dataset, panel.split.field)
    if found.type is not Type.KEYWORD:
        raise BoardError(f"{panel.split.field}: cannot be split by a {found.type}")
    _verify_metric(panel, order(panel))
    if order(panel).stat is Stat.TOTAL:
        raise BoardError("Elasticsearch cannot sort by it")
    if panel.view is not View.TABLE and panel.split.size * len(panel.metrics) > MOST_SERIES:
        raise BoardError(f"more than {MOST_SERIES} series")
