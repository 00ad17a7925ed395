"""The rules as Grafana's alert rules on the Elasticsearch data source: one for each severity.

A query (A) gives a series per entity, an expression (B) reduces it to the rule's number, and the condition (C) compares
the number in an expression, because Grafana's thresholds exclude the value itself. https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/file-provisioning/

Notices are left out, because they are no alerts. GONE is left out, because Grafana cannot search for values that one
query returns and another one does not, and TREND, because Grafana has no expression for a robust slope.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from shipper.settings.options import shown_duration
from shipper.view.alerts import filling, judge
from shipper.view.alerts.model import PER_CONTAINER, PER_HOST, Measure, Rule
from shipper.view.alerts.output import DOCS
from shipper.view.alerts.rules import SUBJECTS
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.clauses import lucene_of
from shipper.view.dashboards.model import ENTITY, HOST, TIME, Test, View, exists

HEAD: Final = """# Made by `shipper render`, for /etc/grafana/provisioning/alerting, with the data source of
# dashboards/grafana/provisioning. docs/alerts.md describes each rule.
"""
FOLDER: Final = "Shipper alerts"
SOURCE: Final = "shipper"  # uid of the data source in dashboards/grafana/provisioning
INTERVAL_S: Final = 60
_EXPRESSIONS: Final = "__expr__"
_SILENT_S: Final = 300  # width of the buckets of which the last complete one is empty
_SIZES: Final[Mapping[tuple[str, ...], tuple[int, ...]]] = {PER_HOST: (500,), PER_CONTAINER: (100,)}
_DEVICES: Final = (300, 20)
_REDUCERS: Final = {Measure.AVG: "mean", Measure.MIN: "min", Measure.MAX: "max"}
Groups = list[dict[str, Any]]


def groups(
    boards: Mapping[str, Mapping[str, Any]],
    source: str = SOURCE,
    subjects: Mapping[str, tuple[Rule, ...]] = SUBJECTS,
) -> Groups:
    """Rule groups, one per subject. ``boards``: uid → the rendered dashboard, in which the panels to open are found."""
    return [
        {
            "orgId": 1,
            "name": subject,
            "folder": FOLDER,
            "interval": shown_duration(INTERVAL_S),
            "rules": [made for rule in rules for made in _rules(rule, boards[rule.board], source)],
        }
        for subject, rules in subjects.items()
    ]


def suits(rule: Rule) -> bool:
    """Whether Grafana can judge ``rule``."""
    return not rule.notice and rule.measure not in (Measure.GONE, Measure.TREND)


def severities(rule: Rule) -> Iterator[tuple[str, float]]:
    """Each severity that ``rule`` has, and its threshold."""
    steps = rule.steps
    if rule.mild or steps.warning != steps.bad:
        yield "warning", steps.warning
    if not rule.mild:
        yield "critical", steps.bad


def _rules(rule: Rule, board: Mapping[str, Any], source: str) -> Iterator[dict[str, Any]]:
    for severity, bound in severities(rule) if suits(rule) else ():
        yield _rule(rule, severity, bound, board, source)


def _rule(rule: Rule, severity: str, bound: float, board: Mapping[str, Any], source: str) -> dict[str, Any]:
    data = [_placed(one, source) for one in _data(rule, severity, bound)]
    panel = _panel(board, rule.field)
    return {
        "uid": f"shipper-{rule.name}-{severity[0]}",
        "title": f"{rule.title} ({severity})",
        "condition": "C",
        "data": data,
        "for": shown_duration(_pending_s(rule, severity)) if _pending_s(rule, severity) else "0s",
        "noDataState": "OK",
        "execErrState": "Error",
        "annotations": {
            "summary": f"{_who(rule)}: {rule.title}{_number(rule)}",
            "description": f"{rule.means} {rule.first}",
            "explain": _explain(rule),
            "docs": f"{DOCS}#{rule.name}",
        },
        "labels": {"severity": severity, "rule": rule.name, "source": "shipper"},
        "isPaused": False,
        "dashboardUid": board["uid"],
        "panelId": panel,
    }


def _pending_s(rule: Rule, severity: str) -> int:
    """How long the condition must hold; for all rules but silence, the window is long enough."""
    critical = rule.measure is Measure.SILENCE and severity == "critical"
    return round(rule.steps.bad - rule.steps.warning) if critical else 0


def _who(rule: Rule) -> str:
    return ", ".join(f'{{{{ index $labels "{name}" }}}}' for name in reversed(rule.per))


def _explain(rule: Rule) -> str:
    """The command that explains the alert, with the name quoted for a shell. Templates of Grafana have no time."""
    name = ENTITY if ENTITY in rule.per else HOST
    quoted = f"""{{{{ reReplaceAll "'" `'\\''` (index $labels "{name}") }}}}"""
    return f"{rule.explains} '{quoted}'"


def _number(rule: Rule) -> str:
    if rule.flag or rule.measure in (Measure.SILENCE, Measure.FULL_IN):
        return ""
    value = "{{ $values.B.Value | humanizePercentage }}" if rule.unit == "pct" else "{{ $values.B.Value | humanize }}"
    return f": {value}"


def _panel(board: Mapping[str, Any], field: str) -> int:
    """Id of the panel that draws ``field``, best as lines; of the first panel if there is none."""
    every = [one for panel in board["panels"] for one in (panel, *panel.get("panels", ())) if one["type"] != "row"]
    ids = {one["title"]: one["id"] for one in every}
    panels = [panel for one in BOARDS if one.uid == board["uid"] for panel in one.panels]
    drawn = [panel for panel in panels if field and field in [metric.field for metric in panel.metrics]]
    lines = [panel for panel in drawn if panel.view is View.LINES]
    return int(ids[next(iter([*lines, *drawn, *panels])).title])


def _placed(one: dict[str, Any], source: str) -> dict[str, Any]:
    """A query or expression as the provisioning file has it."""
    expression = one["model"].get("type", "")
    uid = _EXPRESSIONS if expression else source
    kind = {"type": _EXPRESSIONS if expression else "elasticsearch", "uid": uid}
    model = {**one["model"], "refId": one["refId"], "datasource": kind, "intervalMs": INTERVAL_S * 1000}
    first, last = one.get("range", (0, 0))
    return {
        "refId": one["refId"],
        "relativeTimeRange": {"from": first, "to": last},
        "datasourceUid": uid,
        "model": {**model, "maxDataPoints": 43_200},
    }


def _data(rule: Rule, severity: str, bound: float) -> list[dict[str, Any]]:
    match rule.measure:
        case Measure.FULL_IN:
            return _filling(rule, bound, urgent=severity == "critical")
        case Measure.SILENCE:
            silent = _query("A", rule, {"type": "count"}, rule.tests, width_s=_SILENT_S, trimmed=True)
            return [silent, _reduced("B", "A", "last"), _math("C", "$B < 1")]
        case Measure.GROWTH:
            return _grown(rule, (*rule.tests, *rule.suspects), bound)
        case Measure.UNIQUE:  # of true and false: false before, and true now
            return _grown(rule, rule.tests, 1)
        case Measure.COUNT:
            counted = _query("A", rule, {"type": "count"}, rule.tests)
            return [counted, _reduced("B", "A", "sum"), _math("C", f"$B >= {bound:g}")]
        case _:
            metric = {"type": str(rule.measure), "field": rule.field}
            number = "abs($B)" if rule.signed else "$B"
            return [
                _query("A", rule, metric, (*rule.tests, exists(rule.field))),
                _reduced("B", "A", _REDUCERS[rule.measure]),
                _math("C", f"{number} >= {bound:g}"),
            ]


def _grown(rule: Rule, tests: tuple[Test, ...], bound: float) -> list[dict[str, Any]]:
    tests = (*tests, exists(rule.field))
    return [
        _query("A", rule, {"type": "max", "field": rule.field}, tests),
        _query("D", rule, {"type": "min", "field": rule.field}, tests),
        _reduced("B", "A", "last"),
        _reduced("E", "D", "min"),
        _math("C", f"$B - $E >= {bound:g}"),
    ]


def _filling(rule: Rule, bound: float, *, urgent: bool) -> list[dict[str, Any]]:
    """The available space in the first hour of the window and now, and how long the space lasts at this rate."""
    available, used = ({"type": "avg", "field": filling.AVAILABLE}, {"type": "max", "field": rule.field})
    then, now = (rule.window_s, rule.window_s - filling.THEN_S), (judge.NOW_S, 0)
    seconds = f"$E / ($D - $E) * {sum(then) // 2 - sum(now) // 2}"
    least = f" && $B >= {filling.URGENT:g}" if urgent else ""
    return [
        _query("A", rule, available, rule.tests[:1], span=then),
        _query("F", rule, available, rule.tests, span=now),
        _query("G", rule, used, rule.tests, span=now),
        _reduced("D", "A", "mean"),
        _reduced("E", "F", "mean"),
        _reduced("B", "G", "max"),
        _math("C", f"$E < $D && {seconds} <= {bound:g}{least}"),
    ]


def _query(
    ref: str,
    rule: Rule,
    metric: dict[str, Any],
    tests: tuple[Test, ...],
    *,
    span: tuple[int, int] | None = None,
    width_s: int = INTERVAL_S,
    trimmed: bool = False,
) -> dict[str, Any]:
    """A target with one metric: with two, Grafana drops the parts of their names that differ."""
    order = {"order": "desc", "orderBy": "_count" if metric["type"] == "count" else "1"}
    sizes = _SIZES.get(rule.per, _DEVICES)
    terms = [
        {
            "id": str(10 + i),
            "type": "terms",
            "field": field,
            "settings": {"size": str(size), "min_doc_count": "1", **order},
        }
        for i, (field, size) in enumerate(zip(rule.per, sizes, strict=True))
    ]
    settings = {"interval": f"{width_s}s", "min_doc_count": "0"} | ({"trimEdges": "1"} if trimmed else {})
    histogram = {"id": "20", "type": "date_histogram", "field": TIME, "settings": settings}
    model = {
        "query": lucene_of(tests),
        "queryType": "lucene",
        "timeField": TIME,
        "metrics": [{"id": "1", **metric}],
        "bucketAggs": [*terms, histogram],
    }
    return {"refId": ref, "model": model, "range": span or (rule.window_s, 0)}


def _reduced(ref: str, of: str, reducer: str) -> dict[str, Any]:
    return {
        "refId": ref,
        "model": {"type": "reduce", "expression": of, "reducer": reducer, "settings": {"mode": "dropNN"}},
    }


def _math(ref: str, expression: str) -> dict[str, Any]:
    return {"refId": ref, "model": {"type": "math", "expression": expression}}
