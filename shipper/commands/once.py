"""``shipper once``: one pair of reads, the documents to standard output; no server, no spool."""

import argparse
import sys
import time
from dataclasses import replace

from shipper.config import Config

HELP = "read twice, one period apart, and print the documents"
SECTIONS = ("collect", "host")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from shipper.registry import DATASETS

    parser.add_argument("--dataset", choices=list(DATASETS), help="only documents of this dataset")


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.agent import Agent, Report
    from shipper.pipeline import host
    from shipper.tick import Ticker

    if args.dataset:
        config = replace(config, collect=replace(config.collect, datasets=(args.dataset,)))
    ticker = Ticker(config, *host(config), Agent(None, None))
    ticker.prime()
    time.sleep(config.collect.period_s)
    now_ms = time.time_ns() // 1_000_000
    report = Report(period_ms=config.collect.period_s * 1000, ticks=1)
    for entry in ticker.tick(now_ms, report):
        sys.stdout.buffer.write(entry.document + b"\n")
    for name, error in report.failed.items():
        print(f"shipper: collector {name} failed: {error}", file=sys.stderr)
    return 0
