"""All rules judged at one moment, in a few ``_msearch`` requests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shipper.deliver.client import Connection
from shipper.settings.config import Index
from shipper.view.alerts import culprits, filling, gone, judge, silence, trend
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.judge import Judging, Moment, within
from shipper.view.alerts.model import Found, Measure, Rule
from shipper.view.alerts.rules import RULES
from shipper.view.dashboards.model import HOST
from shipper.view.msearch import Search, msearch, searched

_JUDGES: Final = {
    Measure.SILENCE: silence.judge,
    Measure.GONE: gone.judge,
    Measure.FULL_IN: filling.judge,
    Measure.TREND: trend.judge,
}
_SEVERITIES: Final = ("critical", "warning", "notice")
_LOOK_BACK_S: Final = 12 * 3600


@dataclass(frozen=True, slots=True)
class Checked:
    """``alerts``: the worst first. ``hosts``: how many sent anything in the last 12 hours."""

    at_ms: int
    alerts: tuple[Found, ...]
    rules: int
    hosts: int


def check(
    connection: Connection, index: Index, at_ms: int, adjustments: Adjustments, rules: Sequence[Rule] = RULES
) -> Checked:
    """Judge ``rules``, and those of the adjustments, at a time in ms. Raises ServerError."""
    when = Moment(at_ms, adjustments)
    rules = (*rules, *adjustments.rules)
    judged = [_JUDGES.get(rule.measure, judge.judge)(rule, when) for rule in rules]
    alerts = _named(connection, index, at_ms, sorted(_run(connection, index, judged), key=_order))
    return Checked(at_ms, tuple(alerts), len(rules), _hosts(connection, index, at_ms))


def of_host(connection: Connection, index: Index, at_ms: int, adjustments: Adjustments, host: str) -> tuple[Found, ...]:
    """The alerts of the operator's own rules about ``host``. Raises ServerError."""
    if not adjustments.rules:
        return ()
    return tuple(alert for alert in check(connection, index, at_ms, adjustments, ()).alerts if alert.host == host)


def _run(connection: Connection, index: Index, judged: Iterable[Judging]) -> list[Found]:
    """What the judges find. All searches of one step go into one request."""
    alerts: list[Found] = []
    asking: list[tuple[Judging, list[Search]]] = [(one, next(one)) for one in judged]
    while asking:
        responses = msearch(connection, index, [search for _, searches in asking for search in searches])
        answered = [(one, [next(responses) for _ in searches]) for one, searches in asking]
        asking = []
        for one, answers in answered:
            try:
                asking.append((one, one.send(answers)))
            except StopIteration as ended:
                alerts += ended.value
    return alerts


def _named(connection: Connection, index: Index, at_ms: int, alerts: list[Found]) -> list[Found]:
    wanted = culprits.wanted(alerts)
    if not wanted:
        return alerts
    return culprits.named(alerts, wanted, list(msearch(connection, index, culprits.searches(wanted, at_ms))))


def _hosts(connection: Connection, index: Index, at_ms: int) -> int:
    number = {"hosts": {"cardinality": {"field": HOST}}}
    (answer,) = msearch(connection, index, [("agent", searched([within(at_ms, _LOOK_BACK_S)], number))])
    return int(answer["aggregations"]["hosts"]["value"]) if "aggregations" in answer else 0


def _order(alert: Found) -> tuple[int, str, str]:
    return _SEVERITIES.index(alert.severity), alert.host, alert.rule.name
