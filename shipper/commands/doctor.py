"""``shipper doctor``: all that ``shipper check --online`` checks, and the mistakes that people make most."""

import argparse
import time
from collections.abc import Iterator

from shipper.base.errors import ConfigError, HostViewError, ServerError
from shipper.base.findings import Finding, Listing, note
from shipper.commands import check
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config

EXAMPLES = {
    "doctor": "this host and the way to the server",
    "doctor --all": "also what is in order",
    "doctor --json": "for programs",
}
_HOUR_S = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also print what is in order")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.agent import status
    from shipper.doctor import delivery, host

    listing = Listing(as_json=args.json, quiet=not args.all)
    directory = config.spool.directory
    own_mounts = Reader(Root()).read_once("proc/self/mountinfo") or b""
    codes = {
        listing.add(host.examine(Root(config.collect.host_root))) and 1,
        listing.add(delivery.spool(directory, own_mounts, config.spool.max_bytes, _per_hour(config))) and 1,
        listing.add(delivery.running(status.read(directory))) and 1,
        listing.add(delivery.servers(config)) and ServerError.exit_code,
        *check.examine(listing, config, server=True),
        listing.add(_on_the_server(config)) and ServerError.exit_code,
    }
    listing.end()
    return check.first(codes)


def _on_the_server(config: Config) -> Iterator[Finding]:
    from shipper.deliver import client
    from shipper.doctor import delivery

    try:
        with client.connect(config) as connection:
            yield from delivery.namespace(connection, config)
    except (ConfigError, ServerError):
        yield note("namespaces not checked: see above")


def _per_hour(config: Config) -> float:
    """Bytes of documents; 0 if the host cannot be seen."""
    from shipper.agent.loop import host
    from shipper.agent.self_metrics import Report, SelfMetrics
    from shipper.agent.tick import Ticker

    try:
        root, identity = host(config)
    except HostViewError:
        return 0
    ticker = Ticker(config, root, identity, SelfMetrics(None, None))
    ticker.prime()
    entries = ticker.tick(time.time_ns() // 1_000_000, Report(config.collect.period_s * 1000))
    return sum(len(entry.document) for entry in entries) * _HOUR_S / config.collect.period_s
