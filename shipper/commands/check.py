"""``shipper check [--online]``: can the host be seen, what is collected, can documents be stored and sent."""

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shipper.agent.problems import grouped
from shipper.agent.reload import connection_faults
from shipper.base.errors import ConfigError, HostViewError, ServerError, UserError
from shipper.base.findings import Finding, Listing, note, ok, wrong
from shipper.collect import COLLECTORS, plugins
from shipper.collect.contract import Collector
from shipper.fields import lean
from shipper.fields.rates import Reading
from shipper.kernel import hostview
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config

EXAMPLES = {
    "check": "this host, without the server",
    "check --online": "the server, too: version, clock, templates, privileges",
    "check --host-root /media/root": "as in a container that has the host's / there",
}
_MOST_NAMED = 12
# In the order in which run would fail
_FIRST = (ConfigError, HostViewError, ServerError, UserError)
_NAMED = {"disk": "disks", "filesystem": "filesystems", "network": "interfaces"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--online", action="store_true", help="check the server, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, config: Config) -> int:
    listing = Listing(as_json=args.json)
    codes = examine(listing, config, server=args.online)
    listing.end()
    return first(codes)


def examine(listing: Listing, config: Config, *, server: bool) -> set[int]:
    """List what is found. Returns the exit statuses that it gives rise to."""
    root = Root(config.collect.host_root)
    view = hostview.examine(root, config.host.name)
    return {
        listing.add(configuration(config)) and ConfigError.exit_code,
        listing.add(view.findings) and config.host.verify and HostViewError.exit_code,
        listing.add(found(root, config)) and 1,
        listing.add(spool(Path(config.spool.directory), config.spool.max_bytes)) and 1,
        server and listing.add(online(config)) and ServerError.exit_code,
    }


def first(codes: set[int]) -> int:
    """The exit status: of several problems, the one to solve first."""
    return next((error.exit_code for error in _FIRST if error.exit_code in codes), 0)


def configuration(config: Config) -> Iterator[Finding]:
    """Which file and options are used, and whether secrets and certificates are readable."""
    yield ok(f"configuration from {config.file or 'defaults; there is no file'}")
    for path, origin in sorted(config.origins.items()):
        if origin != config.file:
            yield ok(f"{path} from {origin}")
    faults = [str(fault) for fault in connection_faults(config)]
    yield from map(wrong, faults)
    if not faults:
        yield ok(f"secrets and certificates for {', '.join(config.elasticsearch.hosts)} are usable")


def found(root: Root, config: Config) -> Iterator[Finding]:
    """What the collectors find when each is called once."""
    config = replace(
        config, spool=replace(config.spool, directory="")
    )  # the position in the kernel's log belongs to the agent
    wanted = config.collect.datasets
    by_dataset: dict[str, list[Reading]] = {dataset: [] for dataset in wanted}
    if config.collect.detail == lean.LEAN:
        yield ok('documents leave out the fields marked "absent" in column lean of mappings/README.md (collect.detail)')
    yield from (wrong(f"collector {name}: {fault}") for name, fault in plugins.FAULTS.items())
    for collector in COLLECTORS:
        if not collector.outputs.keys() & by_dataset or not collector.used(config):
            continue
        readings, findings = attempt(collector, root, config)
        yield from findings
        for reading in readings:
            by_dataset.setdefault(reading.dataset, []).append(reading)
    for dataset, plural in _NAMED.items():
        if dataset in wanted:
            yield named(plural, [reading.entity for reading in by_dataset[dataset]])
    yield from cgroups(by_dataset.get("cgroup", []))


def attempt(collector: Collector, root: Root, config: Config) -> tuple[list[Reading], list[Finding]]:
    """Readings of one collector, called once, and findings about what it cannot read."""
    reader = Reader(root)
    try:
        readings = list(collector.start(reader, config)())
    except Exception as error:  # noqa: BLE001 – a broken collector is what this command is to find
        return [], [wrong(f"collector {collector.name}: {type(error).__name__}: {error}")]
    finally:
        reader.close()
    problems = [text for _, text in grouped(dict.fromkeys(reader.take_problems()))]
    absent = [f"{what}: {why}" for what, why in collector.absent(reader).items()]
    return readings, [note(text) for text in (*problems, *absent)]


def named(plural: str, entities: list[str]) -> Finding:
    """How many entities were found, and the names of the first."""
    listed = ", ".join(sorted(entities)[:_MOST_NAMED])
    more = f" and {len(entities) - _MOST_NAMED} more" if len(entities) > _MOST_NAMED else ""
    return ok(f"{plural}: {len(entities)} ({listed}{more})") if entities else note(f"no {plural}")


def cgroups(readings: list[Reading]) -> Iterator[Finding]:
    """How many cgroups of each kind were found."""
    kinds = Counter(str(reading.values.get("cgroup.kind")) for reading in readings)
    runtimes = Counter(str(reading.values.get("container.runtime", "")) for reading in readings)
    del runtimes[""]
    if kinds:
        yield ok("cgroups: " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()))
    if runtimes:
        yield ok("runtimes: " + ", ".join(f"{name} ({number})" for name, number in runtimes.most_common()))


def spool(directory: Path, most: int) -> Iterator[Finding]:
    """Whether ``directory`` can hold documents, and whether there is room for ``most`` bytes."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        yield wrong(f"spool {directory}: {existing} cannot be written to: {error.strerror}")
        return
    mib = 1 << 20
    free = shutil.disk_usage(existing).free
    state = "" if existing == directory else ", will be created"
    text = f"spool {directory}{state}: {free // mib} MiB free, uses up to {most // mib} MiB"
    yield note(text) if free < most else ok(text)


def online(config: Config) -> Iterator[Finding]:
    """Findings about the server, and about servers that do not answer. Raises ConfigError."""
    from shipper.deliver import client
    from shipper.server import checks as server

    hosts = config.elasticsearch.hosts
    try:
        silent = {host: why for host in hosts if len(hosts) > 1 and (why := silence(config, host))}
        answering = tuple(host for host in hosts if host not in silent)
        yield from (note(f"{why}; the other servers are used") for why in silent.values() if answering)
        reduced = replace(config.elasticsearch, hosts=answering or hosts)
        with client.connect(replace(config, elasticsearch=reduced)) as connection:
            yield from server.examine(connection, config)
    except ConfigError:
        yield note("server not checked: see above")
    except ServerError as error:
        yield wrong(str(error), "elasticsearch.hosts must name a server that runs; curl shows what it answers")


def silence(config: Config, host: str) -> str:
    """Why one of several servers does not answer; empty if it answers, even with a rejection. Raises ConfigError."""
    from shipper.deliver import client

    alone = replace(config, elasticsearch=replace(config.elasticsearch, hosts=(host,)))
    try:
        with client.connect(alone) as connection:
            client.call(connection, "GET", "/")
    except ServerError as error:
        return "" if error.status else str(error)
    return ""
