"""``shipper compare``: what a host, container, unit or image used before and after a change, from stored documents."""

import argparse
import json
import time

from shipper.settings.config import Config
from shipper.view import times

SECTIONS = ("elasticsearch", "index")
EXAMPLES = {
    "compare shop/web": "the newest change of this image",
    "compare node-3 --at 02:10": "a host, before and after ten past two (UTC)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="IMAGE|UNIT|HOST|CONTAINER", help="such as shop/web, nginx.service, node-3, web-1@node-3"
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        type=times.argument,
        help='time of the change: 02:10, -30m, "yesterday 14:00"; UTC (default: the newest new image, start or boot)',
    )
    parser.add_argument(
        "--last",
        metavar="DURATION",
        type=times.length(60, 31 * 86_400),
        default="1h",
        help="length of the time before and of the time after (default 1h, or less if the change is more recent)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show-queries", action="store_true", help="also print the searches behind the numbers")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.compare import text
    from shipper.view.compare.compare import compare
    from shipper.view.msearch import Asking, printed

    now_ms = round(time.time() * 1000)
    with client.connect(config) as connection:
        made = compare(Asking(connection, config.index), args.name, now_ms, args.last, args.at)
    if args.json:
        print(json.dumps(text.plain(made), indent=1, ensure_ascii=False))
        return 0
    print("\n".join(text.lines(made)))
    if args.show_queries:
        print("\n".join(printed(made.searches)))
    return 0
