"""The sources of the user's own numbers: the tables ``[[metrics]]`` of the file, each of one type.

A source exists only if the file has its table; there are no variables or flags for it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from shipper.settings.options import (
    NotAllowed,
    Option,
    brief,
    duration,
    globs,
    option,
    options,
    size,
    text,
    unknown,
    whole,
    words,
)

TABLE: Final = "metrics"
_PLACE: Final = f"[[{TABLE}]]"
_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_ABSOLUTE: Final = text("an absolute path", r"/[^\x00-\x1f\x7f]*", "PATH")
_OPTIONAL: Final = text("an absolute path", r"(/[^\x00-\x1f\x7f]*)?", "PATH")
_ENDPOINT: Final = r"((\d+\.){3}\d+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5})?"
_URL: Final = r"(https?://[^\s/@\x00-\x1f\x7f]+(/[^\s\x00-\x1f\x7f]*)?)?"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Source:
    """What every source has. ``needs``: options without which there is nothing to read."""

    needs: ClassVar[tuple[str, ...]] = ("name",)

    name: str = option(
        "",
        "Name of the source, which no other source has: metricset.name of its documents",
        text("lower-case letters, digits, _, . and - (at most 64)", _NAME.pattern, "NAME"),
    )
    unit: str = option(
        "",
        "Container, by its name or id, or systemd unit that the metrics belong to",
        text("a name of at most 255 printable characters", r"[^\x00-\x20\x7f]{0,255}", "NAME"),
    )
    accept: tuple[str, ...] = option(("*",), "Metrics to keep", globs())
    drop: tuple[str, ...] = option((), "Metrics to leave out, of those to keep", globs())
    max_series: int = option(1000, "Label sets in one tick; further ones are counted and left out", whole(1, 100_000))
    max_names: int = option(
        250, "Names of metrics, and of labels, while the agent runs; further ones are left out", whole(1, 1500)
    )
    deadline_s: int = option(5, "Time limit of one reading", duration(1, 600))

    @property
    def type(self) -> str:
        return next(name for name, kind in TYPES.items() if type(self) is kind)


@dataclass(frozen=True)
class Textfile(Source):
    """Files *.prom in the Prometheus or OpenMetrics text format, which other programs write and replace."""

    needs: ClassVar[tuple[str, ...]] = ("name", "directory")

    directory: str = option("", "Directory of the files, below the host root", _ABSOLUTE)
    max_bytes: int = option(2 * _MIB, "Size of all files; further files are left out", size(_KIB, 64 * _MIB))


@dataclass(frozen=True)
class Statsd(Source):
    """Datagrams of StatsD and DogStatsD clients."""

    needs: ClassVar[tuple[str, ...]] = ("name", "listen or socket")

    listen: str = option(
        "127.0.0.1:8125",
        "Address and UDP port; if empty, none",
        text(
            "an address and a port, such as 127.0.0.1:8125 or [::1]:8125",
            r"((\d+\.){3}\d+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5})?",
        ),
    )
    socket: str = option("", "Unix datagram socket, below the host root; if empty, none", _OPTIONAL)
    expiry_s: int = option(300, "A metric is forgotten when no value has come for so long", duration(10, 86_400))


@dataclass(frozen=True)
class Scrape(Source):
    """An endpoint on this host in the Prometheus text format."""

    needs: ClassVar[tuple[str, ...]] = ("name", "url")
    url: str = option(
        "",
        "Address of the endpoint; its path is /metrics if it has none",
        text("http(s)://host:port/path without user or password", _URL, "URL"),
    )
    socket: str = option("", "Unix socket to connect to, below the host root, instead of host and port", _OPTIONAL)
    period_s: int = option(60, "Time between readings, rounded to ticks; 0 means each tick", duration(0, 86_400))
    max_bytes: int = option(4 * _MIB, "Size of an answer; a longer one is not used", size(_KIB, 64 * _MIB))
    bearer_token_file: str = option("", "File with a bearer token", _OPTIONAL)
    ca_file: str = option("", "PEM file of the authorities to trust, instead of the system's", _OPTIONAL)
    client_cert_file: str = option("", "PEM file of the client certificate", _OPTIONAL)
    client_key_file: str = option("", "PEM file of its key, if it is in another file", _OPTIONAL)


@dataclass(frozen=True)
class Exec(Source):
    """A command that prints the Prometheus text format, or JSON."""

    needs: ClassVar[tuple[str, ...]] = ("name", "command")
    command: tuple[str, ...] = option(
        (), "The command with its arguments; no shell reads them", words("a list of words", r"[^\x00]*")
    )
    user: str = option(
        "", "User to run it as; if empty, the shipper's own, unless that is root", text("a user name", r"[\w.-]*")
    )
    period_s: int = option(60, "Time between runs, rounded to ticks", duration(1, 86_400))
    max_bytes: int = option(_MIB, "Size of the output; a longer one is not used", size(_KIB, 64 * _MIB))
    max_memory: int = option(256 * _MIB, "Address space of each of its processes", size(_MIB, 1 << 40))


TYPES: Final[Mapping[str, type[Source]]] = {
    "textfile": Textfile,
    "statsd": Statsd,
    "scrape": Scrape,
    "exec": Exec,
}
_TYPES: Final = ", ".join(TYPES)


def read(file: str, entries: object) -> Iterator[Source | str]:
    """The sources that ``entries``, the tables of ``file``, describe, or a line for each fault."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        yield f"{file}: {TABLE}: must be tables: {_PLACE}"
        return
    names: set[str] = set()
    for entry in entries:
        for result in _source(entry):
            if isinstance(result, str):
                yield f"{file}: {_PLACE} {result}"
            elif result.name in names:
                yield f"{file}: {_PLACE} name = {result.name}: two sources have this name"
            else:
                names.add(result.name)
                yield result


def _source(entry: Mapping[str, Any]) -> Iterator[Source | str]:
    """The source, or its faults."""
    type_ = entry.get("type")
    kind = TYPES.get(type_) if isinstance(type_, str) else None
    if kind is None:
        yield f"type: {unknown('type', str(type_), TYPES)}" if "type" in entry else f"type: must be one of {_TYPES}"
        return
    known = source_options(kind)
    values: dict[str, Any] = {}
    faults = [_take(known, key, value, values) for key, value in entry.items() if key != "type"]
    if not any(faults):
        source = kind(**values)
        unset = (need for need in kind.needs if not any(getattr(source, name) for name in need.split(" or ")))
        faults = [f"{need}: must be set" for need in unset]
    yield from filter(None, faults) if any(faults) else [source]


def _take(known: Mapping[str, Option], key: str, value: object, values: dict[str, Any]) -> str:
    """The fault of an option; if there is none, ``values`` gets the value."""
    declared = known.get(key)
    if declared is None:
        return f"{key}: {unknown('option', key, known)}"
    try:
        values[declared.attribute] = declared.kind.take(value)
    except NotAllowed:
        return f"{key} = {brief(value)}: must be {declared.kind.allowed}"
    return ""


def source_options(kind: type[Source]) -> dict[str, Option]:
    """The options of a type of source by their keys."""
    return {declared.key: declared for declared in options(TABLE, kind)}
