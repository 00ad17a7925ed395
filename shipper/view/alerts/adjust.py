"""An operator's changes to the rules, from a TOML file: other thresholds for some entities, no alerts, further rules.

[[adjust]]                                # the last table that applies decides
rules = ["host-cpu", "container-*"]
where = {"labels.role" = "batch"}         # all must match; values are globs
warning = 0.98
critical = 1.0

[[mute]]
rules = ["*"]
where = {"host.name" = "ci-*"}
until = 2027-01-01T00:00:00Z              # optional

``own`` has the tables [[rule]].
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from shipper.base.errors import ConfigError
from shipper.base.text import suggestion
from shipper.view.alerts import own
from shipper.view.alerts.model import Rule
from shipper.view.alerts.rules import RULES
from shipper.view.dashboards.model import has
from shipper.view.thresholds import Steps

DEFAULT_FILE: Final = "/etc/shipper/alerts.toml"
_NAMES: Final = tuple(rule.name for rule in RULES)
_ADJUST: Final = {"rules", "where", "warning", "critical"}
_MUTE: Final = {"rules", "where", "until"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which alerts a table of the file applies to."""

    rules: tuple[str, ...]
    where: Mapping[str, str]

    def names(self, rule: Rule) -> bool:
        """Whether the table may apply to alerts of ``rule``."""
        return any(fnmatchcase(rule.name, pattern) for pattern in self.rules)

    def holds(self, rule: Rule, document: Mapping[str, Any]) -> bool:
        """Whether the table applies to an alert of ``rule`` about the entity of ``document``."""
        return self.names(rule) and all(
            name in document and fnmatchcase(str(document[name]), pattern) for name, pattern in self.where.items()
        )


@dataclass(frozen=True, slots=True)
class Adjust:
    """Other thresholds."""

    scope: Scope
    warning: float | None
    critical: float | None

    def applied(self, steps: Steps) -> Steps:
        warning = steps.warning if self.warning is None else self.warning
        critical = steps.bad if self.critical is None else self.critical
        # If only one threshold is given, the other one must not contradict it
        pick = min if steps.falling else max
        if self.critical is None:
            critical = pick(warning, critical)
        elif self.warning is None:
            warning = (max if steps.falling else min)(warning, critical)
        return Steps(warning, critical, steps.falling)


@dataclass(frozen=True, slots=True)
class Mute:
    """No alerts; ``until_ms`` is None for always."""

    scope: Scope
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Adjustments:
    """All changes; empty without a file."""

    adjust: tuple[Adjust, ...] = ()
    mute: tuple[Mute, ...] = ()
    rules: tuple[Rule, ...] = ()

    def steps(self, rule: Rule, document: Mapping[str, Any]) -> Steps:
        """The thresholds for the entity of ``document``."""
        steps = rule.steps
        for one in self.adjust:
            if one.scope.holds(rule, document):
                steps = one.applied(rule.steps)
        return steps

    def all_steps(self, rule: Rule) -> list[Steps]:
        """Every pair of thresholds that may apply to ``rule``."""
        return [rule.steps, *(one.applied(rule.steps) for one in self.adjust if one.scope.names(rule))]

    def muted(self, rule: Rule, document: Mapping[str, Any], at_ms: int) -> bool:
        return any(
            one.scope.holds(rule, document) and (one.until_ms is None or at_ms < one.until_ms) for one in self.mute
        )


def load(file: str | None) -> Adjustments:
    """The adjustments of ``file``; for None, those of DEFAULT_FILE if it exists. Raises ConfigError."""
    path = Path(file or DEFAULT_FILE)
    if file is None and not path.exists():
        return Adjustments()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        _known(content, {"adjust", "mute", "rule"})
        return Adjustments(
            tuple(_adjust(table) for table in _tables(content, "adjust")),
            tuple(_mute(table) for table in _tables(content, "mute")),
            tuple(_own(table) for table in _tables(content, "rule")),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _tables(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    tables = content.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{name}: must be written as [[{name}]]")
    return tables


def _known(table: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in table:
        if name not in names:
            raise ConfigError(f'unknown key "{name}"{suggestion(name, names)}')


def _adjust(table: Mapping[str, Any]) -> Adjust:
    _known(table, _ADJUST)
    bounds = {name: table[name] for name in ("warning", "critical") if name in table}
    if not bounds:
        raise ConfigError("adjust: needs warning, critical or both")
    for name, bound in bounds.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not bound >= 0:
            raise ConfigError(f"adjust: {name} must be a number that is not negative")
    made = Adjust(_scope(table, "adjust"), bounds.get("warning"), bounds.get("critical"))
    for rule in RULES:
        if made.scope.names(rule):
            steps = made.applied(rule.steps)
            if steps.warning < steps.bad if steps.falling else steps.warning > steps.bad:
                raise ConfigError(f"adjust: {rule.name}: critical would be reached before warning")
    return made


def _mute(table: Mapping[str, Any]) -> Mute:
    _known(table, _MUTE)
    until = table.get("until")
    if until is not None and not (isinstance(until, datetime) and until.tzinfo):
        raise ConfigError("mute: until must be a time with an offset, such as 2027-01-01T00:00:00Z")
    return Mute(_scope(table, "mute"), None if until is None else round(until.timestamp() * 1000))


def _own(table: Mapping[str, Any]) -> Rule:
    _known(table, own.KEYS)
    made = own.rule(table)
    if made.name in _NAMES:
        raise ConfigError(f"rule {made.name}: a rule of the shipper has this name")
    return made


def _scope(table: Mapping[str, Any], what: str) -> Scope:
    rules, where = table.get("rules", []), table.get("where", {})
    if not isinstance(rules, list) or not rules or not all(isinstance(name, str) for name in rules):
        raise ConfigError(f'{what}: rules must be a list of names or globs, such as ["host-cpu"]')
    for pattern in rules:
        if not any(fnmatchcase(name, pattern) for name in _NAMES):
            raise ConfigError(f'{what}: no rule is called "{pattern}"{suggestion(pattern, _NAMES)}')
    if not isinstance(where, dict) or not all(isinstance(value, str) for value in where.values()):
        raise ConfigError(f'{what}: where must be a table of texts, such as {{"labels.role" = "batch"}}')
    chosen = Scope(tuple(rules), where)
    for name in where:
        without = next((rule for rule in RULES if chosen.names(rule) and not has(rule.dataset, name)), None)
        if without and rules != ["*"]:
            raise ConfigError(f'{what}: documents of {without.name} have no field "{name}"')
        if without and not any(has(rule.dataset, name) for rule in RULES):
            raise ConfigError(f'{what}: no document has a field "{name}"')
    return chosen
