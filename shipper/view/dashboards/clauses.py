"""A panel's conditions in the languages of those who draw it: Lucene for Grafana, KQL for Kibana, query DSL for us."""

from collections.abc import Iterable
from typing import Any, Final

from shipper.schema.stream_names import late_stream, stream
from shipper.view.dashboards.model import Board, Panel, Test, Variable, narrowed, tests

# Outside of every field's own syntax, so that "all" also means documents without the field
_ALL: Final = "*"
_ALL_OR_NONE: Final = "* OR *:*"


def lucene(panel: Panel, variables: Iterable[Variable] = ()) -> str:
    """All conditions of ``panel``, and what is chosen in Grafana's ``variables``, for ``query_string``."""
    return " AND ".join([*map(_lucene, tests(panel)), *(_chosen(one, panel.dataset) for one in variables)])


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
    """Grafana puts in one escaped value, ``("a" OR "b")`` for several, or ``all_value`` as it is.

    8.x finds an index by the whole name of its data stream, or the beginning, but by no other pattern.
    """
    name = f"${variable.name}"
    if variable.field != "_index":
        return f"({variable.field}:{name})"
    return "(" + " OR ".join(f"_index:{of(dataset, name)}" for of in (stream, late_stream)) + ")"


def all_value(variable: Variable) -> str:
    return _ALL if variable.always else _ALL_OR_NONE


def panel_lucene(board: Board, panel: Panel) -> str:
    return lucene(panel, narrowed(board, panel))


def kql(conditions: Iterable[Test]) -> str:
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
