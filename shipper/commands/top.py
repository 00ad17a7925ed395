"""``shipper top``: the whole cluster in a terminal, with data from Elasticsearch."""

import argparse
import sys
from dataclasses import replace
from typing import Final

from shipper.base.errors import UserError
from shipper.settings.config import Config

HELP = "show all hosts and what runs on them, now or at an earlier time, from Elasticsearch"
SECTIONS = ("elasticsearch", "index")
_PATIENCE_S: Final = 10  # quitting waits for the pending request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="NAME", default="", help="start with this host")
    parser.add_argument(
        "--every", metavar="SECONDS", type=_seconds, default=5.0, help="seconds between refreshes (default 5)"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("must be from 0.1 to 3600 seconds")
    return value


def run(args: argparse.Namespace, config: Config) -> int:
    try:
        from shipper.view import top_screen, top_table
    except ImportError as missing:
        raise UserError(f"top needs {missing.name}: pip install 'metrics-shipper[view]'") from None
    from shipper.deliver import client
    from shipper.view import fleet
    from shipper.view.why import text

    patient = replace(config.elasticsearch, timeout_s=min(config.elasticsearch.timeout_s, _PATIENCE_S))
    with client.connect(replace(config, elasticsearch=patient)) as connection:
        if not sys.stdout.isatty():
            index, host = config.index, args.host
            seen = fleet.cgroups(connection, index, host) if host else fleet.hosts(connection, index)
            print("\n".join(top_table.plain(seen, top_table.CGROUPS if host else top_table.HOSTS)))
            for said in filter(None, (top_table.silent(seen), top_table.future(seen))):
                print(f"shipper: {said}", file=sys.stderr)
            return 0
        app = top_screen.Top(
            lambda at_ms: fleet.hosts(connection, config.index, at_ms),
            lambda host, at_ms: fleet.cgroups(connection, config.index, host, at_ms),
            lambda name, at_ms: text.half_hour(connection, config.index, name, at_ms),
            every_s=args.every,
        )
        app.host = args.host
        app.run()
        return app.return_code or 0
