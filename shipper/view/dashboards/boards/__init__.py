"""The seven dashboards."""

from typing import Final

from shipper.view.dashboards.boards import compare, container, containers, coreos, host, overview, own_metrics, shipper
from shipper.view.dashboards.model import Board
from shipper.view.dashboards.verify import verify

BOARDS: Final[tuple[Board, ...]] = tuple(
    verify(module.BOARD) for module in (overview, host, containers, container, coreos, shipper, compare)
)

# Only Grafana's variables can name fields
EXPLORER: Final = verify(own_metrics.BOARD)
