"""``shipper units list|show|install``: the files that run the shipper on hosts."""

import argparse
import difflib
import os
import re
from pathlib import Path

from shipper.base.errors import ConfigError, UserError
from shipper.deploy import units
from shipper.schema import reference
from shipper.settings import config

SECTIONS = ()
EXAMPLES = {
    "units list": "the ways to deploy",
    "units install nspawn --dry-run": "show what would be written",
    "units show kubernetes/shipper.yaml": "print one file",
}
_MARKS = ("Made by `shipper render`", "usage: shipper-nspawn")  # marks of files that may be replaced
_IMAGE = re.compile(r"[A-Za-z0-9/._:@-]+")  # goes unquoted into units, YAML and HCL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="list the ways to deploy, their files, and where these go")
    show = actions.add_parser("show", help="print one file")
    show.add_argument("file", choices=list(units.files()), metavar="FILE", help="as `shipper units list` names it")
    install = actions.add_parser("install", help="write the files of one way to this host; start nothing")
    ways = [way.name for way in units.WAYS if _is_for_hosts(way)]
    install.add_argument("way", choices=ways, help="one of %(choices)s", metavar="WAY")
    install.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="the host's / (default %(default)s)"
    )
    install.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    for subparser in (show, install):
        subparser.add_argument(
            "--image",
            default=units.IMAGE,
            help="image that hosts run: FILE@sha256:HEX or a container engine's image name (default %(default)s)",
        )


def run(args: argparse.Namespace, _config: config.Config) -> int:
    if args.action == "list":
        list_ways()
        return 0
    if not _IMAGE.fullmatch(args.image):
        raise ConfigError(f"--image {args.image!a}: must be letters, digits and / . _ : @ -")
    if args.action == "show":
        print(units.render(units.files()[args.file], args.image), end="")
        return 0
    way = next(way for way in units.WAYS if way.name == args.way)
    for file in way.files:
        install(args.root, file.target, units.render(file, args.image), file.mode, dry_run=args.dry_run)
    if not (args.root / config.DEFAULT_FILE.lstrip("/")).exists():  # the operator's file is never replaced
        install(args.root, config.DEFAULT_FILE, reference.sample(), 0o644, dry_run=args.dry_run)
    print("\n".join(f"then       {command}" for command in way.after))
    return 0


def _is_for_hosts(way: units.Way) -> bool:
    return all(file.target for file in way.files)


def list_ways() -> None:
    """Print the ways to deploy and their files."""
    for way in units.WAYS:
        print(f"{way.name:12}{way.help}")
        for file in way.files:
            print(f"            {file.path}{f'  →  {file.target}' if file.target else ''}")


def install(root: Path, target: str, text: str, mode: int, *, dry_run: bool) -> None:
    """Write one file atomically and report it; on a dry run show the difference instead."""
    path = root / target.lstrip("/")
    existing = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    if path.is_symlink() or not (existing is None or any(mark in existing for mark in _MARKS)):
        raise UserError(f"{target}: exists and was not written by shipper; move it away first")
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
