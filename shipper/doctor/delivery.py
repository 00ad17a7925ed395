"""Mistakes on the way of a document: the spool, names and proxies, the namespace, versions."""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from shipper import __version__
from shipper.agent import status
from shipper.base.findings import Finding, note, ok, wrong
from shipper.deliver import client, proxy
from shipper.kernel import mountinfo
from shipper.schema.stream_names import stream
from shipper.settings.config import Config

_VOLATILE: Final = {"tmpfs": "a boot", "ramfs": "a boot", "overlay": "the end of this container"}
_SLOW_S: Final = 1.0
_SHORT_H: Final = 6
_MIB: Final = 1 << 20


def spool(directory: str, own: bytes, max_bytes: int, per_hour: float) -> Iterator[Finding]:
    """Whether documents survive in ``directory``, and for how long. ``own``: proc/self/mountinfo."""
    held = [mount for mount in mountinfo.sound(own) if _holds(os.fsdecode(mount.point), directory)]
    kind = max(held, key=lambda mount: len(mount.point)).type if held else ""
    if kind in _VOLATILE:
        text = f"spool {directory}: {kind}, so {_VOLATILE[kind]} loses the documents that wait"
        yield wrong(text, "set spool.directory to a directory on a disk, or bind one of the host there")
    hours = max_bytes / per_hour if per_hour else 0
    if 0 < hours < _SHORT_H:
        text = (
            f"spool.max_bytes holds only {hours:.1f} hours of this host's documents ({per_hour / _MIB:.0f} MiB an hour)"
        )
        yield note(text, f"set spool.max_bytes to {max(1, round(24 * per_hour / _MIB))}MiB for a day")
    elif hours:
        yield ok(f"the spool holds {hours:.0f} hours of this host's documents")


def _holds(point: str, directory: str) -> bool:
    return directory == point or directory.startswith(point.rstrip("/") + "/")


def servers(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether the names of the servers, or of their proxies, can be resolved."""
    for server in config.elasticsearch.hosts:
        through = proxy.of(server, config.elasticsearch.proxy, environ)
        parts = urlsplit(through or server)
        if through:
            yield ok(f"{server} is asked through the proxy {parts.hostname}:{parts.port or 80}")
        yield from _name(parts.hostname or "")


def _name(name: str) -> Iterator[Finding]:
    began = time.monotonic()
    try:
        socket.getaddrinfo(name, None)
    except OSError as error:
        remedy = "correct elasticsearch.hosts; in a container, /etc/resolv.conf must be the host's"
        yield wrong(f"the name {name} cannot be resolved: {error.strerror}", remedy)
        return
    took_s = time.monotonic() - began
    if took_s > _SLOW_S:
        yield note(f"resolving {name} took {took_s:.1f} s", "resolvectl query, and the servers in /etc/resolv.conf")


def running(content: Mapping[str, Any]) -> Iterator[Finding]:
    """What the agent that runs here reports. ``content``: its status; empty without one."""
    if not content:
        return
    if content["version"] != __version__:
        text = f"the agent here is {content['version']}, this program {__version__}"
        yield note(text, "restart the agent: systemctl restart shipper.service")
    yield from (wrong(text, "shipper status") for text in status.troubles(content))


def namespace(connection: client.Connection, config: Config) -> Iterator[Finding]:
    """Whether documents arrive in another namespace only. Raises ServerError."""
    if config.index.layout == "dated":
        return
    prefix = stream("host", "")
    found = client.call(connection, "GET", f"/_resolve/index/{prefix}*") or {}
    others = [one["name"].removeprefix(prefix) for one in found.get("data_streams", ())]
    if others and config.index.namespace not in others:
        text = f"namespace {config.index.namespace} has no documents; those of {', '.join(others)} have"
        yield note(text, f"set index.namespace to {others[0]}, here and in the queries, unless it is new")
