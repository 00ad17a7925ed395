"""Which panels of which dashboards show a field, or select their documents by it."""

from collections.abc import Iterator

from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import Board, Panel, Stat


def fields(panel: Panel) -> set[str]:
    """Names of the fields that ``panel`` itself names; the variables of its board are not among them."""
    metrics = [*panel.metrics, *([panel.split.by] if panel.split and panel.split.by else [])]
    names = {metric.field for metric in metrics} | {metric.per for metric in metrics if metric.stat is Stat.TOTAL}
    names |= {test.field for metric in metrics for test in metric.where}
    names |= {panel.split.field} if panel.split else set()
    return (names | {test.field for test in panel.where}) - {""}


def panels(dataset: str, field: str) -> Iterator[tuple[Board, Panel]]:
    """The panels over documents of ``dataset`` that use ``field``."""
    for board in BOARDS:
        for panel in board.panels:
            if panel.dataset == dataset and field in fields(panel):
                yield board, panel
