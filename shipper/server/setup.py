"""Setup: bring templates and data streams in line with the configuration.

What is missing is created, what is older is replaced, what is newer or the operator's is kept. Everything is planned
first: a value on the server that somebody else may have set is shown, and changed only with the caller's consent. What
a server lacks is known from its list of modules; if the list cannot be read or is inconclusive, from the rejection of a
template, which names the setting.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any, Final

from shipper.base.errors import ServerError, UserError
from shipper.deliver.client import Connection, call
from shipper.schema import stream_names, templates
from shipper.schema.datasets import DATASETS
from shipper.schema.templates import Features
from shipper.server import effect, streams
from shipper.server.capabilities import Say, Server, examine, features, left_out, require, without_refused
from shipper.server.plan import Request, Step, compare, installed, of_policies, of_templates
from shipper.settings.config import Config

__all__ = ["Request", "Server", "compare", "delete_old", "examine", "install", "installed", "requests", "steps"]

Consent = Callable[[Sequence[str]], bool]
_DATED: Final = re.compile(r"shipper-([a-z]+)-(\d{4})\.(\d\d)\.(\d\d)")


def requests(config: Config) -> list[Request]:
    """Everything that is sent to a server with all modules and none of our templates."""
    wanted = [
        Request("PUT", template.path, template.body, "only if absent" if template.operators else "")
        for template in templates.render(config.index)
    ]
    made = [Request("PUT", f"/_data_stream/{name}", None, "only if absent") for name in series(config)]
    return [*wanted, *made]


def series(config: Config) -> list[str]:
    """Data streams to create during setup: ``look_back_time`` then counts from now, not from the first document."""
    if config.index.layout != "datastream":
        return []
    return [stream_names.stream(dataset, config.index.namespace) for dataset in config.collect.datasets]


def install(
    client: Connection, config: Config, say: Say, *, consent: Consent = lambda _changes: True, rollover: bool = False
) -> None:
    """Bring the server in line with the configuration; ``say`` gets a line for each thing done or left out.

    ``consent`` is asked once about all values that would be overwritten. Raises ServerError, also if another template
    overrides ours, and UserError without consent; in that case nothing was changed.
    """
    server, known = _known(client, config, say)
    said: set[str] = set()
    agreed = False
    while True:
        planned = steps(client, config, server, known, rollover=rollover)
        if not agreed:
            _require_consent(planned, consent)
        agreed = True
        try:
            _take(client, planned, say, said)
        except ServerError as error:
            changed = without_refused(known, str(error), say)
            if changed is None:
                raise
            known = changed
        else:
            break
    _verify(client, config)


def dry_run(client: Connection, config: Config, say: Say, *, rollover: bool = False) -> None:
    """Report what ``install`` would do, and every value that it would overwrite. Raises ServerError."""
    server, known = _known(client, config, say)
    for step in steps(client, config, server, known, rollover=rollover):
        say(step.line)
        for line in step.overwrites:
            say(f"    {line}")


def take(client: Connection, planned: Sequence[Step], say: Say, consent: Consent) -> None:
    """Execute planned steps. Raises UserError without consent to what they overwrite, ServerError."""
    _require_consent(planned, consent)
    _take(client, planned, say, set())


def _require_consent(planned: Sequence[Step], consent: Consent) -> None:
    overwrites = [line for step in planned for line in step.overwrites]
    if overwrites and not consent(overwrites):
        raise UserError("nothing was changed")


def _known(client: Connection, config: Config, say: Say) -> tuple[Server, Features]:
    server = examine(client)
    require(server, config.index.layout)
    say(f"server     {server}")
    if server.unfit:
        say(f"note       {server.unfit}")
    known = features(server, config.index.layout)
    for line in left_out(server, config.index, known):
        say(line)
    return server, known


def steps(client: Connection, config: Config, server: Server, known: Features, *, rollover: bool = False) -> list[Step]:
    """All steps of setup, in order. Raises ServerError."""
    planned = [
        *of_policies(client, templates.policies(config.index, known)),
        *of_templates(client, templates.render(config.index, known)),
    ]
    if config.index.layout == "datastream":
        try:
            planned += _of_streams(client, config, server, known, rollover=rollover)
        except ServerError as error:
            planned.append(Step(f"not yet    data streams: the first document creates them ({error})"))
    return planned


def _of_streams(
    client: Connection, config: Config, server: Server, known: Features, *, rollover: bool
) -> Iterator[Step]:
    for name in streams.plain_indices(client, config):
        yield Step(f"wrong      {name} is an index, not a data stream; delete it or reindex it, then run setup again")
    present = {stream.name: stream for stream in streams.present(client, config, server)}
    if server.has_data_streams:
        for name in series(config):
            if name not in present:
                yield Step(f"created    data stream {name}", [Request("PUT", f"/_data_stream/{name}")], optional=True)
    expected = streams.expected(client, config, known)
    for name, stream in present.items():
        if name in expected:
            comparison = streams.compare(stream, expected[name])
            yield from comparison.steps
            if comparison.later:
                yield _rollover(name, comparison.later, now=rollover)


def _rollover(name: str, later: Sequence[str], *, now: bool) -> Step:
    text = f"data stream {name}: {'; '.join(later)}"
    if now:
        return Step(f"rolled     {text}", [Request("POST", f"/{name}/_rollover")], optional=True)
    return Step(f"later      {text}: takes effect with the next backing index, or now with --rollover")


def _take(client: Connection, planned: Sequence[Step], say: Say, said: set[str]) -> None:
    """Execute each step; ``said`` holds the lines that an earlier attempt has reported."""
    for step in planned:
        line = step.line
        try:
            for request in step.requests:
                call(client, request.method, request.path, request.body)
        except ServerError as error:
            if not step.optional:
                raise
            line = f"not yet    {line.partition(' ')[2].strip()} ({error})"
        what = line.partition(" ")[2]
        if what not in said:
            say(line)
        said.add(what)


def _verify(client: Connection, config: Config) -> None:
    """Raises ServerError if another template overrides ours. Continues if these credentials may not ask."""
    try:
        shadowing = effect.shadowed(client, config)
    except ServerError:
        return
    if shadowing:
        raise ServerError("; ".join(shadowing))


def delete_old(client: Connection, config: Config, today: date, say: Say) -> None:
    """Delete the indices of days before ``index.retention_days`` in the dated layout. Raises ServerError."""
    if config.index.layout != "dated" or not config.index.retention_days:
        say("nothing    to delete: this command applies to index.layout dated with index.retention_days")
        return
    oldest = today - timedelta(days=config.index.retention_days)
    answer: Any = call(client, "GET", "/_resolve/index/shipper-*?expand_wildcards=all") or {}
    for name in sorted(index["name"] for index in answer.get("indices", ())):
        day = day_of(name)
        if day and day < oldest:
            call(client, "DELETE", f"/{name}")
            say(f"deleted    {name}")


def day_of(name: str) -> date | None:
    """The day of an index whose whole name is one of ours."""
    match = _DATED.fullmatch(name)
    if not match or match[1] not in DATASETS:
        return None
    try:
        return date(int(match[2]), int(match[3]), int(match[4]))
    except ValueError:
        return None
