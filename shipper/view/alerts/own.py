"""Alert rules of the operator about metrics of their own, from the tables ``[[rule]]`` of the file of adjustments.

[[rule]]
name = "queue-long"
field = "metric.queue_length"             # any field of the dataset metric
measure = "max"                           # avg (default), min or max over the window
window = "10m"
warning = 100                             # reached from this value on; with falling = true, from this value down
critical = 1000                           # optional
per = ["host.name", "attributes.queue"]   # one alert for each; default: the host and the source
where = {"metricset.name" = "queue"}      # optional
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from shipper.base.errors import ConfigError
from shipper.base.text import escaped
from shipper.fields import dynamic
from shipper.fields.dataset import METRIC
from shipper.settings.options import NotAllowed, duration
from shipper.view.alerts.model import Found, Measure, Rule, verify
from shipper.view.dashboards.model import HOST, BoardError, one_of
from shipper.view.thresholds import Steps

KEYS: Final = frozenset(
    {"name", "title", "field", "measure", "window", "warning", "critical", "falling", "per", "where"}
)
_MEASURES: Final = (Measure.AVG, Measure.MIN, Measure.MAX)
_PER: Final = (HOST, "metricset.name")
_WINDOW: Final = duration(60, 86_400)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


def rule(table: Mapping[str, Any]) -> Rule:
    """The rule that a table describes. Raises ConfigError."""
    name, field = str(table.get("name", "")), str(table.get("field", ""))
    if not _NAME.fullmatch(name):
        raise ConfigError("rule: name must be lower-case letters, digits and -, such as queue-long")
    if not field.startswith((f"{dynamic.METRICS}.", "metricset.")):
        raise ConfigError(f'rule {name}: field must be one of the dataset metric, such as "metric.queue_length"')
    measure = table.get("measure", Measure.AVG)
    if measure not in _MEASURES:
        raise ConfigError(f"rule {name}: measure must be one of {', '.join(_MEASURES)}")
    where = table.get("where", {})
    if not isinstance(where, dict) or not all(isinstance(value, str) for value in where.values()):
        raise ConfigError(f'rule {name}: where must be a table of texts, such as {{"metricset.name" = "queue"}}')
    try:
        made = Rule(
            name,
            str(table.get("title", field)),
            METRIC,
            Measure(measure),
            field,
            _WINDOW.read(str(table.get("window", "5m"))),
            "",
            "",
            "shipper-own-metrics",
            tuple(_texts(name, table.get("per", list(_PER)))),
            tuple(one_of(key, value) for key, value in where.items()),
            own_steps=_steps(name, table),
            mild="critical" not in table,
        )
        return verify(made)
    except NotAllowed:
        raise ConfigError(f"rule {name}: window must be {_WINDOW.allowed}") from None
    except BoardError as error:
        raise ConfigError(f"rule {name}: {error}") from None


def line(alert: Found) -> str:
    """An alert of such a rule, for people."""
    return escaped(f"own rule {alert.rule.name}, {alert.severity}: {alert.who}: {alert.text}")


def _texts(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ConfigError(f'rule {name}: per must be a list of fields, such as ["host.name", "attributes.queue"]')
    return value


def _steps(name: str, table: Mapping[str, Any]) -> Steps:
    warning, critical = table.get("warning"), table.get("critical")
    for bound in (warning, critical):
        if isinstance(bound, bool) or not isinstance(bound, int | float | None):
            raise ConfigError(f"rule {name}: warning and critical must be numbers")
    if warning is None and critical is None:
        raise ConfigError(f"rule {name}: needs warning, critical or both")
    lower = critical if warning is None else warning
    upper = warning if critical is None else critical
    assert lower is not None and upper is not None  # noqa: PT018
    falling = table.get("falling", False)
    if not isinstance(falling, bool):
        raise ConfigError(f"rule {name}: falling must be true or false")
    if upper > lower if falling else upper < lower:
        raise ConfigError(f"rule {name}: critical would be reached before warning")
    return Steps(lower, upper, falling)
