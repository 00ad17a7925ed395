"""``shipper status``: what the agent on this host does, read from its spool directory."""

import argparse
import json
import time

from shipper.config import Config

HELP = "show the running agent: where every document ended, delivery, last tick, collectors in trouble"
SECTIONS = ("spool",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as the agent wrote it")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper import spool, status

    directory = config.spool.directory
    running = spool.in_use(directory)
    content = status.read(directory)
    if args.json:
        print(json.dumps({"running": running, **content}))
        return 0 if running else 1
    now_ms = time.time_ns() // 1_000_000
    if not running:
        print(f"no agent runs on {directory}")
        if content:
            print(f"documents  {status.equation(content['documents'])}, at the last tick")
        return 1
    if not content:
        print(f"an agent runs on {directory} and has not made its first tick")
        return 0
    for line in status.lines(content, now_ms):
        print("".join(one if one.isprintable() else ascii(one)[1:-1] for one in line))
    return 1 if status.is_late(content, now_ms) else 0
