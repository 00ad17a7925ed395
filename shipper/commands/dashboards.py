"""``shipper dashboards install``: install the dashboards in Grafana or Kibana."""

import argparse
import os
from pathlib import Path

from shipper.base.errors import ConfigError, UserError
from shipper.settings.config import Config

HELP = "install the dashboards in Grafana or Kibana"
SECTIONS = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["install"], help="create the dashboards, or update existing ones")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--grafana", metavar="URL", help="install into Grafana, folder Shipper; needs a service account's token"
    )
    where.add_argument("--kibana", metavar="URL", help="install into Kibana, with their data view; needs an API key")
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
    if args.grafana and (args.space or args.namespace):
        raise ConfigError(
            "--space and --namespace apply to Kibana only; in Grafana the dashboard selects the namespace"
        )
    for file in (args.token_file, args.ca_file):
        if file and not os.access(file, os.R_OK):
            raise ConfigError(f"{file}: cannot be read")
    token = args.token_file.read_text(encoding="utf-8").strip() if args.token_file else ""
    scheme = "Bearer" if args.grafana else "ApiKey"
    authorization = f"{scheme} {token}" if token else ""
    site = publish.Site(args.grafana or args.kibana, authorization, str(args.ca_file or ""))
    done = publish.into_grafana(site) if args.grafana else publish.into_kibana(site, args.space, args.namespace)
    for line in done:
        print(line)
    return 0
