"""``shipper forecast``: when filesystems, limits and tables of the kernel will be full, from stored documents."""

import argparse
import json
import time
from dataclasses import asdict

from shipper.base.text import escaped
from shipper.settings.config import Config
from shipper.view import times

SECTIONS = ("elasticsearch", "index")
EXAMPLES = {"forecast": "all hosts"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="NAME", default="", help="only this host and what runs on it")
    parser.add_argument(
        "--last",
        metavar="DURATION",
        type=times.length(6 * 3600, 366 * 86_400),
        default="7d",
        help="range from which the growth is computed (default 7d)",
    )
    parser.add_argument("--all", action="store_true", help="also print what does not grow")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.dashboards.model import HOST
    from shipper.view.msearch import msearch, term
    from shipper.view.why import forecast

    last_ms = round(time.time() * 1000)
    first_ms = last_ms - args.last
    filters = [term(HOST, args.host)] if args.host else []
    with client.connect(config) as connection:
        found = forecast.forecasts(msearch(connection, config.index, forecast.searches(first_ms, last_ms, filters)))
    shown = [one for one in found if args.all or one.outlook is not forecast.Outlook.NOT_GROWING]
    if args.json:
        print(json.dumps([asdict(one) for one in shown], indent=1, ensure_ascii=False))
        return 0
    for one in shown:
        print(escaped(forecast.line(one)))
    if not shown:
        print(f"nothing grows; checked: {len(found)}")
    return 0
