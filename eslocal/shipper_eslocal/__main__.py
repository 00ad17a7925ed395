"""Command line: named clusters that stay until they are stopped."""

import argparse
import re
import sys

from shipper_eslocal import install, manifest, state
from shipper_eslocal.cluster import Cluster, Spec
from shipper_eslocal.errors import Error


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m shipper_eslocal", description=sys.modules[__name__].__doc__)
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "start": "start a cluster, a new one or one that was stopped",
        "stop": "stop it; its data stays",
        "status": "one line per cluster",
        "wipe": "stop it and remove its data",
        "verify": "read all installed files, replace damaged ones",
    }
    subs = {name: commands.add_parser(name, help=text, description=text) for name, text in helps.items()}
    for name in ("start", "stop", "wipe"):
        subs[name].add_argument("--name", default="default", type=_name, help="which cluster (%(default)s)")
    subs["status"].add_argument("--name", type=_name, help="only this cluster")
    for name in ("start", "verify"):
        subs[name].add_argument("--version", choices=manifest.VERSIONS, help=f"({manifest.DEFAULT_VERSION})")
    subs["start"].add_argument("--nodes", type=int, help="how many (1)")
    subs["start"].add_argument("--security", action="store_true", help="TLS, passwords, API keys")
    subs["start"].add_argument("--port", type=int, help="HTTP port of the first node (a free one)")
    subs["start"].add_argument("--heap", help="Java heap of each node (512m)")
    return main


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and - only")
    return text


def start(arguments: argparse.Namespace) -> None:
    found = state.find(arguments.name)
    if found is None:
        spec = Spec(arguments.name, arguments.version or manifest.DEFAULT_VERSION, arguments.security)
        spec.heap = arguments.heap or spec.heap
        found = state.make(spec, nodes=arguments.nodes or 1, port=arguments.port)
    else:
        _refuse_changes(found, arguments)
    found.start()
    print(f"{_line(found)}")
    if found.ca_file:
        print(f"user {found.username}, password in {found.password_file}, certificate authority in {found.ca_file}")


def stop(arguments: argparse.Namespace) -> None:
    _existing(arguments.name).stop()


def wipe(arguments: argparse.Namespace) -> None:
    _existing(arguments.name).wipe()


def status(arguments: argparse.Namespace) -> None:
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
    version = arguments.version or manifest.DEFAULT_VERSION
    for path in install.verify(version):
        print(f"replaced {path}")
    print(f"{install.cache_dir() / version} is sound")


def _refuse_changes(found: Cluster, arguments: argparse.Namespace) -> None:
    """Refuse options that differ from those the cluster was made with, rather than to ignore them."""
    spec = found.spec
    have = {"version": spec.version, "nodes": len(found.nodes), "port": spec.ports[0], "heap": spec.heap}
    changed = [option for option, value in have.items() if getattr(arguments, option) not in (None, value)]
    if arguments.security and not spec.security:
        changed.append("security")
    if changed:
        raise Error(
            f"cluster {spec.name} was made with another --{changed[0]} ({have.get(changed[0], 'off')}): "
            f"wipe it first or choose another --name"
        )


def _existing(name: str) -> Cluster:
    found = state.find(name)
    if found is None:
        raise Error(f"no cluster {name} in {state.directory()}: python -m shipper_eslocal start --name {name}")
    return found


def _line(found: Cluster) -> str:
    pids = ",".join(map(str, found.pids)) or "-"
    health = (found.health() or "no answer") if found.pids else "stopped"
    security = "secured" if found.spec.security else "open"
    return f"{found.spec.name} {found.version} {found.url} pid {pids} {health} {security}"


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    commands = {"start": start, "stop": stop, "status": status, "wipe": wipe, "verify": verify}
    try:
        if arguments.command in ("start", "stop", "wipe"):
            lock = state.directory() / f"{arguments.name}.lock"
            with install.locked(lock, f"another command is at work on cluster {arguments.name}"):
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
