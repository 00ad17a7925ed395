"""The boards as one page that needs nothing but a browser: read from Elasticsearch, drawn by plotly."""

from collections.abc import Iterable, Sequence
from typing import Final

from shipper.deliver.client import Connection
from shipper.settings.config import Index
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import ENTITY, HOST, Board
from shipper.view.report import page, search
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
) -> str:
    """The page as HTML. ``boards``: by NAMES; none: what suits the choice of ``hosts`` and ``entities``.

    Raises UserError where there is nothing to show, ServerError.
    """
    chosen: Chosen = {HOST: tuple(hosts)} if hosts else {}
    when = search.span(connection, index, first_ms, last_ms, chosen)
    homes = {one: search.host_of(connection, index, one, first_ms, last_ms) for one in entities}
    pages = [one for name in boards or _suiting(hosts, entities) for one in _pages(NAMES[name], hosts, homes, chosen)]
    return page.render([search.fill(connection, index, one, when) for one in pages])


def _suiting(hosts: Sequence[str], entities: Sequence[str]) -> Sequence[str]:
    if not hosts and not entities:
        return _FLEET
    return (*(_OF_HOSTS if hosts else ()), *(_OF_CONTAINERS if entities else ()))


def _pages(board: Board, hosts: Iterable[str], homes: dict[str, str], chosen: Chosen) -> list[Page]:
    """Boards of one thing once for each."""
    if board is NAMES["host"]:
        return [Page(board, f"Host {host}", {HOST: (host,)}) for host in hosts]
    if board is NAMES["container"]:
        return [Page(board, entity, {ENTITY: (entity,), HOST: (host,)}) for entity, host in homes.items()]
    return [Page(board, board.title, chosen)]
