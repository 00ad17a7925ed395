"""``shipper top``: the whole cluster in a terminal, with data from Elasticsearch."""

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shipper.base.errors import ConfigError, UserError
from shipper.settings.config import Config
from shipper.view import times

if TYPE_CHECKING:
    from shipper.view.fleet import Seen

SECTIONS = ("elasticsearch", "index")
EXAMPLES = {
    "top": "now",
    "top --host node-3": "what runs on one host",
    "top --once --at -2h": "the hosts two hours ago, as text",
    "top --json | jq": "for programs",
}
_PATIENCE_S: Final = 10  # quitting waits for the pending request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="NAME", default="", help="start with this host")
    parser.add_argument(
        "--every", metavar="SECONDS", type=_seconds, default=5.0, help="seconds between refreshes (default 5)"
    )
    parser.add_argument("--once", action="store_true", help="print the table once, as when the output is no terminal")
    parser.add_argument(
        "--at", metavar="TIME", type=times.argument, help="with --once: this time, such as 02:10 or -2h; UTC"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a row, with the fields of the documents"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("must be from 0.1 to 3600 seconds")
    return value


def run(args: argparse.Namespace, config: Config) -> int:
    try:
        from shipper.view import top_screen
    except ImportError as missing:
        raise UserError(f"top needs {missing.name}: pip install 'metrics-shipper[view]'") from None
    from shipper.deliver import client
    from shipper.view import fleet
    from shipper.view.why import text

    once = args.once or args.json or not sys.stdout.isatty()
    if args.at is not None and not once:
        raise ConfigError("--at needs --once or --json; in the table the arrow keys go back in time")
    patient = replace(config.elasticsearch, timeout_s=min(config.elasticsearch.timeout_s, _PATIENCE_S))
    with client.connect(replace(config, elasticsearch=patient)) as connection:
        if once:
            index, host, at_ms = config.index, args.host, args.at
            show(fleet.cgroups(connection, index, host, at_ms) if host else fleet.hosts(connection, index, at_ms), args)
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


def show(seen: "Seen", args: argparse.Namespace) -> None:
    """Print the rows; what is said beside them goes to the standard error."""
    from shipper.view import top_table

    if args.json:
        print("".join(f"{json.dumps(row)}\n" for row in seen.rows), end="")
    else:
        print("\n".join(top_table.plain(seen, top_table.CGROUPS if args.host else top_table.HOSTS)))
    for said in filter(None, (top_table.silent(seen), top_table.future(seen))):
        print(f"shipper: {said}", file=sys.stderr)
