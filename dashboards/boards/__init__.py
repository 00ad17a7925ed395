"""The six dashboards."""

from typing import Final

from dashboards.boards import container, containers, coreos, host, overview, shipper
from dashboards.model import Board, verify

BOARDS: Final[tuple[Board, ...]] = tuple(
    verify(module.BOARD) for module in (overview, host, containers, container, coreos, shipper)
)
