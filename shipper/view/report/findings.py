"""What the rules find in the range of a report: the alerts at its end, or why a host or container is slow."""

from dataclasses import replace

from shipper.base.errors import UserError
from shipper.deliver.client import Connection
from shipper.settings.config import Index
from shipper.view.alerts import output
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.check import check
from shipper.view.dashboards.model import ENTITY, HOST
from shipper.view.report.search import Filled
from shipper.view.why import explain, text

_MOST: int = 40  # lines
_FLEET = "shipper-overview"
_SINGLE = ("shipper-host", "shipper-container")


def added(connection: Connection, index: Index, filled: Filled) -> Filled:
    """``filled`` with findings, if its board is that of the fleet, or of one host or container. Raises ServerError."""
    page, when = filled.page, filled.when
    if page.board.uid == _FLEET and not page.chosen:
        found = list(output.lines(check(connection, index, when.last_ms, Adjustments())))
    elif page.board.uid in _SINGLE:
        (name,) = page.chosen.get(ENTITY) or page.chosen[HOST]
        try:
            found = list(text.lines(explain.explain(connection, index, name, when.first_ms, when.last_ms)))
        except UserError as error:
            found = [str(error)]
    else:
        return filled
    more = [f"and {len(found) - _MOST} more lines"] if len(found) > _MOST else []
    return replace(filled, findings=(*found[:_MOST], *more))
