"""A panel's conditions in three query languages: Lucene for Grafana, KQL for Kibana, query DSL for the report."""

from collections.abc import Iterable
from typing import Any, Final

from shipper.schema.stream_names import late_stream, stream
from shipper.view.dashboards.model import Board, Panel, Test, Variable, narrowed, tests

# Values of "all", whether a document has the field or not. Lucene drops a condition that is only this one; alternatives
# of which one is this one, or all documents with the field, are evaluated for each document
_ALL: Final = "(*:*)"
_ALL_INDICES: Final = "all OR *:*"  # the choice is only a part of a name; dated indices have no such part


def lucene(panel: Panel, variables: Iterable[Variable] = ()) -> str:
    """All conditions of ``panel`` and the choices of Grafana's ``variables``, for ``query_string``."""
    return " AND ".join([lucene_of(tests(panel)), *(_chosen(variable, panel.dataset) for variable in variables)])


def lucene_of(conditions: Iterable[Test]) -> str:
    """Conditions for Grafana."""
    return " AND ".join(map(_lucene, conditions))


def _lucene(test: Test) -> str:
    if test.above is not None:
        return f"{test.field}:>{test.above:g}"
    if test.below is not None:
        return f"{test.field}:<{test.below:g}"
    if not test.values:
        return f"_exists_:{test.field}"
    values = " OR ".join(f'"{value}"' for value in test.values)
    return f"{test.field}:({values})" if len(test.values) > 1 else f"{test.field}:{values}"


def _chosen(variable: Variable, dataset: str) -> str:
    """A condition on a variable, which Grafana replaces: with an escaped value, ``("a" OR "b")``, or ``all_value``.

    A single value stands in quotes: Lucene cannot parse an empty value without them, nor ``-1``, which Grafana does not
    escape. In 8.x a query on ``_index`` matches a data stream by its whole name or a prefix, but by no other pattern.
    """
    name = f"${variable.name}"
    if variable.field != "_index":
        return f"({variable.field}:{name})" if variable.multi else f'({variable.field}:"{name}")'
    return "(" + " OR ".join(f"_index:{of(dataset, name)}" for of in (stream, late_stream)) + ")"


def all_value(variable: Variable) -> str:
    """The value of Grafana's "all"."""
    return _ALL_INDICES if variable.field == "_index" else _ALL


def panel_lucene(board: Board, panel: Panel) -> str:
    """All conditions of ``panel`` with the choices of the board's variables."""
    return lucene(panel, narrowed(board, panel))


def kql(conditions: Iterable[Test]) -> str:
    """Conditions for Kibana."""
    return " and ".join(map(_kql, conditions))


def _kql(test: Test) -> str:
    if test.above is not None:
        return f"{test.field} > {test.above:g}"
    if test.below is not None:
        return f"{test.field} < {test.below:g}"
    if not test.values:
        return f"{test.field}: *"
    values = " or ".join(f'"{value}"' for value in test.values)
    return f"{test.field}: ({values})" if len(test.values) > 1 else f"{test.field}: {values}"


def dsl(conditions: Iterable[Test]) -> list[dict[str, Any]]:
    """A list for ``bool.filter``."""
    return [_dsl(test) for test in conditions]


def _dsl(test: Test) -> dict[str, Any]:
    if test.above is not None:
        return {"range": {test.field: {"gt": test.above}}}
    if test.below is not None:
        return {"range": {test.field: {"lt": test.below}}}
    if not test.values:
        return {"exists": {"field": test.field}}
    return {"terms": {test.field: list(test.values)}}
