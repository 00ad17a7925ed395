"""Run named Elasticsearch clusters on this machine. They run until they are stopped."""

import argparse
import re
import sys

from shipper_eslocal import install, manifest, state
from shipper_eslocal.cluster import Cluster, Spec
from shipper_eslocal.errors import Error


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    main = argparse.ArgumentParser(prog="python -m shipper_eslocal", description=sys.modules[__name__].__doc__)
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "start": "start a new or a stopped cluster",
        "stop": "stop a cluster and keep its data",
        "status": "print one line per cluster",
        "wipe": "stop a cluster and remove its data",
        "verify": "read all installed files and replace damaged ones",
    }
    subs = {name: commands.add_parser(name, help=text, description=text) for name, text in helps.items()}
    for name in ("start", "stop", "wipe"):
        subs[name].add_argument(
            "--name", default="default", type=_name, help="name of the cluster (default %(default)s)"
        )
    subs["status"].add_argument("--name", type=_name, help="only this cluster")
    for name in ("start", "verify"):
        subs[name].add_argument(
            "--version",
            choices=manifest.VERSIONS,
            help=f"version of Elasticsearch (default {manifest.DEFAULT_VERSION})",
        )
    subs["start"].add_argument("--nodes", type=int, help="number of nodes (default 1)")
    subs["start"].add_argument("--security", action="store_true", help="turn on TLS, passwords and API keys")
    subs["start"].add_argument("--port", type=int, help="HTTP port of the first node (default: a free one)")
    subs["start"].add_argument("--heap", help="Java heap of each node (default 512m)")
    return main


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and - only")
    return text


def start(arguments: argparse.Namespace) -> None:
    """Start a cluster and print its line."""
    cluster = state.find(arguments.name)
    if cluster is None:
        spec = Spec(arguments.name, arguments.version or manifest.DEFAULT_VERSION, arguments.security)
        spec.heap = arguments.heap or spec.heap
        cluster = state.make(spec, nodes=arguments.nodes or 1, port=arguments.port)
    else:
        _refuse_changes(cluster, arguments)
    cluster.start()
    print(_line(cluster))
    if cluster.ca_file:
        print(
            f"user {cluster.username}, password in {cluster.password_file}, certificate authority in {cluster.ca_file}"
        )


def stop(arguments: argparse.Namespace) -> None:
    """Stop a cluster."""
    _existing(arguments.name).stop()


def wipe(arguments: argparse.Namespace) -> None:
    """Stop a cluster and remove its data."""
    _existing(arguments.name).wipe()


def status(arguments: argparse.Namespace) -> None:
    """Print a line for each cluster."""
    names = (
        [arguments.name]
        if arguments.name
        else sorted(path.parent.name for path in state.directory().glob("*/cluster.json"))
    )
    for name in names:
        print(_line(_existing(name)))
    if not names:
        print("no clusters", file=sys.stderr)


def verify(arguments: argparse.Namespace) -> None:
    """Replace damaged files and name them."""
    version = arguments.version or manifest.DEFAULT_VERSION
    for path in install.verify(version):
        print(f"replaced {path}")
    print(f"{install.cache_dir() / version} is sound")


def _refuse_changes(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Raise Error for options that differ from those with which the cluster was created."""
    spec = cluster.spec
    have = {"version": spec.version, "nodes": len(cluster.nodes), "port": spec.ports[0], "heap": spec.heap}
    changed = [option for option, value in have.items() if getattr(arguments, option) not in (None, value)]
    if arguments.security and not spec.security:
        changed.append("security")
    if changed:
        raise Error(
            f"cluster {spec.name} was created with another --{changed[0]} ({have.get(changed[0], 'off')}); "
            f"wipe it first or choose another --name"
        )


def _existing(name: str) -> Cluster:
    cluster = state.find(name)
    if cluster is None:
        raise Error(f"no cluster {name} in {state.directory()}; run python -m shipper_eslocal start --name {name}")
    return cluster


def _line(cluster: Cluster) -> str:
    pids = ",".join(map(str, cluster.pids)) or "-"
    health = (cluster.health() or "no response") if cluster.pids else "stopped"
    security = "secured" if cluster.spec.security else "open"
    return f"{cluster.spec.name} {cluster.version} {cluster.url} pid {pids} {health} {security}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    commands = {"start": start, "stop": stop, "status": status, "wipe": wipe, "verify": verify}
    try:
        if arguments.command in ("start", "stop", "wipe"):
            lock = state.directory() / f"{arguments.name}.lock"
            with install.locked(lock, f"another command is using cluster {arguments.name}"):
                commands[arguments.command](arguments)
        else:
            commands[arguments.command](arguments)
    except Error as failure:
        print(f"eslocal: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
