"""``shipper setup [--print]``: templates into the server. Needs a user who may manage templates; shipping does not."""

import argparse
import json
from typing import TYPE_CHECKING

from shipper.config import Config

if TYPE_CHECKING:
    from shipper import install

HELP = "install or upgrade the index templates in Elasticsearch"
SECTIONS = ("elasticsearch", "index", "collect")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_ = "send nothing; show every request as Kibana's console takes it"
    parser.add_argument("--print", action="store_true", dest="show", help=help_)


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper import client, install

    if args.show:
        for request in install.requests(config):
            show(request)
        return 0
    with client.connect(config) as connection:
        install.install(connection, config, lambda line: print(line, flush=True))
    return 0


def show(request: "install.Request") -> None:
    note = f"# {request.note}\n" if request.note else ""
    body = f"\n{json.dumps(request.body, ensure_ascii=False)}" if request.body is not None else ""
    print(f"{note}{request.method} {request.path}{body}\n")
