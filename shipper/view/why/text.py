"""An explanation as text: one screen, each sentence with its numbers."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from shipper.base.text import escaped
from shipper.deliver.client import Connection
from shipper.schema.datasets import DATASETS
from shipper.settings.config import Index
from shipper.view.dashboards import uses
from shipper.view.thresholds import Level
from shipper.view.unit_formats import percent, shown
from shipper.view.why.explain import Explanation, explain
from shipper.view.why.signals import OF_HOST, Resource, Signal
from shipper.view.why.verdict import Judgement, Shortage
from shipper.view.why.who import Share, Use

_MOST_CHANGES: Final = 5
_MOST_EPISODES: Final = 3
_MOST_CRAMPED: Final = 3
_HALF_HOUR_MS: Final = 30 * 60_000
_FAR: Final = 100
_FELT: Final = 0.1  # share of the time lost
_CHANGED: Final = 0.05  # of the use
_WORDS: Final = {Level.WARNING: "short", Level.BAD: "very short", Level.OK: "short"}


def lines(made: Explanation) -> Iterator[str]:
    """The explanation line by line, fit for a terminal."""
    return map(escaped, _lines(made))


def half_hour(connection: Connection, index: Index, name: str, at_ms: int | None) -> list[str]:
    """The explanation of the half hour before ``at_ms`` (None: now), line by line. Raises UserError."""
    last_ms = round(time.time() * 1000) if at_ms is None else at_ms
    return list(lines(explain(connection, index, name, last_ms - _HALF_HOUR_MS, last_ms)))


def _lines(made: Explanation) -> Iterator[str]:
    name = made.target.entity or made.target.host
    yield f"{name}, {_clock(made.first_ms)} to {_clock(made.last_ms)} UTC on {_day(made.last_ms)}"
    yield from _judged("", made.own)
    if made.host:
        yield from _judged(f"its host {made.target.host}: ", made.host)
    if made.cramped:
        named = [f"{one.name}: {_sentence(one.signal, '', one.mean)}" for one in made.cramped[:_MOST_CRAMPED]]
        more = f", and {len(made.cramped) - _MOST_CRAMPED} more" if len(made.cramped) > _MOST_CRAMPED else ""
        yield f"at their own limits: {'; '.join(named)}{more}"
    if made.main is None:
        return
    resource = next(one for one in OF_HOST if one.name == made.main.resource.name)
    if made.facts:
        yield f"at the same time: {', '.join(_sentence(fact.signal, fact.device, fact.mean) for fact in made.facts)}"
    yield ""
    yield from _who(resource, made.use)
    yield ""
    yield from _changed(made, made.main)
    yield ""
    yield from _compared(made, made.main)
    yield ""
    yield from _next(made, made.main)


def _judged(whose: str, judgement: Judgement) -> Iterator[str]:
    if not judgement.short:
        yield f"{whose}nothing is saturated: {', '.join(judgement.sound)}"
    for short in judgement.short:
        yield f"{whose}{short.resource.name}: {_verdict(short)}"
        for episode in short.episodes[:_MOST_EPISODES]:
            bound = _value(episode.signal, episode.signal.steps.warning)
            yield f"  {_sentence(episode.signal, episode.device, episode.mean)} (mean; warning threshold: {bound})"
    if judgement.short and judgement.sound:
        yield f"{whose}not short: {', '.join(judgement.sound)}"
    if judgement.unknown:
        missing = [f"{name} (no {' or '.join(fields)})" for name, fields in judgement.unknown.items()]
        yield f"{whose}unknown, because no document has the fields: {', '.join(missing)}"


def _verdict(short: Shortage) -> str:
    lasted = _span(short.last_ms - short.first_ms)
    since = f"since before {_clock(short.first_ms)}" if short.cut else f"since {_clock(short.first_ms)}"
    if short.over:
        return f"was {_WORDS[short.level]} from {_clock(short.first_ms)} to {_clock(short.last_ms)} ({lasted})"
    return f"{_WORDS[short.level]} {since} ({lasted})"


def _who(resource: Resource, use: Use | None) -> Iterator[str]:
    if use is None:
        yield f"users: unknown, because the use of {resource.name} is not measured per container"
        return
    unit = _unit(resource)
    yield f"{resource.users or f'{resource.name} use'}, {shown(use.total, unit)} in total:"
    for share in use.named:
        yield f"  {percent(share.share):>5}  {share.name}  {shown(share.used, unit)}{_more(share, unit, resource)}"
    yield f"  {percent(use.others / use.total):>5}  other containers and services"
    left = percent(use.unaccounted / use.total)
    yield f"  {left:>5}  unaccounted: the kernel, and tasks outside containers and services"
    first = use.named[0]
    if use.processes:
        yield f"  processes of {first.name}: {', '.join(use.processes)}"
    waiting = [f"{share.name} {percent(share.waits or 0)}" for share in use.victims if (share.waits or 0) >= _FELT]
    if waiting:
        yield f"  waiting for {resource.name}: {', '.join(waiting)} of the time"


def _more(share: Share, unit: str, resource: Resource) -> str:
    parts = []
    if share.grown is None:
        parts.append("new")
    elif abs(share.grown) >= _CHANGED * share.used:
        parts.append(f"{'grew' if share.grown > 0 else 'shrank'} by {shown(abs(share.grown), unit)}")
    if share.limit is not None:
        parts.append(f"{percent(share.limit)} of its own limit")
    elif resource.limit:
        parts.append("no limit of its own")
    if share.waits is not None and share.waits >= _FELT:
        parts.append(f"waits {percent(share.waits)} of the time")
    return f" ({', '.join(parts)})" if parts else ""


def _changed(made: Explanation, short: Shortage) -> Iterator[str]:
    if not made.changes:
        yield "changes before: none recorded in the half hour before"
        return
    yield "changes before, the nearest first:"
    for change in made.changes[:_MOST_CHANGES]:
        before = short.first_ms - change.at_ms
        when = f"{_span(before)} before" if before > 0 else f"{_span(-before)} after" if before < 0 else "at that time"
        yield f"  {_clock(change.at_ms)}  {change.words} ({when})"
    if len(made.changes) > _MOST_CHANGES:
        yield f"  and {len(made.changes) - _MOST_CHANGES} more"


def _compared(made: Explanation, short: Shortage) -> Iterator[str]:
    worst = short.episodes[0]
    if made.usual is None:
        return
    usual = made.usual
    yield f"comparison: {_sentence(worst.signal, worst.device, worst.mean)}"
    earlier = [f"{name} {_value(worst.signal, mean)}" for name, mean in usual.earlier.items()]
    yield f"  in the same hours: {', '.join(earlier) if earlier else 'no documents from yesterday or last week'}"
    if usual.middle is None:
        yield f"  {usual.peers}: too few to compare ({usual.number})"
        return
    how = "all have the same value"
    if usual.away is not None:
        number = f"{usual.away:.1f}" if usual.away < _FAR else f"more than {_FAR}"
        how = f"this one is {number} deviations (MAD) above"
    judged = "" if usual.away is None else ": unusual" if usual.unusual else ": not unusual"
    yield f"  {usual.number} {usual.peers}: median {_value(worst.signal, usual.middle)}; {how}{judged}"


def _next(made: Explanation, short: Shortage) -> Iterator[str]:
    worst = short.episodes[0].signal
    board = "shipper-container" if made.target.entity else "shipper-host"
    found = min(uses.panels(worst.dataset, worst.field), key=lambda use: use[0].uid != board, default=None)
    first, last = (_iso(ms) for ms in (min(short.first_ms, made.first_ms), made.last_ms))
    whose = f"--container '{made.target.entity}'" if made.target.entity else f"--host '{made.target.host}'"
    yield f"next: shipper report {whose} --from {first} --to {last}"
    if found:
        yield f'  board "{found[0].title}", panel "{found[1].title}"; shipper fields {worst.field}'


def _value(signal: Signal, value: float) -> str:
    return shown(value, _units(signal.dataset)[signal.field])


def _sentence(signal: Signal, device: str, value: float) -> str:
    words = signal.words.format(_value(signal, value))
    return f"{device}: {words}" if device else words


def _unit(resource: Resource) -> str:
    return _units("cgroup")[resource.usage[0]]


def _units(dataset: str) -> dict[str, str]:
    return {field.name: field.unit for field in DATASETS[dataset].fields}


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S}"


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}"


def _iso(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}"


def _span(ms: float) -> str:
    return shown(ms, "ms")


def plain(made: Explanation) -> dict[str, Any]:
    """The explanation as JSON: times in ms since 1970, values in the units of their fields."""
    main = made.main
    return {
        "host": made.target.host,
        "entity": made.target.entity or None,
        "from_ms": made.first_ms,
        "to_ms": made.last_ms,
        "own": _plain_judgement(made.own),
        "on_host": _plain_judgement(made.host) if made.host else None,
        "at_own_limits": [{"entity": one.name, "field": one.signal.field, "mean": one.mean} for one in made.cramped],
        "main": main.resource.name if main else None,
        "use": asdict(made.use) if made.use else None,
        "changes": [asdict(change) for change in made.changes],
        "usual": asdict(made.usual) if made.usual else None,
        "searches": [{"dataset": dataset, "body": body} for dataset, body in made.searches],
    }


def _plain_judgement(judgement: Judgement) -> dict[str, Any]:
    short = [
        {
            "resource": one.resource.name,
            "level": one.level,
            "since_ms": one.first_ms,
            "until_ms": one.last_ms,
            "began_earlier": one.cut,
            "over": one.over,
            "signals": [
                {
                    "field": episode.signal.field,
                    "device": episode.device or None,
                    "mean": episode.mean,
                    "level": episode.level,
                }
                for episode in one.episodes
            ],
        }
        for one in judgement.short
    ]
    return {"short": short, "sound": list(judgement.sound), "unknown": judgement.unknown}
