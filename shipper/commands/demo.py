"""``shipper demo``: ship this machine's metrics to an Elasticsearch on this machine and read them back by search."""

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from shipper.base.errors import UserError
from shipper.commands import report
from shipper.settings.config import Config

if TYPE_CHECKING:
    from shipper_eslocal import Cluster

SECTIONS = ("collect", "index", "host")
EXAMPLES = {"demo": "until Ctrl-C", "demo --ticks 5 --stop": "five ticks, then stop Elasticsearch, too"}
_PERIOD_S: Final = 2
_NAME: Final = "demo"
_NEXT: Final = 0.5  # seconds between searches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", metavar="FILE", default="report.html", help="where to write the final report (default report.html)"
    )
    parser.add_argument(
        "--stop", action="store_true", help="stop Elasticsearch at the end; without it Elasticsearch keeps running"
    )


def run(args: argparse.Namespace, config: Config) -> int:
    try:
        import shipper_eslocal

        from shipper.view.demo_screen import Screen
    except ImportError as missing:
        raise UserError(f"the demo needs {missing.name}: pip install 'metrics-shipper[view,local]'") from None

    try:
        es = shipper_eslocal.named(_NAME)
        print(f"Elasticsearch {es.version} is starting …", file=sys.stderr, flush=True)
        es.start()
    except shipper_eslocal.Error as error:
        raise UserError(str(error)) from None
    try:
        with tempfile.TemporaryDirectory(prefix="shipper-demo-") as spool:
            configured = _configured(config, es, spool)
            period_ms = configured.collect.period_s * 1000
            first_ms = round(time.time() * 1000) // period_ms * period_ms
            _ship(configured, Screen(), first_ms)
        print(
            f"\nThe dashboards as one page, for any browser: {_report(args.report, configured, first_ms)}", flush=True
        )
        _tell(es, config, stays=not args.stop)
    finally:
        if args.stop:
            es.stop()
    return 0


def _configured(config: Config, es: "Cluster", spool: str) -> Config:
    period_s = config.collect.period_s if "collect.period" in config.origins else _PERIOD_S
    return replace(
        config,
        elasticsearch=replace(config.elasticsearch, hosts=tuple(es.urls)),
        collect=replace(config.collect, period_s=period_s),
        spool=replace(config.spool, directory=spool),
    )


def _ship(config: Config, screen: Any, first_ms: int) -> None:
    from functools import partial

    from shipper.agent.loop import Agent, use_utc
    from shipper.base import log
    from shipper.deliver import client
    from shipper.deliver.bulk import FILTER_PATH
    from shipper.server import setup

    use_utc()
    with client.connect(config) as connection, client.connect(config) as reading:
        setup.install(connection, config, lambda _line: None)
        agent = Agent(config, partial(client.bulk, connection, filter_path=FILTER_PATH), log.Log(journal=False))
        done = threading.Event()
        watcher = threading.Thread(
            target=_watch, args=(reading, config, agent.identity.id, screen, done), kwargs={"first_ms": first_ms}
        )
        with screen:
            watcher.start()
            try:
                agent.run()
            finally:
                done.set()
                watcher.join()


def _watch(connection: Any, config: Config, host_id: str, screen: Any, done: threading.Event, *, first_ms: int) -> None:
    """Show each tick as soon as search finds it, and finally the last one; not those of earlier runs."""
    from shipper.base.errors import ServerError
    from shipper.base.tick_times import timestamp
    from shipper.deliver.client import call
    from shipper.view.last_tick import latest

    last = timestamp(first_ms - 1)
    ended = False
    while not ended:
        ended = done.wait(_NEXT)
        try:
            if ended:
                call(connection, "POST", "/metrics-shipper.*/_refresh")
            view = latest(connection, config.index, host_id)
        except ServerError:
            continue  # while a stream's first shard starts; the agent's own log reports a server that stays unreachable
        if view and view.tick > last:
            last = view.tick
            screen.show(view)


def _report(path: str, config: Config, first_ms: int) -> str:
    """Write the report from the first tick on. Returns its path."""
    return report.write(path, config, first_ms, round(time.time() * 1000))


def _tell(es: "Cluster", config: Config, *, stays: bool) -> None:
    from shipper.view.last_tick import questions

    if not stays:
        return
    print(f"\nElasticsearch keeps running at {es.url}. The same questions with curl:")
    for question, command in questions(es.url, config.index):
        print(f"\n# {question}\n{command}")
    print(f"\nStop it: {sys.executable} -m shipper_eslocal stop --name {_NAME}")
