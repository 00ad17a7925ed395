"""What ``shipper check --online`` asks the server: version, clock, templates, rights."""

import time
from collections.abc import Iterator

from shipper import client, install, templates
from shipper.config import Config
from shipper.errors import ServerError
from shipper.findings import Finding, note, ok, wrong

# The least a time-series index lies open ahead of its own clock (index.look_ahead_time since 9.4)
_LOOK_AHEAD_S = 540
_WORTH_A_NOTE_S = 2


def examine(connection: client.Connection, config: Config) -> Iterator[Finding]:
    """Findings about the server. Raises ServerError where it cannot be reached or refuses outright."""
    yield ok(f"{install.examine(connection)} at {', '.join(config.elasticsearch.hosts)}")
    yield from _clock(connection)
    yield from _templates(connection, config)
    yield from _rights(connection, config)


def _clock(connection: client.Connection) -> Iterator[Finding]:
    now = time.time()
    try:
        nodes = client.call(connection, "GET", "/_nodes/_local/stats/indices?filter_path=nodes.*.timestamp")["nodes"]
        skew_s = now - max(node["timestamp"] for node in nodes.values()) / 1000
    except (ServerError, KeyError, TypeError, ValueError):
        yield note("clock not compared: the server does not tell its own to these credentials")
        return
    if skew_s > _LOOK_AHEAD_S:
        yield wrong(f"this host's clock is {skew_s:.0f} s ahead of the server's, which refuses documents of the future")
    elif abs(skew_s) > _WORTH_A_NOTE_S:
        yield note(f"this host's clock differs from the server's by {skew_s:+.0f} s")
    else:
        yield ok("clock agrees with the server's")


def _templates(connection: client.Connection, config: Config) -> Iterator[Finding]:
    states: dict[str, list[str]] = {}
    try:
        for template in templates.render(config.index):
            there = install.installed(connection, template)
            states.setdefault(_state(template, there), []).append(template.name)
    except ServerError as error:
        yield note(f"templates not checked: {error}")
        return
    for state in ("absent", "older"):
        if state in states:
            yield wrong(f"templates {state}, run shipper setup: {', '.join(states[state])}")
    if "newer" in states:
        yield note(f"templates newer than this shipper: {', '.join(states['newer'])}")
    if states.keys() == {"same"}:
        yield ok(f"templates of version {templates.TEMPLATE_VERSION} are there")


def _state(template: templates.Template, there: install.Body | None) -> str:
    if there is None:
        return "absent"
    if template.operators:
        return "same"
    return {"kept": "newer", "upgraded": "older"}.get(install.compare(template.body, there), "same")


def _rights(connection: client.Connection, config: Config) -> Iterator[Finding]:
    datasets, namespace = config.collect.datasets, config.index.namespace
    if config.index.layout == "dated":
        names = [f"shipper-{dataset}-*" for dataset in datasets]
    else:
        names = [name(one, namespace) for one in datasets for name in (templates.stream, templates.late_stream)]
    wanted = {"index": [{"names": names, "privileges": ["create_doc", "auto_configure"]}]}
    try:
        answer = client.call(connection, "POST", "/_security/user/_has_privileges", wanted)
    except ServerError:
        yield note("rights not checked: the server has security off, or does not tell")
        return
    lacking = [
        f"{right} on {name}" for name, rights in answer["index"].items() for right, has in rights.items() if not has
    ]
    if lacking:
        yield wrong(f"rights are missing: {', '.join(lacking)}")
    else:
        yield ok("these credentials may create documents")
