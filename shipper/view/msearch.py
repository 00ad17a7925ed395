"""Several searches in one request, which needs only the privilege ``read``."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from shipper.base.errors import ServerError
from shipper.deliver.client import Connection, call
from shipper.schema.stream_names import indices
from shipper.settings.config import Index
from shipper.view.dashboards.model import TIME

Filter = Mapping[str, Any]  # of query DSL
Search = tuple[str, Mapping[str, Any]]  # a dataset, and the body of the search


def msearch(connection: Connection, index: Index, wanted: Iterable[Search]) -> Iterator[Mapping[str, Any]]:
    """The responses in the order of the searches. Raises ServerError, even if only one search failed."""
    lines: list[bytes] = []
    for dataset, body in wanted:
        head = {"index": indices(index, dataset), "ignore_unavailable": True, "allow_partial_search_results": False}
        lines += (json.dumps(head).encode(), json.dumps(body).encode())
    for response in call(connection, "POST", "/_msearch", b"\n".join([*lines, b""]))["responses"]:
        if "error" in response:
            reason = response["error"].get("reason", "no reason given")
            raise ServerError(f"POST /_msearch: {response['status']}: {reason}", response["status"])
        yield response


def term(field: str, value: str) -> Filter:
    """The field has the value."""
    return {"term": {field: value}}


def within(first_ms: int, last_ms: int) -> Filter:
    """Documents of a time range, both ends included."""
    return {"range": {TIME: {"gte": first_ms, "lte": last_ms, "format": "epoch_millis"}}}


def number(bucket: Mapping[str, Any], name: str) -> float | None:
    """The value of a metric in a bucket; None if no document has the field, or if there is no such metric."""
    value: float | None = bucket.get(name, {}).get("value")
    return value


def searched(filters: Sequence[Filter], aggs: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a search that returns no hits, only aggregations over the documents that pass all ``filters``."""
    return {"size": 0, "track_total_hits": False, "query": {"bool": {"filter": list(filters)}}, "aggs": aggs}


class Asking:
    """Sends rounds of searches and remembers them."""

    def __init__(self, connection: Connection, index: Index) -> None:
        self._connection, self._index = connection, index
        self.searches: list[Search] = []

    def ask(self, wanted: Iterable[Search]) -> list[Mapping[str, Any]]:
        """The responses in order. Raises ServerError."""
        searches = list(wanted)
        self.searches += searches
        return list(msearch(self._connection, self._index, searches))


def printed(searches: Iterable[Search]) -> Iterator[str]:
    """Searches as text, each with its dataset."""
    for dataset, body in searches:
        yield f"\n# {dataset}\n{json.dumps(body)}"
