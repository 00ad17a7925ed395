"""``shipper why``: which resource of a host, container or unit is short, and who uses it, from stored documents."""

import argparse
import json
import time
from typing import Final

from shipper.base.errors import ConfigError
from shipper.settings.config import Config
from shipper.view import times

SECTIONS = ("elasticsearch", "index")
_WHY_MS: Final = 1_800_000
_OOM_MS: Final = 86_400_000
EXAMPLES = {
    "why node-3": "now",
    "why node-3 --at 02:10": "at ten past two (UTC)",
    "why web-1@node-3 --last 2h": "one container",
    "why --oom": "the last kill for lack of memory",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="HOST|CONTAINER|UNIT", nargs="?", default="", help="such as node-3, web-1@node-3, nginx.service"
    )
    parser.add_argument("--oom", action="store_true", help="explain the newest OOM kills, of this name or of all")
    parser.add_argument(
        "--at",
        metavar="TIME",
        type=times.argument,
        help='end of the range: 02:10, -30m, "yesterday 14:00"; UTC (default now)',
    )
    parser.add_argument(
        "--last",
        metavar="DURATION",
        type=times.length(60, 31 * 86_400),
        help="length of the range (default 30m; with --oom a day)",
    )
    parser.add_argument(
        "--rules",
        metavar="FILE",
        help="also judge the host by the tables [[rule]] in this file (default /etc/shipper/alerts.toml, if it exists)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show-queries", action="store_true", help="also print the searches behind the numbers")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.alerts import adjust, check, own
    from shipper.view.msearch import printed
    from shipper.view.why import explain, oom, text

    if not args.name and not args.oom:
        raise ConfigError("name a host, container or unit, or use --oom (see shipper why --help)")
    last_ms = round(time.time() * 1000) if args.at is None else args.at
    first_ms = last_ms - (args.last or (_OOM_MS if args.oom else _WHY_MS))
    with client.connect(config) as connection:
        if args.oom:
            kills = oom.find(connection, config.index, first_ms, last_ms, args.name)
            shown = [line for kill in kills for line in oom.lines(kill)]
            print(json.dumps([oom.plain(kill) for kill in kills], indent=1) if args.json else "\n".join(shown))
            return 0
        adjustments = adjust.load(args.rules)
        made = explain.explain(connection, config.index, args.name, first_ms, last_ms)
        reached = check.of_host(connection, config.index, last_ms, adjustments, made.target.host)
    if args.json:
        told = {**text.plain(made), "own_rules": [own.line(alert) for alert in reached]}
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    print("\n".join([*text.lines(made), *map(own.line, reached)]))
    if args.show_queries:
        print("\n".join(printed(made.searches)))
    return 0
