"""``shipper run``: the agent. It collects every period and ships to Elasticsearch, until TERM or INT."""

import argparse
import os
import signal
import sys

from shipper.base.errors import ConfigError
from shipper.settings.config import Config

DETAILS = (
    "TERM and INT send the remaining documents and stop; HUP (except at a terminal) and USR1 reload the configuration."
)
EXAMPLES = {
    "run": "with /etc/shipper/shipper.toml, if it exists",
    "run --elasticsearch-hosts https://es:9200 --elasticsearch-api-key-file /etc/shipper/api-key": "without a file",
    "run --period 1s --ticks 5": "five ticks, then stop",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.agent import inspection, process_memory
    from shipper.agent.loop import RELOAD, Agent, use_utc
    from shipper.agent.reload import connection_faults, reload
    from shipper.base import log, messages
    from shipper.deliver import client
    from shipper.deliver.bulk import FILTER_PATH

    process_memory.small_heap()
    use_utc()
    for number in RELOAD:
        signal.signal(number, signal.SIG_IGN)  # until a reload is possible; the restarted program inherits this
    if faults := list(connection_faults(config)):
        raise ConfigError("; ".join(map(str, faults)))
    link = client.Link(config, FILTER_PATH)
    try:
        out = log.Log()
        agent = Agent(config, link, out, link.ready, lambda: reload(lambda: load(args), config))
        out.line(messages.STARTED, purpose=purpose(config, agent.identity.name))
        inspection.start(config, agent.delivery.state, out)
        process_memory.settle()
        agent.run()
    finally:
        link.close()
    if agent.reload:
        restart()
    return 0


def purpose(config: Config, name: str) -> str:
    """What is shipped, to where, and how often."""
    from shipper import __version__
    from shipper.settings.options import shown_duration

    where, index = ", ".join(config.elasticsearch.hosts), config.index
    streams = "shipper-*" if index.layout == "dated" else f"metrics-shipper.*-{index.namespace}"
    every = shown_duration(config.collect.period_s)
    return (
        f"version {__version__} ships {' '.join(config.collect.datasets)} of host {name} every {every} "
        f"to {streams} at {where}; spool {config.spool.directory}"
    )


def load(args: argparse.Namespace) -> Config:
    """The configuration as it would be read now. Raises ConfigError."""
    from shipper.collect import OPTIONS
    from shipper.settings import config

    known = {option.path for option in config.all_options(OPTIONS)}
    flags = {key: value for key, value in vars(args).items() if key in known}
    return config.load(getattr(args, "config", None), os.environ, flags, OPTIONS)


def restart() -> None:
    """Restart this program in place: the same process and command line, with no state from before."""
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 – no shell
