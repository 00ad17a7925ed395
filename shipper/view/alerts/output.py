"""The result of a check as text, JSON, and the exit status of a monitoring plugin."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from shipper.base.text import escaped
from shipper.view.alerts.check import Checked
from shipper.view.alerts.model import Found
from shipper.view.unit_formats import moment

# https://www.monitoring-plugins.org/doc/guidelines.html
OK, WARNING, CRITICAL, UNKNOWN = range(4)
DOCS: Final = "docs/alerts.md"


def status(checked: Checked) -> int:
    """The exit status: that of the worst alert; UNKNOWN without any documents."""
    if not checked.hosts:
        return UNKNOWN
    severities = {alert.severity for alert in checked.alerts}
    return CRITICAL if "critical" in severities else WARNING if "warning" in severities else OK


def lines(checked: Checked) -> Iterator[str]:
    """A summary line, then each alert with its culprits below."""
    counts = Counter(alert.severity for alert in checked.alerts)
    found = ", ".join(f"{counts[name]} {name}" for name in ("critical", "warning", "notice") if counts[name])
    word = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[status(checked)]
    if not checked.hosts:
        yield f"{word}: no documents in the 12 hours before {moment(checked.at_ms)} UTC"
        return
    yield f"{word}: {found or 'no alerts'} ({checked.rules} rules, {checked.hosts} hosts, {moment(checked.at_ms)} UTC)"
    for alert in checked.alerts:
        yield escaped(f"{alert.severity:<8}  {alert.who}: {alert.text}  [{alert.rule.name}]")
        yield from (escaped(f"{'':<10}{line}") for line in alert.culprits)


def as_json(checked: Checked) -> str:
    """Everything that is known, for programs."""
    alerts = [as_dict(alert) for alert in checked.alerts]
    found = {"status": status(checked), "at": moment(checked.at_ms), "rules": checked.rules, "hosts": checked.hosts}
    return json.dumps({**found, "alerts": alerts}, ensure_ascii=False)


def as_dict(alert: Found) -> dict[str, Any]:
    """One alert as JSON has it."""
    return {
        "rule": alert.rule.name,
        "severity": alert.severity,
        "entity": dict(alert.entity),
        "labels": {name: value for name, value in alert.document.items() if name.startswith("labels.")},
        "title": alert.rule.title,
        "value": alert.value,
        "unit": alert.rule.unit,
        "warning": alert.steps.warning,
        "critical": alert.steps.bad,
        "note": alert.note,
        "culprits": list(alert.culprits),
        "what_to_do": alert.rule.first,
        "docs": f"{DOCS}#{alert.rule.name}",
        "explain": alert.explain,
    }
