"""``shipper setup [--print|--create-key]``: what the server needs. Needs a user who may manage templates (or keys)."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shipper.config import Config

if TYPE_CHECKING:
    from shipper import install

HELP = "install or upgrade the index templates in Elasticsearch"
SECTIONS = ("elasticsearch", "index", "collect")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_ = "send nothing; show every request as Kibana's console takes it"
    parser.add_argument("--print", action="store_true", dest="show", help=help_)
    help_ = "then make an API key that may ship and nothing else, and print it: it is not kept anywhere"
    parser.add_argument("--create-key", action="store_true", help=help_)
    help_ = "instead, delete the indices per day that are older than index.retention_days (for a timer)"
    parser.add_argument("--delete-old", action="store_true", help=help_)


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper import client, install

    if args.show:
        for request in install.requests(config, with_key=args.create_key):
            show(request)
        return 0
    with client.connect(config) as connection:
        if args.delete_old:
            install.delete_old(connection, config, datetime.now(UTC).date(), print)
            return 0
        # The key alone goes to standard output: it can be sent into a file
        out = sys.stderr if args.create_key else sys.stdout
        install.install(connection, config, lambda line: print(line, file=out, flush=True))
        if args.create_key:
            print(install.create_key(connection, config))
    return 0


def show(request: "install.Request") -> None:
    note = f"# {request.note}\n" if request.note else ""
    body = f"\n{json.dumps(request.body, ensure_ascii=False)}" if request.body is not None else ""
    print(f"{note}{request.method} {request.path}{body}\n")
