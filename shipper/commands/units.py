"""``shipper units list|show|install|uninstall``: the files that run the shipper on hosts."""

import argparse
import difflib
import getpass
import json
import os
import re
import shutil
import sys
from pathlib import Path

from shipper.base.errors import ConfigError, UserError
from shipper.base.text import suggestion
from shipper.deploy import units
from shipper.schema import reference
from shipper.settings import config

SECTIONS = ()
EXAMPLES = {
    "units list": "the ways to deploy",
    "units install nspawn --dry-run": "show what would be written",
    "units uninstall nspawn": "remove the files of this way; keep configuration, key and spool",
    "units show kubernetes/shipper.yaml": "print one file",
}
_MARKS = ("Made by `shipper render`", "usage: shipper-nspawn")  # marks of files that may be replaced
_IMAGE = re.compile(r"[A-Za-z0-9/._:@-]+")  # goes unquoted into units, YAML and HCL
_PROGRAM = re.compile(r"/[A-Za-z0-9/._-]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="list the ways to deploy, their files, and where these go")
    listed.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="print one file")
    show.add_argument("file", metavar="FILE", help="as `shipper units list` names it")
    show.add_argument(
        "--json", action="store_true", help="print JSON: path below units/, path on a host, mode and text"
    )
    install = actions.add_parser("install", help="write the files of one way to this host; start nothing")
    uninstall = actions.add_parser("uninstall", help="remove the files of one way; keep configuration, key and spool")
    ways = ", ".join(way.name for way in units.WAYS if way.for_hosts)
    for subparser in (install, uninstall):
        subparser.add_argument("way", help=f"one of {ways}", metavar="WAY")
        subparser.add_argument(
            "--root", type=Path, default=Path("/"), metavar="DIR", help="the host's / (default %(default)s)"
        )
        subparser.add_argument("--dry-run", action="store_true", help="change nothing; show what would change")
    key = "file with the API key, to be copied to where the unit expects it; - reads the standard input"
    install.add_argument("--key-file", metavar="FILE", help=key)
    program = f"the shipper on the host, for ways without a container (default: this one, or {units.FACTS['program']})"
    install.add_argument("--program", metavar="PATH", help=program)
    for subparser in (show, install):
        subparser.add_argument(
            "--image",
            default=units.IMAGE,
            help="image that hosts run: FILE@sha256:HEX or a container engine's image name (default %(default)s)",
        )


def run(args: argparse.Namespace, _config: config.Config) -> int:
    if args.action == "list":
        list_ways(as_json=args.json)
        return 0
    if args.action == "show":
        show(_file(args.file), _image(args), as_json=args.json)
        return 0
    way = _way(args.way)
    if not args.root.is_dir():
        raise ConfigError(f"--root {args.root}: no such directory")
    if args.action == "uninstall":
        uninstall(args.root, way, dry_run=args.dry_run)
        return 0
    program = _program(args)
    for file in way.files:
        install(args.root, file.target, units.render(file, _image(args), program), file.mode, dry_run=args.dry_run)
    if not (args.root / config.DEFAULT_FILE.lstrip("/")).exists():  # the operator's file is never replaced
        install(args.root, config.DEFAULT_FILE, reference.sample(), 0o644, dry_run=args.dry_run)
    steps = [*_key_steps(args, way.key), *way.after]
    print("\n".join(f"then       {command}" for command in steps))
    return 0


def _image(args: argparse.Namespace) -> str:
    if not _IMAGE.fullmatch(args.image):
        raise ConfigError(f"--image {args.image!a}: must be letters, digits and / . _ : @ -")
    return str(args.image)


def _file(path: str) -> units.UnitFile:
    files = units.files()
    if path not in files:
        raise ConfigError(f"no file {path}{suggestion(path, files)} (shipper units list names them)")
    return files[path]


def _way(name: str) -> units.Way:
    """A way that installs files on a host. Raises ConfigError, with the steps for those that do not."""
    ways = {way.name: way for way in units.WAYS}
    if name not in ways:
        raise ConfigError(f"no way {name}{suggestion(name, ways)} (shipper units list names them)")
    way = ways[name]
    if not way.for_hosts:
        steps = [f"shipper units show {file.path} > {os.path.basename(file.path)}" for file in way.files]
        lines = [f"{name}: its files go to the cluster's own tools, not onto this host:", *steps, *way.after]
        raise ConfigError("\n  ".join(lines))
    return way


def _program(args: argparse.Namespace) -> str:
    """The path of the shipper on the host; what runs now, unless the files go to another root."""
    here = os.path.abspath(shutil.which(sys.argv[0]) or "")
    own = args.root == Path("/") and os.path.basename(here) in {"shipper", "metrics-shipper"}
    program = str(args.program or (here if own else units.FACTS["program"]))
    if not _PROGRAM.fullmatch(program):
        raise ConfigError(f"--program {program!a}: must be an absolute path of letters, digits and / . _ -")
    return program


def _key_steps(args: argparse.Namespace, key: str) -> list[str]:
    """Put the key where the unit expects it, from a file or the terminal; what is left to do about it."""
    path = args.root / key.lstrip("/")
    if path.exists() or (args.dry_run and args.key_file):
        return []
    if args.key_file:
        text = sys.stdin.read() if args.key_file == "-" else Path(args.key_file).read_text(encoding="utf-8")
    elif sys.stdin.isatty() and not args.dry_run:
        text = getpass.getpass(f"API key for {key} (empty: later): ")
    else:
        text = ""
    if not text.strip():
        return [f"write the API key into {key}, mode 0400: systemd does not start the service without it"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o400)) as file:
        file.write(text.strip() + "\n")
    print(f"wrote      {key}")
    return []


def show(file: units.UnitFile, image: str, *, as_json: bool) -> None:
    """Print one file."""
    text = units.render(file, image)
    if as_json:
        text = json.dumps({"path": file.path, "target": file.target, "mode": f"{file.mode:04o}", "text": text}) + "\n"
    print(text, end="")


def list_ways(*, as_json: bool) -> None:
    """Print the ways to deploy and their files."""
    if as_json:
        ways = [
            {"name": way.name, "help": way.help, "files": {file.path: file.target for file in way.files}}
            for way in units.WAYS
        ]
        print(json.dumps(ways))
        return
    for way in units.WAYS:
        print(f"{way.name:12}{way.help}")
        for file in way.files:
            print(f"            {file.path}{f'  →  {file.target}' if file.target else ''}")


def install(root: Path, target: str, text: str, mode: int, *, dry_run: bool) -> None:
    """Write one file atomically and report it; on a dry run show the difference instead."""
    path = root / target.lstrip("/")
    existing = _own_text(path, target)
    if existing == text and path.stat().st_mode & 0o777 == mode:
        print(f"unchanged  {target}")
        return
    if dry_run:
        print(f"would {'replace' if existing is not None else 'write'} {target}, mode {mode:04o}")
        lines = difflib.unified_diff((existing or "").splitlines(), text.splitlines(), target, target, lineterm="", n=1)
        print("\n".join(lines))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(mode)
    os.replace(partial, path)
    print(f"{'wrote' if existing is None else 'replaced':10} {target}")


def uninstall(root: Path, way: units.Way, *, dry_run: bool) -> None:
    """Remove the files of ``way``, unless systemd would still start it. Raises UserError."""
    enabled = sorted((root / "etc/systemd/system").glob(f"*.wants/{way.unit}"))
    if enabled:
        raise UserError(f"{way.unit} is enabled; first run systemctl disable --now {way.unit}")
    for file in way.files:
        path = root / file.target.lstrip("/")
        if _own_text(path, file.target) is None:
            print(f"absent     {file.target}")
        elif dry_run:
            print(f"would remove {file.target}")
        else:
            path.unlink()
            print(f"removed    {file.target}")
    state = [name for name in ("/etc/shipper", units.FACTS["state"]) if (root / name.lstrip("/")).exists()]
    print("\n".join([*(f"kept       {name}" for name in state), "then       systemctl daemon-reload"]))


def _own_text(path: Path, target: str) -> str | None:
    """The text of a file that we wrote; None if there is no file. Raises UserError for anybody else's."""
    existing = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    if path.is_symlink() or not (existing is None or any(mark in existing for mark in _MARKS)):
        raise UserError(f"{target}: exists and was not written by shipper; move it away first")
    return existing
