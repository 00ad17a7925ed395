"""``shipper alerts``: judge the alert rules against Elasticsearch, or install them in Grafana or Kibana."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shipper.base.errors import ConfigError, UserError
from shipper.settings.config import Config
from shipper.view import times

if TYPE_CHECKING:
    from shipper.view.alerts.model import Rule

SECTIONS = ("elasticsearch", "index")
EXAMPLES = {
    "alerts check": "judge all rules now",
    "alerts check --at -2h --json": "two hours ago, for programs",
    "alerts check --watch --alertmanager http://127.0.0.1:9093": "repeat, and send to Alertmanager",
    "alerts install --grafana https://grafana.example --token-file token": "create the rules in Grafana",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["check", "list", "install"],
        help="check: judge all rules; list: print their names, with --json also thresholds; "
        "install: create them in Grafana or Kibana",
    )
    parser.add_argument(
        "--at", metavar="TIME", type=times.argument, help="judge the rules at this time, such as 02:10 or -2h; UTC"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--rules",
        metavar="FILE",
        help="adjusted thresholds and muted entities (default /etc/shipper/alerts.toml, if it exists)",
    )
    watch = parser.add_argument_group("watch")
    watch.add_argument("--watch", action="store_true", help="repeat the check until a signal; print what changes")
    watch.add_argument(
        "--every",
        metavar="DURATION",
        type=times.length(10, 3600),
        default="1m",
        help="time between checks (default 1m)",
    )
    watch.add_argument("--alertmanager", metavar="URL", help="send to this Prometheus Alertmanager")
    watch.add_argument(
        "--notify-file", metavar="FILE", type=Path, help="send to the apprise addresses in this file, one per line"
    )
    site = parser.add_argument_group("install")
    site.add_argument("--grafana", metavar="URL", help="install into Grafana, folder 'Shipper alerts'")
    site.add_argument("--kibana", metavar="URL", help="install into Kibana")
    site.add_argument("--space", metavar="NAME", default="", help="Kibana: the space (default: the default space)")
    access = parser.add_argument_group("Alertmanager, Grafana and Kibana")
    access.add_argument("--token-file", metavar="FILE", type=Path, help="file that contains only the token or key")
    access.add_argument(
        "--ca-file", metavar="FILE", type=Path, help="PEM file of the authority that signed the server's certificate"
    )


def run(args: argparse.Namespace, config: Config) -> int:
    if (args.alertmanager or args.notify_file) and not args.watch:
        raise ConfigError("--alertmanager and --notify-file need --watch")
    if args.watch and (args.at is not None or args.json):
        raise ConfigError("--watch judges the present and prints what changes; it takes neither --at nor --json")
    if (args.action == "install") != bool(args.grafana or args.kibana) or (args.grafana and args.kibana):
        raise ConfigError("install needs either --grafana or --kibana, which the other actions do not take")
    if args.action == "list":
        return _list(as_json=args.json)
    if args.action == "install":
        return _install(args, config)
    return _watch(args, config) if args.watch else _check(args, config)


def _list(*, as_json: bool) -> int:
    from shipper.view.alerts.rules import RULES

    if as_json:
        print(json.dumps([_described(rule) for rule in RULES], ensure_ascii=False))
        return 0
    for rule in RULES:
        print(f"{rule.name:<28} {rule.title}")
    return 0


def _described(rule: "Rule") -> dict[str, Any]:
    return {
        "name": rule.name,
        "title": rule.title,
        "dataset": rule.dataset,
        "field": rule.field,
        "unit": rule.unit,
        "window_s": rule.window_s,
        "per": list(rule.per),
        "warning": rule.steps.warning,
        "critical": rule.steps.bad,
        "notice": rule.notice,
        "means": rule.means,
        "what_to_do": rule.first,
    }


def _check(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.alerts import adjust, output
    from shipper.view.alerts.check import check

    at_ms = round(time.time() * 1000) if args.at is None else args.at
    try:
        adjustments = adjust.load(args.rules)
        with client.connect(config) as connection:
            checked = check(connection, config.index, at_ms, adjustments)
    except UserError as error:
        print(f"UNKNOWN: {error}", file=sys.stderr)
        return output.UNKNOWN
    print(output.as_json(checked) if args.json else "\n".join(output.lines(checked)))
    return output.status(checked)


def _watch(args: argparse.Namespace, config: Config) -> int:
    from shipper.deliver import client
    from shipper.view.alerts import adjust, gap, watch
    from shipper.view.alerts.check import check

    adjustments = adjust.load(args.rules)
    receivers = list(_receivers(args))
    with client.connect(config) as connection:
        watching = watch.Watch(
            lambda at_ms: check(connection, config.index, at_ms, adjustments),
            lambda host, last_ms, at_ms: gap.explain(connection, config.index, host, last_ms, at_ms),
        )
        while True:
            began = time.monotonic()
            one = watching.step(round(time.time() * 1000))
            print("".join(f"{line}\n" for line in watch.lines(one)), end="", flush=True)
            for tell in receivers:
                try:
                    tell(one)
                except UserError as error:  # the next round sends the alerts again
                    print(f"shipper: {error}", file=sys.stderr)
            time.sleep(max(0.0, args.every / 1000 - (time.monotonic() - began)))


def _install(args: argparse.Namespace, config: Config) -> int:
    from shipper.view.alerts import adjust, install

    adjustments = adjust.load(args.rules)
    if args.grafana:
        done = install.into_grafana(_site(args, args.grafana, "Bearer"), adjustments)
    else:
        site = _site(args, args.kibana, "ApiKey")
        done = install.into_kibana(site, adjustments, args.space, config.index.namespace)
    for line in done:
        print(line)
    return 0


def _receivers(args: argparse.Namespace) -> Iterator[Callable[[Any], None]]:
    from shipper.view.alerts import watch

    if args.alertmanager:
        yield watch.Alertmanager(_site(args, args.alertmanager, "Bearer"), args.every)
    if args.notify_file:
        try:
            from shipper.view.alerts import people
        except ImportError as missing:
            raise UserError(f"--notify-file needs {missing.name}: pip install 'metrics-shipper[notify]'") from None
        yield people.People(people.read(args.notify_file))


def _site(args: argparse.Namespace, url: str, scheme: str) -> Any:
    from shipper.view.dashboards import publish

    for file in (args.token_file, args.ca_file):
        if file and not os.access(file, os.R_OK):
            raise ConfigError(f"{file}: cannot be read")
    token = args.token_file.read_text(encoding="utf-8").strip() if args.token_file else ""
    return publish.Site(url, f"{scheme} {token}" if token else "", str(args.ca_file or ""))
