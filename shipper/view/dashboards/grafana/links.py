"""Links from one board to another, with the choices that mean the same there."""

from typing import Any

from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import PAGES, Board


def carried(board: Board, other: Board) -> str:
    """The data source and the choices of ``board`` that ``other`` has in the same form, as parameters of an URL."""
    shared = [variable.name for variable in board.variables if variable in other.variables and not variable.hidden]
    return "&".join(f"${{{name}:queryparam}}" for name in ["datasource", *shared])


def page(board: Board, field: str) -> dict[str, Any]:
    """A link from a cell to the board of its value, which keeps the time range and the choices that it shares."""
    uid, variable = PAGES[field]
    target = next(other for other in BOARDS if other.uid == uid)
    choice = f"var-{variable}=${{__value.text:percentencode}}"
    url = f"/d/{uid}?{choice}&{carried(board, target)}&${{__url_time_range}}"
    return {"title": "Show ${__value.text}", "url": url}
