"""Whether documents of the time in which a host was silent are missing, after its documents arrive again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shipper.deliver.client import Connection
from shipper.deliver.document import flat
from shipper.settings.config import Index
from shipper.view.dashboards.model import HOST, TIME
from shipper.view.msearch import msearch
from shipper.view.unit_formats import shown

_PERIODS: Final = 2.5  # documents closer together than this leave no gap
_LEDGER: Final = "agent.ledger"
_SINCE: Final = f"{_LEDGER}.since"
_FIELDS: Final = [TIME, "agent.period.ms", f"{_LEDGER}.*"]


def explain(connection: Connection, index: Index, host: str, last_ms: int, at_ms: int) -> str:
    """What ``host`` collected after ``last_ms``, and whether any of that is missing; empty if no document has arrived.

    The ledger of the host counts the documents: collected, stored, waiting, rejected or dropped. Raises ServerError.
    """
    mine = {"term": {HOST: host}}
    before = _one(mine, {"lte": last_ms}, "desc")
    first = _one(mine, {"gt": last_ms, "lte": at_ms}, "asc")
    newest = _one(mine, {"gt": last_ms, "lte": at_ms}, "desc")
    found = [
        _document(answer)
        for answer in msearch(connection, index, [("agent", body) for body in (before, first, newest)])
    ]
    return _told(found) if all(found) else ""


def _one(mine: Mapping[str, Any], span: Mapping[str, int], order: str) -> dict[str, Any]:
    within = {"range": {TIME: {**span, "format": "epoch_millis"}}}
    fields = [{"field": TIME, "format": "epoch_millis"}]
    return {
        "size": 1,
        "query": {"bool": {"filter": [mine, within]}},
        "sort": [{TIME: order}],
        "_source": _FIELDS,
        "fields": fields,
    }


def _document(answer: Mapping[str, Any]) -> dict[str, Any]:
    for hit in answer["hits"]["hits"]:
        return flat(hit["_source"]) | {TIME: int(hit["fields"][TIME][0])}
    return {}


def _told(found: Sequence[Mapping[str, Any]]) -> str:
    before, first, newest = found
    gap_ms = first[TIME] - before[TIME]
    lost = _grown(before, newest, "dropped") + _grown(before, newest, "rejected")
    if before.get(_SINCE) != newest.get(_SINCE):
        missing = "earlier documents cannot be counted, because the ledger is new"
    elif lost:
        missing = f"{lost} documents were rejected or lost"
    else:
        missing = "no collected document is missing"
    waiting = newest.get(f"{_LEDGER}.spooled.count", 0) - before.get(f"{_LEDGER}.spooled.count", 0)
    if waiting > 0:
        missing += f"; {waiting} more documents than before still wait"
    if gap_ms <= _PERIODS * before.get("agent.period.ms", 0):
        return f"its documents arrived late; {missing}"
    return f"the host collected nothing for {shown(gap_ms, 'ms')}; {missing}"


def _grown(before: Mapping[str, Any], after: Mapping[str, Any], fate: str) -> int:
    name = f"{_LEDGER}.{fate}.count"
    return max(int(after.get(name, 0)) - int(before.get(name, 0)), 0)
