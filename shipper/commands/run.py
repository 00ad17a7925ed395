"""``shipper run``: the agent. Collects every period, ships to Elasticsearch, until TERM, INT or HUP."""

import argparse

from shipper.config import Config

HELP = "collect every period and ship to Elasticsearch, until a signal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(args: argparse.Namespace, config: Config) -> int:
    from functools import partial

    from shipper import client, log
    from shipper.bulk import FILTER_PATH
    from shipper.pipeline import Pipeline, use_utc

    del args
    use_utc()
    with client.connect(config) as connection:
        Pipeline(config, partial(client.bulk, connection, filter_path=FILTER_PATH), log.Log()).run()
    return 0
