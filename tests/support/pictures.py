"""Pictures of the dashboards, drawn by Grafana's components: ``.venv/bin/python tests/support/pictures.py DIR``.

The data are an hour of a simulated fleet in a real Elasticsearch: a host of it restarted, another one went silent.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import shipper_eslocal
from fleetdocs import Fleet
from grafana_target import ALL, Page
from grafanacode import Drawn, Grafana, grafana
from proof import Proven, Troubled, loaded

from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import Board

WIDTHS: Final = (1280, 1920)
THEMES: Final = ("light", "dark")


def simulated(hosts: int) -> Fleet:
    """An hour of a fleet, in which the second host restarts and the last one goes silent."""
    return Troubled(hosts=hosts, containers=9, ticks=120, period_s=30, reboots={1: 70}, gone={hosts - 1: 90})


def opened(data: Proven, board: Board, host: str = "node-000") -> Page:
    """The board with ``host`` or a container of it chosen where it takes one, else with all."""
    chosen = {"host": host, "container": f"web-1@{host}"}
    names = {variable.name: variable for variable in board.variables if variable.name in chosen}
    return data.page(board, **{name: ALL if one.multi else chosen[name] for name, one in names.items()})


def drawn(data: Proven, code: Grafana, page: Page, width: int, theme: str = "dark") -> Drawn:
    """The dashboard as it opens."""
    found: dict[str, Any] = {}
    for panel in page.dashboard["panels"]:
        if panel["type"] not in ("row", "text"):
            found[panel["title"]] = data.cluster.request("POST", "/_msearch", page.msearch(panel))["responses"]
    return code.draw(page, found, width, theme)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--board", action="append", default=[], help="only this one, such as overview")
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    wanted = [board for board in BOARDS if not args.board or board.uid.removeprefix("shipper-") in args.board]
    with (
        tempfile.TemporaryDirectory() as scratch,
        shipper_eslocal.cluster(heap="512m") as cluster,
        grafana("13", Path(scratch)) as code,
    ):
        data = loaded(cluster, simulated(args.hosts))
        for board in wanted:
            page = opened(data, board)
            for width in WIDTHS:
                for theme in THEMES:
                    shown = drawn(data, code, page, width, theme)
                    path = args.directory / f"{board.uid.removeprefix('shipper-')}-{width}-{theme}.png"
                    code.picture(path, width, shown.height)
                    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
