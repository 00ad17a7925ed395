"""What is found in the range of a report: the alerts at its end, why a host or container is slow, what changed."""

from dataclasses import replace

from shipper.base.errors import UserError
from shipper.deliver.client import Connection
from shipper.settings.config import Index
from shipper.view.alerts import output
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.check import check
from shipper.view.compare import text as compare_text
from shipper.view.compare.compare import compare
from shipper.view.dashboards.model import ENTITY, HOST
from shipper.view.msearch import Asking
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
        name = _name(filled)
        try:
            found = list(text.lines(explain.explain(connection, index, name, when.first_ms, when.last_ms)))
        except UserError as error:
            found = [str(error)]
    else:
        return filled
    more = [f"and {len(found) - _MOST} more lines"] if len(found) > _MOST else []
    return replace(filled, findings=(*found[:_MOST], *more))


def compared(connection: Connection, index: Index, filled: Filled, at_ms: int | None) -> Filled:
    """``filled`` with a comparison around ``at_ms``, if its board is that of one host or container."""
    if at_ms is None or filled.page.board.uid not in _SINGLE:
        return filled
    when = filled.when
    try:
        made = compare(Asking(connection, index), _name(filled), when.last_ms, at_ms - when.first_ms, at_ms)
        found = tuple(compare_text.lines(made))
    except UserError as error:
        found = (str(error),)
    return replace(filled, comparison=found)


def _name(filled: Filled) -> str:
    """The one host or container of the page."""
    (name,) = filled.page.chosen.get(ENTITY) or filled.page.chosen[HOST]
    return name
