"""``shipper status``: what the agent on this host does, read from its spool directory.

It answers three questions: liveness (without an option, for a probe that may restart the agent), readiness and health.
"""

import argparse
import json
import time
from typing import Any

from shipper.base.text import escaped
from shipper.settings.config import Config

SECTIONS = ("spool",)
DETAILS = "The exit status is 0 if the agent runs and makes ticks, even if the disk is full or the server is down."
EXAMPLES = {
    "status": "for people",
    "status --strict": "for monitoring: fails if anything is wrong",
    "status --json": "for programs",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--ready", action="store_true", help="exit status 0 only if the agent has made a tick, too")
    strict = (
        "exit status 0 only if the agent is healthy, too: disk and server accept documents; since the start no "
        "document was rejected or dropped, or sent by another host under the same name; the clock is right; no "
        "collector fails"
    )
    parser.add_argument("--strict", action="store_true", help=strict)


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.agent import status
    from shipper.deliver import spool

    directory = config.spool.directory
    running = spool.in_use(directory)
    content = status.read(directory)
    now_ms = time.time_ns() // 1_000_000
    live = running and not (content and status.is_late(content, now_ms))
    ready = live and status.is_ready(content)
    troubles = list(status.troubles(content)) if content else []
    if args.json:
        answers = {"running": running, "live": live, "ready": ready, "healthy": ready and not troubles}
        print(json.dumps({**answers, "troubles": troubles, **content}))
    else:
        show(directory, content, now_ms, running=running)
    good = ready and not troubles if args.strict else ready if args.ready else live
    return 0 if good else 1


def show(directory: str, content: dict[str, Any], now_ms: int, *, running: bool) -> None:
    """Print the status of a running agent, or what a stopped agent left."""
    from shipper.agent import status

    if running and content:
        for line in status.lines(content, now_ms):
            print(escaped(line))
    elif running:
        print(f"an agent runs on {directory} and has not completed its first tick")
    else:
        print(f"no agent runs on {directory}")
        if content:
            when = "when it was stopped" if content.get("stopped") else "when it was last seen"
            print(f"documents  {status.equation(content['documents'])}, {when}")
