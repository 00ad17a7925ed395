"""``shipper dashboards``: install the dashboards in Grafana or Kibana, or write them for an import by hand."""

import argparse
import os
from pathlib import Path

from shipper.base.errors import ConfigError, UserError
from shipper.settings.config import Config

SECTIONS = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["install", "export"],
        help="install: create the dashboards, or update those that differ; export: write files for Grafana's import",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--grafana",
        metavar="URL",
        help="install into Grafana, folder 'Shipper dashboards'; needs a token with the role Editor",
    )
    where.add_argument("--kibana", metavar="URL", help="install into Kibana, with their data view; needs an API key")
    where.add_argument(
        "--directory", metavar="DIR", type=Path, help="export: where to write one JSON file per dashboard"
    )
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="file that contains only the token or key")
    parser.add_argument(
        "--ca-file", metavar="FILE", type=Path, help="PEM file of the authority that signed the server's certificate"
    )
    parser.add_argument("--space", metavar="NAME", default="", help="Kibana: the space (default: the default space)")
    parser.add_argument(
        "--namespace", metavar="NAME", default="", help="Kibana: only data streams of this namespace (default all)"
    )


def run(args: argparse.Namespace, _config: Config) -> int:
    try:
        from shipper.view.dashboards import publish
    except ImportError as missing:
        raise UserError(f"installing dashboards needs {missing.name}, which the image on nodes does not have") from None
    if (args.action == "export") != bool(args.directory):
        raise ConfigError("install needs --grafana or --kibana; export needs --directory")
    if args.grafana and (args.space or args.namespace):
        raise ConfigError(
            "--space and --namespace apply to Kibana only; in Grafana the dashboard selects the namespace"
        )
    for file in (args.token_file, args.ca_file):
        if file and not os.access(file, os.R_OK):
            raise ConfigError(f"{file}: cannot be read")
    if args.directory:
        done = publish.export(args.directory)
    else:
        site = publish.Site(args.grafana or args.kibana, _authorization(args), str(args.ca_file or ""))
        done = publish.into_grafana(site) if args.grafana else publish.into_kibana(site, args.space, args.namespace)
    for line in done:
        print(line)
    return 0


def _authorization(args: argparse.Namespace) -> str:
    token = args.token_file.read_text(encoding="utf-8").strip() if args.token_file else ""
    return f"{'Bearer' if args.grafana else 'ApiKey'} {token}" if token else ""
