"""What ``shipper check --online`` checks on the server: version, clock, templates, data streams, privileges."""

from collections.abc import Iterator
from typing import Final

from shipper.base.errors import ServerError
from shipper.base.findings import Finding, note, ok, wrong
from shipper.deliver import client
from shipper.schema import templates
from shipper.server import capabilities, effect, keys, plan, streams
from shipper.settings.config import Config

# The shortest time that a time series index accepts documents ahead of its clock: index.look_ahead_time of 9.5
_LOOK_AHEAD_S: Final = 540
_WORTH_A_NOTE_S: Final = 2
_SETUP: Final = "run shipper setup"


def examine(connection: client.Connection, config: Config) -> Iterator[Finding]:
    """Findings about the server. Raises ServerError if it cannot be reached or rejects all requests."""
    about = capabilities.examine(connection)
    yield ok(f"{about} at {', '.join(config.elasticsearch.hosts)}")
    if about.unfit:
        yield note(about.unfit)
    yield from _clock(connection)
    yield from in_effect(connection, config, about)
    yield from _rights(connection, config)


def in_effect(connection: client.Connection, config: Config, about: capabilities.Server) -> Iterator[Finding]:
    """Whether the server does what is configured: templates, and existing data streams."""
    known = capabilities.features(about, config.index.layout)
    checks = [("templates", _templates), ("precedence of templates", _precedence), ("data streams", _streams)]
    for what, check in checks:
        try:
            yield from check(connection, config, about, known)
        except ServerError as error:
            yield note(f"{what} not checked: {error}")


def _clock(connection: client.Connection) -> Iterator[Finding]:
    skew_ms = client.skew_ms(connection)
    if skew_ms is None:
        yield note("clock not checked: these credentials do not allow reading the server's clock")
        return
    skew_s = skew_ms / 1000
    if skew_s > _LOOK_AHEAD_S:
        yield wrong(
            f"this host's clock is {skew_s:.0f} s ahead of the server's, which rejects documents from the future"
        )
    elif abs(skew_s) > _WORTH_A_NOTE_S:
        yield note(f"this host's clock differs from the server's by {skew_s:+.0f} s")
    else:
        yield ok("clock agrees with the server's")


def _templates(
    connection: client.Connection, config: Config, _about: capabilities.Server, known: templates.Features
) -> Iterator[Finding]:
    states: dict[str, list[str]] = {}
    for template in templates.render(config.index, known):
        body = plan.installed(connection, template)
        states.setdefault(_state(template, body), []).append(template.name)
    for state, verb in (("absent", "are absent"), ("older", "are older than this shipper")):
        if state in states:
            yield wrong(f"templates {verb}: {', '.join(states[state])}; {_SETUP}")
    if "other" in states:
        yield wrong(f"templates differ from this configuration: {', '.join(states['other'])}; {_SETUP} --dry-run")
    if "newer" in states:
        yield note(f"templates are newer than this shipper: {', '.join(states['newer'])}")
    if states.keys() == {"same"}:
        yield ok(f"templates of version {templates.TEMPLATE_VERSION} are installed")


def _state(template: templates.Template, body: plan.Body | None) -> str:
    if body is None:
        return "absent"
    if template.operators:
        return "same"
    action = plan.compare(template.body, body)
    return {"kept": "newer", "upgraded": "older", "updated": "other", "unchanged": "same"}[action]


def _precedence(
    connection: client.Connection, config: Config, _about: capabilities.Server, _known: templates.Features
) -> Iterator[Finding]:
    shadowing = effect.shadowed(connection, config)
    yield from map(wrong, shadowing)
    if not shadowing:
        yield ok("no other template overrides them")


def _streams(
    connection: client.Connection, config: Config, about: capabilities.Server, known: templates.Features
) -> Iterator[Finding]:
    if config.index.layout != "datastream":
        return
    for name in streams.plain_indices(connection, config):
        yield wrong(f"{name} is an index, not a data stream; delete it or reindex it, then {_SETUP}")
    expected = streams.expected(connection, config, known)
    present = [stream for stream in streams.present(connection, config, about) if stream.name in expected]
    differences = [
        finding for stream in present for finding in _differences(streams.compare(stream, expected[stream.name]))
    ]
    yield from differences
    if present and not differences:
        yield ok(f"data streams as configured: {len(present)}")
    for stream in present:
        yield from _retention(stream)


def _differences(compared: streams.Comparison) -> Iterator[Finding]:
    for step in compared.steps:
        yield wrong(f"not in effect: {step.line.partition(' ')[2].strip()}; {_SETUP}")
    for later in compared.later:
        yield wrong(f"data stream {compared.name}: {later}; {_SETUP} --rollover")


def _retention(stream: streams.Stream) -> Iterator[Finding]:
    """What else decides how long documents are kept."""
    about = stream.about or {}
    lifecycle = about.get("lifecycle") or {}
    if str(lifecycle.get("retention_determined_by", "")).startswith("max_"):
        limit = lifecycle.get("effective_retention")
        yield note(f"data stream {stream.name}: the cluster limits retention to {limit}")
    if about.get("ilm_policy") and about.get("prefer_ilm", True):
        yield note(f"data stream {stream.name}: ILM policy {about['ilm_policy']} decides, not index.retention_days")


def _rights(connection: client.Connection, config: Config) -> Iterator[Finding]:
    try:
        lacking = keys.missing_rights(connection, sorted(effect.names(config)))
    except ServerError:
        yield note("privileges not checked: security is off on the server, or the credentials do not allow asking")
        return
    if lacking:
        yield wrong(
            f"privileges are missing: {', '.join(lacking)}", "shipper setup --create-key, as a user who has them"
        )
    else:
        yield ok("these credentials may create documents")
