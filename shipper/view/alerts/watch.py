"""Repeats the check; alerts that begin or end go to a Prometheus Alertmanager or to people.

https://prometheus.io/docs/alerting/latest/clients/: an Alertmanager groups, silences, reminds and routes. An
Alertmanager forgets an alert at ``endsAt``, so each round sends all alerts that last; if the watch dies, they end.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.view.alerts.check import Checked
from shipper.view.alerts.model import Found, Measure
from shipper.view.alerts.output import DOCS
from shipper.view.dashboards.publish import Site
from shipper.view.unit_formats import shown

_LASTS: Final = 4  # rounds after which an Alertmanager forgets an alert that is not repeated
_NOT_A_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
Key = tuple[str, ...]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lasting:
    """An alert, the time of its begin in ms, and a text about its end."""

    alert: Found
    since_ms: int
    end: str = ""

    @property
    def line(self) -> str:
        """The alert in one line."""
        return f"{self.alert.severity}: {self.alert.who}: {self.alert.text}"


@dataclass(frozen=True, slots=True)
class Round:
    """One check. ``trouble``: why the check failed; all alerts then continue."""

    at_ms: int
    lasting: tuple[Lasting, ...]
    began: tuple[Lasting, ...] = ()
    ended: tuple[Lasting, ...] = ()
    trouble: str = ""


@dataclass
class Watch:
    """``ask`` judges a moment; ``explain`` gets a host, the time of its last document, and now, and returns a text
    about the time between.
    """

    ask: Callable[[int], Checked]
    explain: Callable[[str, int, int], str]
    lasting: dict[Key, Lasting] = field(default_factory=dict)

    def step(self, at_ms: int) -> Round:
        """Check once; a server that cannot answer ends no alert."""
        try:
            found = {(alert.severity, *alert.key): alert for alert in self.ask(at_ms).alerts if not alert.rule.notice}
            now = {key[1:]: alert.severity for key, alert in found.items()}
            ended = tuple(
                replace(one, end=f"now {now[key[1:]]}") if key[1:] in now else self._ended(one, at_ms)
                for key, one in self.lasting.items()
                if key not in found
            )
        except UserError as error:
            return Round(at_ms, tuple(self.lasting.values()), trouble=str(error))
        before = self.lasting
        self.lasting = {
            key: Lasting(alert, before[key].since_ms if key in before else at_ms) for key, alert in found.items()
        }
        began = tuple(one for key, one in self.lasting.items() if key not in before)
        return Round(at_ms, tuple(self.lasting.values()), began, ended)

    def _ended(self, one: Lasting, at_ms: int) -> Lasting:
        alert = one.alert
        if alert.rule.measure is not Measure.SILENCE:
            return one
        last_ms = round(alert.at_ms - alert.value * 1000)
        silent = f"silent for {shown(at_ms - last_ms, 'ms')}"
        said = self.explain(alert.host, last_ms, at_ms)
        return replace(one, end=f"{silent}; {said}" if said else silent)


def lines(one: Round) -> list[str]:
    """What changed, for a log or a person."""
    trouble = [f"unknown: {one.trouble}"] if one.trouble else []
    began = [line for lasting in one.began for line in (lasting.line, *(f"  {who}" for who in lasting.alert.culprits))]
    ended = [f"ended: {lasting.line}{f'; {lasting.end}' if lasting.end else ''}" for lasting in one.ended]
    return [*trouble, *began, *ended]


@dataclass(frozen=True)
class Alertmanager:
    """Sends to the API v2 of an Alertmanager."""

    site: Site
    every_ms: int

    def __call__(self, one: Round) -> None:
        until_ms = one.at_ms + _LASTS * self.every_ms
        alerts = [_alert(lasting, until_ms) for lasting in one.lasting]
        alerts += [_alert(lasting, one.at_ms) for lasting in one.ended]
        if one.trouble:
            labels = {"alertname": "alerts-unknown", "severity": "warning", "source": "shipper"}
            text = {"summary": "the alert rules cannot be judged", "description": one.trouble}
            alerts.append({"labels": labels, "annotations": text, "endsAt": _iso(until_ms)})
        if alerts:
            self.site.send("POST", "/api/v2/alerts", json=alerts)


def _alert(lasting: Lasting, ends_ms: int) -> dict[str, Any]:
    alert = lasting.alert
    marked = {name: value for name, value in alert.document.items() if name.startswith("labels.")}
    labels = {_label(name): str(value) for name, value in {**marked, **alert.entity}.items()}
    annotations = {
        "summary": f"{alert.who}: {alert.text}",
        "description": f"{alert.rule.means} {alert.rule.first}",
        "culprits": "\n".join(alert.culprits),
        "end": lasting.end,
        "explain": alert.explain,
        "docs": f"{DOCS}#{alert.rule.name}",
    }
    return {
        "labels": {**labels, "alertname": alert.rule.name, "severity": alert.severity, "source": "shipper"},
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _iso(lasting.since_ms),
        "endsAt": _iso(ends_ms),
    }


def _label(name: str) -> str:
    """``host.name`` as ``host_name``: Prometheus allows no dots."""
    return _NOT_A_LABEL.sub("_", name)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
