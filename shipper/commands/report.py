"""``shipper report``: write the dashboards of a time range as one HTML page, with data from Elasticsearch."""

import argparse
import os
import time
from collections.abc import Sequence
from typing import Final

from shipper.base.errors import ConfigError, UserError
from shipper.settings.config import Config
from shipper.view import times

SECTIONS = ("elasticsearch", "index")
EXAMPLES = {"report --last 6h": "the dashboards of the last six hours"}
BOARDS: Final = ("overview", "host", "containers", "container", "compare", "coreos", "agents")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last",
        metavar="DURATION",
        type=times.length(1, 366 * 86_400),
        default="1h",
        help="length of the range up to now, such as 90m or 7d (default 1h)",
    )
    parser.add_argument(
        "--from",
        dest="first",
        metavar="TIME",
        type=times.argument,
        help="start of the range, such as 02:10 or -2h; UTC",
    )
    parser.add_argument("--to", dest="end", metavar="TIME", type=times.argument, help="end of the range (default now)")
    parser.add_argument(
        "--around",
        metavar="TIME",
        type=times.argument,
        help="compare each --host and --container before and after this time; the range is --last to either side",
    )
    parser.add_argument(
        "--host", metavar="NAME", action="append", default=[], help="report on this host and what runs on it"
    )
    parser.add_argument(
        "--container", metavar="NAME@HOST", action="append", default=[], help="report on this container or service"
    )
    parser.add_argument(
        "--board",
        metavar="NAME",
        choices=BOARDS,
        action="append",
        default=[],
        help=f"this page only; one of {', '.join(BOARDS)}",
    )
    parser.add_argument("-o", "--output", metavar="FILE", default="report.html", help="default report.html")


def run(args: argparse.Namespace, config: Config) -> int:
    for kind in ("host", "container"):
        if kind in args.board and not getattr(args, kind):
            raise ConfigError(f"--board {kind} needs --{kind}")
    first_ms, last_ms = _range(args, round(time.time() * 1000))
    if first_ms >= last_ms:
        raise ConfigError("the time range ends before it begins")
    chosen = {"hosts": args.host, "entities": args.container, "boards": args.board}
    print(write(args.output, config, first_ms, last_ms, around_ms=args.around, **chosen))
    return 0


def _range(args: argparse.Namespace, now_ms: int) -> tuple[int, int]:
    if args.around is None:
        last_ms = now_ms if args.end is None else args.end
        return last_ms - args.last if args.first is None else args.first, last_ms
    if not args.host and not args.container:
        raise ConfigError("--around needs --host or --container")
    if args.first is not None or args.end is not None:
        raise ConfigError("--around takes --last, not --from and --to")
    return args.around - args.last, min(args.around + args.last, now_ms)


def write(
    path: str, config: Config, first_ms: int, last_ms: int, around_ms: int | None = None, **chosen: Sequence[str]
) -> str:
    """Write the page for what is ``chosen``, perhaps with a comparison around a time. Returns its absolute path."""
    try:
        from shipper.view import report
    except ImportError as missing:
        library = str(missing.name).partition(".")[0]
        raise UserError(f"report needs {library}: pip install 'metrics-shipper[view]'") from None
    from shipper.deliver import client

    with client.connect(config) as connection:
        page = report.make(connection, config.index, first_ms, last_ms, around_ms=around_ms, **chosen)
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)
    return os.path.abspath(path)
