"""Alert rules, and what the check of a rule finds.

A rule reduces the documents of one dataset, over a window of time, to one number per entity, and compares the number
with two thresholds. Only ``judge`` and the renderers for Grafana and Kibana know how a number is computed.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from shipper.fields.field import NUMBERS
from shipper.view.dashboards.model import ENTITY, HOST, Test, find
from shipper.view.thresholds import THRESHOLDS, Level, Steps
from shipper.view.unit_formats import shown

PER_HOST: Final = (HOST,)
PER_CONTAINER: Final = (ENTITY,)


class Measure(StrEnum):
    """How the documents of an entity become one number."""

    AVG = "avg"  # mean over the window
    MIN = "min"  # the threshold was reached by every document of the window
    MAX = "max"  # the threshold was reached by any document of the window
    COUNT = "count"  # documents that match the rule's conditions
    GROWTH = "growth"  # maximum minus minimum
    UNIQUE = "unique"  # number of distinct values
    SILENCE = "silence"  # seconds since the newest document of a host
    GONE = "gone"  # seconds since the newest document of a container whose host still sends
    FULL_IN = "full in"  # seconds until a filesystem is full, by its growth over the window
    TREND = "trend"  # seconds until a share is 1, by the robust slope of its hourly means


SUSTAINED: Final = frozenset({Measure.AVG, Measure.MIN})  # the entity must have existed for half of the window
OWN: Final = frozenset({Measure.SILENCE, Measure.GONE, Measure.FULL_IN, Measure.TREND})  # each has a module of its own


class Resource(StrEnum):
    """The resource of an alert on a host, which decides which containers and processes the alert names."""

    NONE = ""
    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"
    NETWORK = "network"
    TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule.

    ``name`` is its id in Grafana, Kibana, the docs and the file of adjustments. ``per``: the fields that identify an
    entity. ``where``: which documents count. ``last``: what the entity's newest document must match. ``suspects``:
    a necessary condition, for measures that have no cheaper one. ``signed``: the absolute value is compared.
    ``tells``: a field of the newest document whose value is added to the alert. ``mild``: at most a warning.
    ``notice``: worth knowing, but no fault; a notice changes no exit status and notifies nobody.
    """

    name: str
    title: str
    dataset: str
    measure: Measure
    field: str
    window_s: int
    means: str
    first: str
    board: str
    per: tuple[str, ...] = PER_HOST
    where: tuple[Test, ...] = ()
    last: tuple[Test, ...] = ()
    suspects: tuple[Test, ...] = ()
    own_steps: Steps | None = None
    signed: bool = False
    mild: bool = False
    notice: bool = False
    resource: Resource = Resource.NONE
    tells: str = ""
    source: str = ""

    @property
    def steps(self) -> Steps:
        """From which number on the alert is a warning, and bad."""
        return self.own_steps or THRESHOLDS[self.field]

    @property
    def tests(self) -> tuple[Test, ...]:
        """Every condition on documents, without the time."""
        return (Test("event.dataset", (f"shipper.{self.dataset}",)), *self.where)

    @property
    def unit(self) -> str:
        """Unit of the number: a key of ``UNITS``."""
        if self.measure in OWN:
            return "s"
        if self.measure in (Measure.COUNT, Measure.UNIQUE):
            return "count"
        return find(self.dataset, self.field).unit

    @property
    def flag(self) -> bool:
        """Whether the rule reports a state rather than a quantity: thresholds and values add nothing to the title."""
        return self.measure in (Measure.COUNT, Measure.UNIQUE)

    @property
    def explains(self) -> str:
        """The command that explains an alert; the name of the entity follows."""
        return "shipper why --oom" if "oom_kill" in self.field else "shipper why"

    def shown(self, value: float) -> str:
        """The number for people."""
        return shown(value, self.unit)


@dataclass(frozen=True, slots=True)
class Found:
    """A rule's threshold is reached at ``at_ms``: ``entity`` has the values of ``rule.per`` and of the host.

    ``document``: the newest of the entity. ``note``: what the rule's own judge adds, such as the class of a silence.
    ``steps``: the thresholds that applied. ``culprits``: the containers and processes that use most of the resource, or
    the state of a container's host; filled in afterwards.
    """

    rule: Rule
    at_ms: int
    entity: Mapping[str, str]
    value: float
    level: Level
    steps: Steps
    document: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    culprits: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """Identifies the alert as long as the alert lasts."""
        return (self.rule.name, *(self.entity.get(name, "") for name in self.rule.per))

    @property
    def host(self) -> str:
        """The host of the entity."""
        return self.entity.get(HOST, "")

    @property
    def who(self) -> str:
        """The entity for people: ``node-1``, ``web-1@node-1``, ``/var on node-1``."""
        if self.rule.per in (PER_HOST, PER_CONTAINER):
            return self.entity[self.rule.per[0]]
        return f"{', '.join(self.entity[name] for name in self.rule.per if name != HOST)} on {self.host}"

    @property
    def explain(self) -> str:
        """The command that explains the entity at the time of the alert, quoted for a shell."""
        name = shlex.quote(self.entity.get(ENTITY) or self.host)
        return f"{self.rule.explains} {name} --at {datetime.fromtimestamp(self.at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}"

    @property
    def severity(self) -> str:
        """``critical``, ``warning`` or ``notice``."""
        if self.rule.notice:
            return "notice"
        return "critical" if self.level is Level.BAD else "warning"

    @property
    def text(self) -> str:
        """What is wrong, in one line without the entity."""
        number = "" if self.rule.flag else f": {self.rule.shown(self.value)}"
        return f"{self.rule.title}{number}{f' ({self.note})' if self.note else ''}"


def matches(test: Test, document: Mapping[str, Any]) -> bool:
    """Whether a flat document meets ``test``, as a query with the test would say."""
    value = document.get(test.field)
    if value is None:
        return False
    if test.above is not None:
        return bool(value > test.above)
    if test.below is not None:
        return bool(value < test.below)
    return not test.values or _text(value) in test.values


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def verify(rule: Rule) -> Rule:
    """``rule``, if its fields exist and its measure suits its field. Raises BoardError."""
    tested = (test.field for test in (*rule.where, *rule.last, *rule.suspects))
    for name in filter(None, (rule.field, rule.tells, *rule.per, *tested)):
        find(rule.dataset, name)
    if rule.measure in SUSTAINED | {Measure.MAX, Measure.GROWTH}:
        assert find(rule.dataset, rule.field).type in NUMBERS, rule.name
    assert rule.measure not in (Measure.GROWTH, Measure.UNIQUE) or rule.suspects or rule.dataset == "agent", rule.name
    return rule
