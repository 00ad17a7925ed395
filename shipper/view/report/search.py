"""Boards filled from Elasticsearch with one ``_msearch`` per board; needs only the privilege ``read``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.deliver.client import Connection, call
from shipper.fields.aliases import PERIOD
from shipper.schema.stream_names import indices
from shipper.settings.config import Index
from shipper.view.dashboards import ask
from shipper.view.dashboards.ask import Answer, Span
from shipper.view.dashboards.clauses import dsl
from shipper.view.dashboards.model import ENTITY, HOST, TIME, Board, Mark, Panel, View, narrowed, tests
from shipper.view.msearch import msearch, within

MOST_MARKS: Final = 100  # of each kind, the newest
_PERIOD_S: Final = 10  # of documents without a period
Chosen = Mapping[str, tuple[str, ...]]  # field → values


@dataclass(frozen=True, slots=True)
class Page:
    """A board for the hosts and entities in ``chosen``."""

    board: Board
    title: str
    chosen: Chosen


@dataclass(frozen=True, slots=True)
class Filled:
    """``answers``: by title of the panel. ``courses``: of numbers, the values of the range, also by title.
    ``marks``: by name, times in ms with their labels, oldest first.

    ``cut``: names of marks of which only the newest were read. ``findings``: lines of what rules find.
    ``comparison``: lines of what differs before and after a time.
    """

    page: Page
    when: Span
    answers: Mapping[str, Answer]
    courses: Mapping[str, Answer]
    marks: Mapping[str, list[tuple[int, str]]]
    cut: frozenset[str]
    findings: tuple[str, ...] = ()
    comparison: tuple[str, ...] = ()


def span(connection: Connection, index: Index, first_ms: int, last_ms: int, chosen: Chosen) -> Span:
    """The range in buckets not narrower than the agents' period. Raises UserError if the range has no documents."""
    period = {"period": {"max": {"field": PERIOD.name}}}
    filters = [within(first_ms, last_ms), *_terms(chosen)]
    names = ",".join(indices(index, "host"))
    path = f"/{names}/_search?ignore_unavailable=true"
    answer = call(connection, "POST", path, {"size": 0, "query": {"bool": {"filter": filters}}, "aggs": period})
    if not answer["hits"]["total"]["value"]:
        whose = f" of {', '.join(chosen[HOST])}" if HOST in chosen else ""
        raise UserError(f"no documents{whose} in this time range: {names}")
    period_ms = answer["aggregations"]["period"]["value"]
    return ask.span(first_ms, last_ms, least_s=round(period_ms / 1000) if period_ms else _PERIOD_S)


def host_of(connection: Connection, index: Index, entity: str, first_ms: int, last_ms: int) -> str:
    """The host on which the container or service ``entity`` ran. Raises UserError if the range has none of it."""
    filters = [within(first_ms, last_ms), *_terms({ENTITY: (entity,)})]
    body = {"size": 1, "query": {"bool": {"filter": filters}}, "fields": [HOST], "_source": False}
    names = ",".join(indices(index, "cgroup"))
    hits = call(connection, "POST", f"/{names}/_search?ignore_unavailable=true", body)["hits"]["hits"]
    if not hits:
        raise UserError(f"no documents of {entity} in this time range: {names}")
    return str(hits[0]["fields"][HOST][0])


def fill(connection: Connection, index: Index, page: Page, when: Span) -> Filled:
    """All panels and marks of ``page``. Raises ServerError."""
    panels = [panel for panel in page.board.panels if panel.view is not View.TEXT]
    courses = [ask.course(panel) for panel in panels if panel.trend]
    drawn = [*panels, *courses]
    wanted = [(panel.dataset, ask.body(panel, when, _narrowing(page, panel))) for panel in drawn]
    wanted += [(mark.dataset, _documents(page, mark, when)) for mark in page.board.marks]
    responses = msearch(connection, index, wanted)
    answers, lines = (
        {panel.title: _read(panel, when, next(responses)) for panel in some} for some in (panels, courses)
    )
    hits_of = {mark: next(responses)["hits"]["hits"] for mark in page.board.marks}
    marks = {mark.name: list(_marks(mark, hits)) for mark, hits in hits_of.items()}
    cut = frozenset(mark.name for mark, hits in hits_of.items() if len(hits) == MOST_MARKS)
    return Filled(page, when, answers, lines, marks, cut)


def _read(panel: Panel, when: Span, response: Mapping[str, Any]) -> Answer:
    """The panel's answer; empty without aggregations, as when no index exists."""
    return ask.read(panel, when, response) if "aggregations" in response else Answer()


def _narrowing(page: Page, panel: Panel) -> list[Mapping[str, Any]]:
    fields = {variable.field for variable in narrowed(page.board, panel)}
    return _terms({name: values for name, values in page.chosen.items() if name in fields})


def _terms(chosen: Chosen) -> list[Mapping[str, Any]]:
    return [{"terms": {name: list(values)}} for name, values in chosen.items()]


def _documents(page: Page, mark: Mark, when: Span) -> dict[str, Any]:
    panel = Panel(mark.name, "", View.TEXT, mark.dataset, where=mark.where)
    filters = [within(when.first_ms, when.last_ms), *dsl(tests(panel)), *_narrowing(page, panel)]
    return {
        "size": MOST_MARKS,
        "sort": [{TIME: "desc"}],
        "query": {"bool": {"filter": filters}},
        "_source": False,
        "fields": [{"field": TIME, "format": "epoch_millis"}, mark.text, *([mark.once] if mark.once else [])],
    }


def _marks(mark: Mark, hits: list[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """Oldest first. All documents of a boot's first minutes match its condition: ``once`` leaves one of them."""
    seen = set()
    for fields in (hit["fields"] for hit in reversed(hits)):
        of = tuple(fields.get(mark.once, ()))
        if of not in seen:
            yield int(fields[TIME][0]), str(fields[mark.text][0])
        if of:
            seen.add(of)
