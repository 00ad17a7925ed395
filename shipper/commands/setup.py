"""``shipper setup``: create or remove what the server needs: templates, data streams, roles, keys."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shipper.base.errors import ConfigError, UserError
from shipper.settings.config import Config

if TYPE_CHECKING:
    from shipper.deliver import client
    from shipper.server import plan, setup

SECTIONS = ("elasticsearch", "index", "collect")
EXAMPLES = {
    "setup --dry-run": "show what would change on the server",
    "setup": "create or update templates and data streams",
    "setup --create-key > /etc/shipper/api-key": "a key that may only create documents",
    "setup --remove": "remove the templates, policies and keys; keep the documents",
}
_FLAGS = {
    "--print": ("show", "send nothing; print every request in the format of Kibana's console"),
    "--dry-run": ("dry_run", "change nothing; show what would change on the server"),
    "--yes": ("yes", "overwrite differing values on the server, and remove, without asking"),
    "--rollover": ("rollover", "roll over data streams where a change needs a new backing index"),
    "--create-key": (
        "create_key",
        "only create an API key that can ship documents and nothing else, and print it; the key is not stored",
    ),
    "--create-roles": ("create_roles", "only create the roles shipper_setup, shipper_agent and shipper_reader"),
    "--delete-old": ("delete_old", "only delete the dated indices that are older than index.retention_days"),
    "--remove": ("remove", "only remove the templates, policies and keys of this namespace"),
    "--data": ("data", "with --remove: its data streams or indices too, with all documents"),
}
_ALONE = ("--create-key", "--create-roles", "--delete-old", "--remove")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for flag, (name, help_) in _FLAGS.items():
        parser.add_argument(flag, action="store_true", dest=name, help=help_)


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.server import keys, setup

    _refuse_combinations(args)
    if args.show:
        for request in [*setup.requests(config), *keys.requests(config, with_key=args.create_key)]:
            show(request)
        return 0
    with client.connect(config) as connection:
        if args.delete_old:
            setup.delete_old(connection, config, datetime.now(UTC).date(), say)
        elif args.create_roles:
            setup.take(connection, keys.role_steps(connection), say, agree(args))
        elif args.create_key:
            print(keys.create_key(connection, config))
        elif args.remove:
            _remove(connection, config, args)
        elif args.dry_run:
            setup.dry_run(connection, config, say, rollover=args.rollover)
        else:
            setup.install(connection, config, say, consent=agree(args), rollover=args.rollover)
    return 0


def _refuse_combinations(args: argparse.Namespace) -> None:
    """Raises ConfigError for contradicting flags."""
    alone = [flag for flag in _ALONE if getattr(args, _FLAGS[flag][0])]
    if len(alone) > 1:
        raise ConfigError(f"{alone[0]} and {alone[1]}: use only one of them")
    if args.data and not args.remove:
        raise ConfigError("--data needs --remove")
    if alone and (args.dry_run or args.rollover):
        raise ConfigError(f"{alone[0]} cannot be combined with --dry-run or --rollover")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def agree(args: argparse.Namespace) -> "setup.Consent":
    """A function that asks for consent on the terminal; with --yes it agrees."""

    def ask(changes: Sequence[str]) -> bool:
        say("The server's values differ from this configuration:")
        for line in changes:
            say(f"    {line}")
        return args.yes or confirmed("Overwrite them? Type yes: ", "yes")

    return ask


def confirmed(question: str, answer: str) -> bool:
    """Whether the user types ``answer``. Raises UserError without a terminal."""
    if not sys.stdin.isatty():
        raise UserError("nothing was changed: there is no terminal to ask on; use --yes")
    return input(question).strip() == answer


def _remove(connection: "client.Connection", config: Config, args: argparse.Namespace) -> None:
    from shipper.server import removal

    if args.data and not args.yes:
        names = removal.data(connection, config)
        say(f"These will be deleted with all their documents: {', '.join(names) or 'none'}")
        namespace = "dated" if config.index.layout == "dated" else config.index.namespace
        sure = confirmed("Delete them? Type yes: ", "yes") and confirmed(f"Type {namespace} to confirm: ", namespace)
    else:
        sure = args.yes or confirmed("Remove templates, policies and keys? Type yes: ", "yes")
    if not sure:
        raise UserError("nothing was removed")
    removal.remove(connection, config, say, with_data=args.data)


def show(request: "plan.Request") -> None:
    """Print a request in the format of Kibana's console."""
    note = f"# {request.note}\n" if request.note else ""
    body = f"\n{json.dumps(request.body, ensure_ascii=False)}" if request.body is not None else ""
    print(f"{note}{request.method} {request.path}{body}\n")
