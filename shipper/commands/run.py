"""``shipper run``: the agent. Collects every period, ships to Elasticsearch, until TERM, INT or HUP."""

import argparse
import os
import signal
import sys

from shipper.config import Config
from shipper.errors import ConfigError

HELP = (
    "collect every period and ship to Elasticsearch, until a signal: TERM, INT and HUP send what is left and end it; "
    "USR1 reads the configuration anew"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper import client, inspection, log, memory
    from shipper.bulk import FILTER_PATH
    from shipper.pipeline import RELOAD, Pipeline, use_utc

    memory.one_arena()
    use_utc()
    signal.signal(RELOAD, signal.SIG_IGN)  # until there is something to reload; kept by the program that it becomes
    link = client.Link(config, FILTER_PATH)
    try:
        out = log.Log()
        pipeline = Pipeline(config, link, out, link.ready, lambda: unusable(args))
        inspection.start(config, pipeline.delivery.state, out)
        memory.settle()
        pipeline.run()
    finally:
        link.close()
    if pipeline.reload:
        restart()
    return 0


def unusable(args: argparse.Namespace) -> str:
    """Why the configuration as it stands now cannot be used; empty if it can."""
    from shipper import client, config

    known = {one.path for one in config.all_options()}
    try:
        found = config.load(
            getattr(args, "config", None), os.environ, {key: one for key, one in vars(args).items() if key in known}
        )
        client.connect(found).close()
    except ConfigError as error:
        return str(error)
    return ""


def restart() -> None:
    """Become the same program anew: same process, same command line, nothing left over from before."""
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 – no shell
