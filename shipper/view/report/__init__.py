"""The boards as one HTML page that needs only a browser: read from Elasticsearch, drawn by plotly."""

from collections.abc import Iterable, Sequence
from typing import Final

from shipper.deliver.client import Connection
from shipper.settings.config import Index
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import ENTITY, HOST, Board
from shipper.view.report import findings, page, search
from shipper.view.report.search import Chosen, Page

# Name on the command line → board
NAMES: Final[dict[str, Board]] = {board.uid.removeprefix("shipper-"): board for board in BOARDS}
_FLEET: Final = ("overview", "containers", "agents", "coreos")
_OF_HOSTS: Final = ("host", "containers")
_OF_CONTAINERS: Final = ("container",)


def make(
    connection: Connection,
    index: Index,
    first_ms: int,
    last_ms: int,
    *,
    hosts: Sequence[str] = (),
    entities: Sequence[str] = (),
    boards: Sequence[str] = (),
    around_ms: int | None = None,
) -> str:
    """The page as HTML, for a time range in ms. ``boards``: keys of NAMES; empty: those for ``hosts`` and ``entities``.

    ``around_ms``: the hosts and entities are compared before and after this time.

    Raises UserError if there is nothing to show, and ServerError.
    """
    chosen: Chosen = {HOST: tuple(hosts)} if hosts else {}
    when = search.span(connection, index, first_ms, last_ms, chosen)
    homes = {entity: search.host_of(connection, index, entity, first_ms, last_ms) for entity in entities}
    pages = [
        wanted_page
        for name in boards or _suiting(hosts, entities)
        for wanted_page in _pages(NAMES[name], hosts, homes, chosen)
    ]
    filled = (search.fill(connection, index, wanted_page, when) for wanted_page in pages)
    found = (findings.added(connection, index, one) for one in filled)
    return page.render([findings.compared(connection, index, one, around_ms) for one in found])


def _suiting(hosts: Sequence[str], entities: Sequence[str]) -> Sequence[str]:
    if not hosts and not entities:
        return _FLEET
    return (*(_OF_HOSTS if hosts else ()), *(_OF_CONTAINERS if entities else ()))


def _pages(board: Board, hosts: Iterable[str], homes: dict[str, str], chosen: Chosen) -> list[Page]:
    """The pages of ``board``: one per host or container if the board shows a single one."""
    if board is NAMES["host"]:
        return [Page(board, f"Host {host}", {HOST: (host,)}) for host in hosts]
    if board is NAMES["container"]:
        return [Page(board, entity, {ENTITY: (entity,), HOST: (host,)}) for entity, host in homes.items()]
    return [Page(board, board.title, chosen)]
