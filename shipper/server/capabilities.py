"""What setup must know about a server before it changes anything: its version, its modules, and what it lacks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from shipper.base.errors import ServerError
from shipper.deliver.client import Connection, call
from shipper.schema.templates import Features
from shipper.settings.config import Index

_FORBIDDEN: Final = 403
_MODULE: Final = "data-streams"
_ILM: Final = "x-pack-ilm"
_DOWNSAMPLE: Final = frozenset({"x-pack-downsample", "x-pack-rollup"})  # the second before 8.11
_ILM_STAGES: Final = 2  # one in the warm phase, one in the cold
_OLDEST: Final = {"datastream": (8, 7), "dated": (7, 17)}  # time series without a preview mark; component templates
_LIFECYCLE_SINCE: Final = (8, 11)
_FAILURE_STORE_SINCE: Final = ((8, 19), (9, 1))  # except 9.0
_NAMES_SINCE: Final = (8, 13)  # 32,768 dimensions; 21 before, and longer values were rejected
_BEYOND_LIMIT_SINCE: Final = (8, 14)
_PAST_SINCE: Final = (9, 5)
PAST: Final = "data_stream.past_tsdb_index_creation_enabled"
_UNFIT: Final = (
    ((9, 4, 0), (9, 4, 3), "can store a document twice when it is resent", "9.4.4"),
    ((9, 5, 0), (9, 5, 2), "can lose documents while it answers 429", "9.5.3"),
)
DELETE_COMMAND: Final = "shipper setup --delete-old"
Say = Callable[[str], None]
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """An empty ``version``, or None for ``modules``, means that the credentials may not ask or the server does not
    report it.
    """

    version: str
    modules: frozenset[str] | None

    def is_older_than(self, version: Version) -> bool:
        return bool(self.version) and self.numbers < version

    @property
    def numbers(self) -> Version:
        return tuple(int(part) for part in self.version.partition("-")[0].split("."))

    @property
    def has_data_streams(self) -> bool:
        """Whether it has the module with the data stream API, its lifecycle and its time bounds."""
        return self.modules is None or _MODULE in self.modules

    @property
    def has_failure_store(self) -> bool:
        before, since = _FAILURE_STORE_SINCE
        return not self.version or before <= self.numbers < (9,) or self.numbers >= since

    @property
    def unfit(self) -> str:
        """Why this version should not be used for metrics; empty if it can be."""
        for first, last, fault, fixed in _UNFIT if self.version else ():
            if first <= self.numbers <= last:
                return f"{self} {fault}; upgrade to {fixed} or newer"
        return ""

    def __str__(self) -> str:
        return f"Elasticsearch {self.version or 'of unknown version (the credentials do not allow asking)'}"


def examine(client: Connection) -> Server:
    """Version and modules of the server. Raises ServerError."""
    try:
        nodes = call(client, "GET", "/_nodes/_local?filter_path=nodes.*.version,nodes.*.modules.name")["nodes"]
        (node,) = nodes.values()
        return Server(node["version"], frozenset(module["name"] for module in node["modules"]))
    except ServerError as error:
        if error.status != _FORBIDDEN:
            raise
    except (KeyError, TypeError, ValueError):
        return Server(call(client, "GET", "/")["version"]["number"], None)
    return Server("", None)


def require(server: Server, layout: str) -> None:
    """Raises ServerError for a server that is too old for ``layout``."""
    oldest = _OLDEST[layout]
    if server.is_older_than(oldest):
        raise ServerError(f"{server}: index.layout {layout} needs {'.'.join(map(str, oldest))} or newer")


def features(server: Server, layout: str) -> Features:
    """Which settings the templates may use on ``server``."""
    lifecycle = not server.is_older_than(_LIFECYCLE_SINCE)
    has_ilm = server.modules is None or _ILM in server.modules
    return Features(
        look_back=server.has_data_streams,
        routing_path=not server.has_data_streams,
        lifecycle=lifecycle,
        names=not server.is_older_than(_NAMES_SINCE),
        beyond_limit=not server.is_older_than(_BEYOND_LIMIT_SINCE),
        downsampling=server.modules is None or bool(server.modules & _DOWNSAMPLE),
        failure_store=server.has_failure_store,
        ilm=not lifecycle and layout == "datastream" and has_ilm,
    )


def left_out(server: Server, index: Index, features: Features) -> Iterator[str]:
    """A line for each configured thing that this server does not support."""
    days = index.retention_days
    if index.layout == "dated":
        if days:
            yield f"left out   lifecycle: dated indices have none; run daily: {DELETE_COMMAND}"
        return
    if not features.look_back:
        yield f"left out   index.look_back_time: the server has no module {_MODULE}"
    if features.ilm:
        if len(index.downsample) > _ILM_STAGES:
            yield f"left out   stages of index.downsample after the second: {server} downsamples in two phases"
    elif not features.lifecycle:
        yield f"left out   lifecycle: {server} has none; nothing deletes old documents"
    elif days and not server.has_data_streams:
        yield f"not kept   retention of {days} days: the server has no module {_MODULE}; nothing deletes old documents"
    elif server.version and not server.is_older_than(_PAST_SINCE):
        yield f"note       this server can store past documents in the time series: set {PAST} on the cluster"
    if index.downsample and not features.downsampling:
        yield "left out   downsampling: the server has no module for it"


# A word of the server's rejection → the feature and its new value. Order matters: a rejection of downsampling names
# the lifecycle, too
_REFUSALS: Final[dict[str, tuple[str, bool]]] = {
    "look_back_time": ("look_back", False),
    "data_stream_options": ("failure_store", False),
    "failure_store": ("failure_store", False),
    "beyond_limit": ("beyond_limit", False),
    "routing_path": ("routing_path", True),
    "downsampl": ("downsampling", False),
    "lifecycle": ("lifecycle", False),
}
_SAID: Final = {"downsampl": "downsampling", "data_stream_options": "failure_store"}


def without_refused(features: Features, refusal: str, say: Say) -> Features | None:
    """``features`` without what the server's answer names; None if it names nothing that can be left out."""
    for word, (feature, value) in _REFUSALS.items():
        if word in refusal and getattr(features, feature) != value:
            verb = "added     " if value else "left out  "
            say(f"{verb} {_SAID.get(word, word)}: the server {'asks for it' if value else 'rejects it'}")
            changes: dict[str, Any] = {feature: value}
            return replace(features, **changes)
    return None
