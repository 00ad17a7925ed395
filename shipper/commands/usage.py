"""``shipper usage``: core-hours and GiB-hours per container, image, pod or label, from stored documents."""

import argparse
import csv
import json
import sys
import time
from dataclasses import asdict

from shipper.base.errors import ConfigError
from shipper.base.text import escaped
from shipper.settings.config import Config
from shipper.view import times

SECTIONS = ("elasticsearch", "index")
EXAMPLES = {
    "usage --by image --last 7d": "per image, in the last seven days",
    "usage --by label.team --csv": "per value of a label, for a spreadsheet",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by", metavar="KEY", default="container", help="container, name, image, pod, namespace, host or label.NAME"
    )
    parser.add_argument(
        "--last",
        metavar="DURATION",
        type=times.length(60, 366 * 86_400),
        default="7d",
        help="length of the range up to now (default 7d)",
    )
    parser.add_argument("--host", metavar="NAME", default="", help="only this host")
    parser.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.dashboards.model import HOST, BoardError
    from shipper.view.msearch import msearch, term
    from shipper.view.why import usage

    last_ms = round(time.time() * 1000)
    first_ms = last_ms - args.last
    try:
        by = usage.field(args.by)
    except BoardError as error:
        raise ConfigError(f"--by {error}") from None
    filters = [term(HOST, args.host)] if args.host else []
    with client.connect(config) as connection:
        found = usage.usage(list(msearch(connection, config.index, usage.searches(by, first_ms, last_ms, filters))))
    if args.json:
        print(json.dumps(asdict(found), indent=1, ensure_ascii=False))
        return 0
    rows = [*found.groups, found.unaccounted, found.idle, found.hosts]
    if args.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow([args.by, "core_hours", "gib_hours"])
        writer.writerows([one.group, f"{one.core_hours:.3f}", f"{one.gib_hours:.3f}"] for one in rows)
        return 0
    print(f"{'core-hours':>12} {'GiB-hours':>12}  {args.by}")
    for one in rows:
        print(f"{one.core_hours:>12,.1f} {one.gib_hours:>12,.1f}  {escaped(one.group)}")
    return 0
