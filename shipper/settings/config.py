"""The configuration: every option is declared once and read from flags, environment, file and defaults.

The first source that has an option decides: flag, variable ``SHIPPER_<SECTION>_<KEY>``, TOML file, default. Secrets are
not options: they come from files, from ``SECRET_VARIABLES`` or from systemd credentials, and are read when the client
connects, so that a Config never holds one.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from shipper.base.errors import ConfigError
from shipper.fields import lean
from shipper.fields.dataset import DECLARED
from shipper.settings import sources
from shipper.settings.options import (
    PREFIX,
    NotAllowed,
    Option,
    boolean,
    brief,
    choice,
    duration,
    duration_of,
    option,
    options,
    size,
    table,
    text,
    unknown,
    whole,
    words,
)
from shipper.settings.sources import Source

DEFAULT_FILE: Final = "/etc/shipper/shipper.toml"
FILE_VARIABLE: Final = f"{PREFIX}_CONFIG"
SECRET_VARIABLES: Final = tuple(f"{PREFIX}_ELASTICSEARCH_{name}" for name in ("API_KEY", "PASSWORD", "BEARER_TOKEN"))

# A period divides a minute, or is a number of minutes that divides an hour: ticks have the same times in every hour
PERIODS_S: Final = tuple(
    [second for second in range(1, 61) if 60 % second == 0]
    + [minute * 60 for minute in range(2, 61) if 60 % minute == 0]
)
# Kubernetes sets such variables for a service named shipper…; they are not options
_FOREIGN: Final = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT(_\d+_\w+)?$")
_DAY_S: Final = 86_400
_ENQUEUES: Final = "/_es"
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_SERVER: Final = r"https?://([^\s/@:,\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?"
_PATH: Final = text("a path", placeholder="FILE")
_ABSOLUTE: Final = text("an absolute path", r"/[^\x00-\x1f\x7f]*", "DIR")


@dataclass(frozen=True)
class Elasticsearch:
    """Where to ship. The API key or password is in a file, a variable or a systemd credential."""

    hosts: tuple[str, ...] = option(
        ("http://127.0.0.1:9200",),
        "Servers of one cluster; when one fails, the next one is tried. The default port is 80 for http, 443 for https",
        words(
            "a list of http(s)://host:port without user or password",
            rf"{_SERVER}(/[^\s@,]*)?",
            least=1,
            placeholder="URL,…",
        ),
    )
    api_key_file: str = option("", "File with the API key, as id:key or encoded", _PATH)
    bearer_token_file: str = option("", "File with a bearer token, if no API key is used", _PATH)
    username: str = option("", "User, if no API key is used", text("a user name", r"[^\x00-\x1f\x7f:]*"))
    password_file: str = option("", "File with the password of the user", _PATH)
    ca_file: str = option("", "PEM file of the authorities to trust, instead of the system's", _PATH)
    ca_fingerprint: str = option(
        "",
        "SHA-256 fingerprint of the server's certificate, or of an authority's certificate that the server sends",
        text("64 hexadecimal digits, colons allowed", r"([0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31})?", "HEX"),
    )
    client_cert_file: str = option("", "PEM file of the client certificate", _PATH)
    client_key_file: str = option("", "PEM file of the client certificate's key, if it is in another file", _PATH)
    verify: bool = option(True, "Verify the server's certificate and name", boolean())  # noqa: FBT003
    proxy: str = option(
        "",
        "HTTP proxy, or none; if empty, HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply, which may have a password",
        text("none, or http(s)://host:port without user or password", rf"(none|{_SERVER})?", "URL"),
    )
    timeout_s: int = option(30, "Timeout of one request", duration(1, 600))


@dataclass(frozen=True)
class Index:
    """How documents are laid out in the server; used by setup and when documents are sent."""

    layout: str = option(
        "datastream", "Time series data streams, or one plain index per day", choice("datastream", "dated")
    )
    namespace: str = option(
        "default",
        "Last part of the data streams' names",
        text("lower-case letters, digits, _ and . (at most 100)", r"[a-z0-9_][a-z0-9_.]{0,99}", "NAME"),
    )
    retention_days: int = option(30, "Days after which the server deletes documents; 0 means never", whole(0, 36_500))
    downsample: tuple[str, ...] = option(
        (),
        "Downsampling stages of older documents as AFTER:INTERVAL, such as 7d:10m,30d:1h",
        words("a list of AFTER:INTERVAL in d, h or m", r"[1-9]\d*[dh]:[1-9]\d*[mh]", placeholder="STAGE,…"),
    )
    label_fields: tuple[str, ...] = option(
        (),
        "Keys of host.labels that also become fields host.labels.KEY, by which PromQL and ES|QL can group",
        words("a list of keys of letters, digits, _ and -", r"[A-Za-z0-9_-]{1,64}", placeholder="KEY,…"),
    )
    aliases: tuple[str, ...] = option(
        (),
        "Other collectors whose names for our fields searches may use too: metricbeat",
        words("a list of: metricbeat", "metricbeat", placeholder="NAME,…"),
        "--aliases",
    )
    shards: int = option(1, "Primary shards of each index", whole(1, 1024))
    replicas: int | None = option(None, "Replicas of each index; if unset, the server's default applies", whole(0, 100))


@dataclass(frozen=True)
class Collect:
    """What is read, how often, and what is excluded."""

    period_s: int = option(10, "Time between ticks", duration_of(PERIODS_S), "--period")
    ticks: int = option(0, "Exit after this many ticks; 0 means no limit", whole(0, 1_000_000_000), "--ticks")
    host_root: str = option("/", "The host's root directory, as mounted here", _ABSOLUTE, "--host-root")
    datasets: tuple[str, ...] = option(
        lambda: tuple(name for name, dataset in DECLARED.items() if dataset.default),
        "Datasets to collect",
        words("a list of datasets", r"[a-z]+", least=1, placeholder="NAME,…"),
    )
    detail: str = option(
        lean.FULL,
        "All fields, or only those that dashboards, alert rules and commands use (mappings/README.md marks the others)",
        choice(lean.FULL, lean.LEAN),
    )
    deadline_s: int = option(5, "Time limit of one collector; a slower one is skipped", duration(1, 600))


@dataclass(frozen=True)
class Spool:
    """Documents on disk between collection and acknowledgement."""

    directory: str = option("/var/lib/shipper/spool", "Directory of the spool", _ABSOLUTE, "--spool")
    max_bytes: int = option(
        _GIB, "Maximum size of the spool; when it is full, the oldest documents are dropped", size(_MIB, 1 << 50)
    )
    # 7 days is also the maximum age that a new time series stream accepts (index.look_back_time)
    max_age_s: int = option(7 * _DAY_S, "Documents older than this are dropped", duration(60, 3650 * _DAY_S))
    flush_s: int = option(10, "Time limit for sending the remaining documents when the agent stops", duration(0, 600))


@dataclass(frozen=True)
class Bulk:
    """Requests that carry documents."""

    max_bytes: int = option(4 * _MIB, "Size of one request before compression", size(64 << 10, 100 * _MIB))
    order: str = option(
        "newest-first",
        "Which end of a backlog to send first; every fourth request takes the other end",
        choice("newest-first", "oldest-first"),
    )
    compression: int = option(
        3,
        "gzip level; 0 means no compression. Up to 3, isal compresses instead if it is installed (extra fast)",
        whole(0, 9),
    )
    backoff_max_s: int = option(5, "Longest pause between retries", duration(1, 3600))


@dataclass(frozen=True)
class Host:
    """What this host is called."""

    name: str = option(
        "",
        "Name of the host; if empty, the host's own name",
        text("a name of at most 255 printable characters", r"[^\x00-\x20\x7f]{0,255}", "NAME"),
    )
    verify: bool = option(True, "Refuse to start if the host root does not show the host", boolean())  # noqa: FBT003
    labels: Mapping[str, str] = option(
        lambda: MappingProxyType({}),
        "Labels to add to every document",
        table("a table of texts, such as rack=a1,tier=web"),
    )


_Options = TypeVar("_Options")


@dataclass(frozen=True)
class Config:
    """All sections. ``file``: the file that was read (empty: none); ``origins``: where each given option came from.

    ``metrics`` are the sources of the user's own numbers. ``collectors`` are the options that collectors declare, in
    section ``collect``; see ``of``.
    """

    elasticsearch: Elasticsearch = field(default_factory=Elasticsearch)
    index: Index = field(default_factory=Index)
    collect: Collect = field(default_factory=Collect)
    spool: Spool = field(default_factory=Spool)
    bulk: Bulk = field(default_factory=Bulk)
    host: Host = field(default_factory=Host)
    metrics: tuple[Source, ...] = ()
    collectors: tuple[Any, ...] = ()
    file: str = field(default="", compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def of(self, options: type[_Options]) -> _Options:
        """The options of one collector, an instance of its dataclass; the defaults if none were loaded."""
        return next((loaded for loaded in self.collectors if type(loaded) is options), None) or options()


SECTIONS: Final[Mapping[str, Any]] = MappingProxyType(
    {"elasticsearch": Elasticsearch, "index": Index, "collect": Collect, "spool": Spool, "bulk": Bulk, "host": Host}
)


def all_options(collectors: Iterable[Any] = ()) -> tuple[Option, ...]:
    """Every option, section by section, in the order of declaration, with those that ``collectors`` declare."""
    return tuple(
        declared for name, kinds in _sections(collectors).items() for kind in kinds for declared in options(name, kind)
    )


def _sections(collectors: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    """The dataclasses of each section."""
    return {name: (section, *collectors) if section is Collect else (section,) for name, section in SECTIONS.items()}


def load(
    path: str | None, environ: Mapping[str, str], flags: Mapping[str, str], collectors: Sequence[Any] = ()
) -> Config:
    """The configuration from ``path`` (None: DEFAULT_FILE if it exists), ``environ`` and ``flags``.

    ``flags`` maps option paths (``collect.period``) to the text given; ``collectors`` are the dataclasses of options
    that the collectors declare. Raises ConfigError with a line for each fault.
    """
    known = {declared.path: declared for declared in all_options(collectors)}
    file, content = _read_file(path or environ.get(FILE_VARIABLE) or None)
    metrics = list(sources.read(file, content.pop(sources.TABLE, [])))
    results = [*_from_tables(file, content, known), *_from_environment(environ, known), *_from_flags(flags, known)]
    given = [result for result in results if not isinstance(result, str)]
    origins = {declared.path: origin for declared, origin, _ in given}
    values = {(declared.section, declared.attribute): value for declared, _, value in given}
    sections = {name: _filled(name, kind, values) for name, kind in SECTIONS.items()}
    faults = [result for result in [*results, *metrics] if isinstance(result, str)]
    faults += [*_wrong_datasets(sections["collect"], origins), *_wrong_hosts(sections["elasticsearch"], origins)]
    if faults:
        raise ConfigError("\n".join(faults))
    own = tuple(_filled("collect", kind, values) for kind in collectors)
    chosen = tuple(source for source in metrics if not isinstance(source, str))
    return Config(**sections, metrics=chosen, collectors=own, file=file, origins=origins)


def _filled(section: str, kind: Any, values: Mapping[tuple[str, str], Any]) -> Any:
    """An instance of ``kind`` with the ``values`` (by section and attribute) that it declares."""
    names = (declared.attribute for declared in options(section, kind))
    return kind(**{name: values[section, name] for name in names if (section, name) in values})


# An option with its origin and value, or a fault
_Result = tuple[Option, str, Any] | str


def _read_file(path: str | None) -> tuple[str, dict[str, Any]]:
    file = path or DEFAULT_FILE
    try:
        return file, tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is None:
            return "", {}
        raise ConfigError(f"{file}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {_syntax(str(error))}") from None


def _syntax(message: str) -> str:
    """``Invalid value (at line 1, column 5)`` → ``line 1, column 5: Invalid value``."""
    match = re.fullmatch(r"(.*) \(at (.*)\)", message, re.DOTALL)
    return f"{match[2]}: {match[1]}" if match else message


def _from_tables(file: str, content: Mapping[str, Any], known: Mapping[str, Option]) -> Iterable[_Result]:
    for section, entries in content.items():
        if section not in SECTIONS:
            yield f"{file}: {unknown('section', section, [*SECTIONS, sources.TABLE])}"
        elif not isinstance(entries, dict):
            yield f"{file}: {section}: must be a section: [{section}]"
        else:
            yield from (_from_table(file, section, key, value, known) for key, value in entries.items())


def _from_table(file: str, section: str, key: str, value: object, known: Mapping[str, Option]) -> _Result:
    declared = known.get(f"{section}.{key}")
    if declared is None:
        keys = [other.key for other in known.values() if other.section == section]
        return f"{file}: [{section}] {key}: {unknown('option', key, keys)}"
    return _taken(declared, file, f"{file}: [{section}] {key} = {brief(value)}", declared.kind.take, value)


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Option]) -> Iterable[_Result]:
    """A variable without a value counts as unset: units and manifests pass on what may be empty."""
    variables = {declared.variable: declared for declared in known.values()}
    for name, value in environ.items():
        if not value or not name.startswith(f"{PREFIX}_") or name in (*SECRET_VARIABLES, FILE_VARIABLE):
            continue
        declared = variables.get(name)
        if declared:
            origin = f"environment {name}"
            yield _taken(declared, origin, f"{origin}={brief(value)}", declared.kind.read, value)
        elif not _FOREIGN.search(name):
            yield f"environment: {unknown('variable', name, variables, listed=False)}"


def _from_flags(flags: Mapping[str, str], known: Mapping[str, Option]) -> Iterable[_Result]:
    for path, value in flags.items():
        declared = known[path]
        origin = f"flag {declared.flags[0]}"
        yield _taken(declared, origin, f"{origin} {brief(value)}", declared.kind.read, value)


def _taken(declared: Option, origin: str, place: str, take: Callable[[Any], Any], value: object) -> _Result:
    try:
        return declared, origin, take(value)
    except NotAllowed:
        return f"{place}: must be {declared.kind.allowed}"


def _wrong_hosts(elasticsearch: Elasticsearch, origins: Mapping[str, str]) -> Iterable[str]:
    """Elastic Cloud's managed bulk endpoint answers 201 for documents that are only enqueued, and drops metrics."""
    for host in elasticsearch.hosts:
        if host.rstrip("/").endswith(_ENQUEUES):
            yield (
                f"{origins['elasticsearch.hosts']}: elasticsearch.hosts: {host} only enqueues documents; "
                "use the address of Elasticsearch itself"
            )


def _wrong_datasets(collect: Collect, origins: Mapping[str, str]) -> Iterable[str]:
    for name in collect.datasets:
        if name not in DECLARED:
            yield f"{origins['collect.datasets']}: collect.datasets: {unknown('dataset', name, DECLARED)}"
