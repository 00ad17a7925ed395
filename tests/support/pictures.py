"""Pictures of the dashboards, drawn by Grafana's components: ``.venv/bin/python tests/support/pictures.py DIR``.

The data is an hour of a simulated fleet in a real Elasticsearch, in which a host restarted and another one went silent.
``--of REVISION`` draws the dashboards of that commit, to compare them with today's.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from typing import Final

import shipper_eslocal
from fleetdocs import Fleet
from grafana_target import ALL, Page, committed
from grafanacode import Drawn, Grafana, grafana
from proof import Proven, loaded

from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import Board

IMAGES: Final = Path(__file__).parents[2] / "dashboards" / "images"
WIDTHS: Final = (1280, 1920)
THEMES: Final = ("light", "dark")
_TOP: Final = 900  # pixels


def simulated(hosts: int) -> Fleet:
    """An hour of a fleet, in which a service is deployed, the second host restarts, and the last one goes silent."""
    return Fleet(
        hosts=hosts, containers=9, ticks=120, period_s=30, reboots={1: 70}, gone={hosts - 1: 90}, deploys={"web": 60}
    )


def opened(data: Proven, board: Board, host: str = "node-000") -> Page:
    """The board with ``host`` or a container of it chosen where it takes one, else with all."""
    chosen = {"host": host, "container": f"web-1@{host}"}
    names = {variable.name: variable for variable in board.variables if variable.name in chosen}
    return data.page(board, **{name: ALL if one.multi else chosen[name] for name, one in names.items()})


def drawn(data: Proven, code: Grafana, page: Page, width: int, theme: str = "dark") -> Drawn:
    """The dashboard as it opens."""
    open_panels = [page.whole(one) for one in page.dashboard["panels"] if one["type"] not in ("row", "text")]
    return code.draw(page, data.responses(page, open_panels), width, theme)


def take(data: Proven, code: Grafana, boards: Iterable[Board], directory: Path) -> Iterator[Path]:
    """Whole boards, in each theme and width."""
    directory.mkdir(parents=True, exist_ok=True)
    for board in boards:
        page = opened(data, board)
        for width, theme in product(WIDTHS, THEMES):
            shown = drawn(data, code, page, width, theme)
            path = directory / f"{board.uid.removeprefix('shipper-')}-{width}-{theme}.png"
            code.picture(path, width, shown.height)
            yield path


def take_for_readme(data: Proven, code: Grafana) -> Iterator[Path]:
    """The top of each board, in turn light and dark."""
    for board, theme in zip(BOARDS, cycle(THEMES), strict=False):
        shown = drawn(data, code, opened(data, board), WIDTHS[0], theme)
        path = IMAGES / f"{board.uid.removeprefix('shipper-')}.png"
        code.picture(path, WIDTHS[0], min(shown.height, _TOP))
        yield path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where to write them; dashboards/images for those of its README")
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--of", default="", metavar="REVISION", help="a commit whose dashboards are drawn")
    parser.add_argument("--board", action="append", default=[], help="only this one, such as overview")
    args = parser.parse_args()
    wanted = [board for board in BOARDS if not args.board or board.uid.removeprefix("shipper-") in args.board]
    with shipper_eslocal.cluster(heap="512m") as cluster, grafana("13") as code:
        readme = args.directory.resolve() == IMAGES
        data = loaded(cluster, simulated(3 if readme else args.hosts))
        if args.of:
            then = {board.uid: found for board in wanted if (found := committed(args.of, board.uid))}
            wanted = [board for board in wanted if board.uid in then]
            data = replace(data, everywhere=True, grafana=then)  # panels that are gone have no dataset here
        for path in take_for_readme(data, code) if readme else take(data, code, wanted, args.directory):
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
