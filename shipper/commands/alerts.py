"""``shipper alerts check``: judge the alert rules against Elasticsearch."""

import argparse
import sys
import time
from datetime import UTC, datetime

from shipper.base.errors import UserError
from shipper.settings.config import Config

HELP = "judge the alert rules against Elasticsearch; exit status 0 ok, 1 warning, 2 critical, 3 unknown"
SECTIONS = ("elasticsearch", "index")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["check", "list"], help="check: judge all rules; list: print the rules")
    parser.add_argument("--at", metavar="TIME", type=_time, help="judge this time; UTC unless an offset is given")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--rules",
        metavar="FILE",
        help="adjusted bounds and muted entities (default /etc/shipper/alerts.toml, if it exists)",
    )


def _time(text: str) -> int:
    """Milliseconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a time such as 2026-11-23T02:00 or 2026-11-23T02:00+01:00") from None
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def run(args: argparse.Namespace, config: Config) -> int:
    if args.action == "list":
        return _list()
    return _check(args, config)


def _list() -> int:
    from shipper.view.alerts.rules import RULES

    for rule in RULES:
        print(f"{rule.name:<28} {rule.title}")
    return 0


def _check(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.alerts import adjust, output
    from shipper.view.alerts.check import check

    at_ms = round(time.time() * 1000) if args.at is None else args.at
    try:
        adjustments = adjust.load(args.rules)
        with client.connect(config) as connection:
            checked = check(connection, config.index, at_ms, adjustments)
    except UserError as error:
        print(f"UNKNOWN: {error}", file=sys.stderr)
        return output.UNKNOWN
    print(output.as_json(checked) if args.json else "\n".join(output.lines(checked)))
    return output.status(checked)
