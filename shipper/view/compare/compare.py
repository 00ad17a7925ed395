"""The values before and after a change, and those of equal time windows before, from two rounds of searches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.view.compare.find import LOOK_BACK_MS, Subject, find
from shipper.view.compare.measures import OF_CGROUP, OF_HOST, RESTARTS, Measure
from shipper.view.compare.variation import Verdict, verdict
from shipper.view.dashboards.model import ENTITY
from shipper.view.msearch import Asking, Search, number, searched, term, within

WINDOWS: Final = 12  # before the change
_FEWEST: Final = 3  # documents of a window
AFTER: Final = "after"
BEFORE: Final = "1"  # the last window before the change
_PERCENTS: Final = (50, 95)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the documents of a time window."""

    p50: float
    p95: float
    highest: float


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. ``usual``: the median of the means of the windows before; ``mean``: that of the window after."""

    measure: Measure
    before: Spread | None
    after: Spread | None
    usual: float | None
    mean: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Compared:
    """``at_ms``: of the change. ``window_ms``: length of each window. ``windows``: how many before have documents.

    ``entities``: number of containers or services before and after; zeros for a host.
    """

    subject: Subject
    at_ms: int
    window_ms: int
    windows: int
    entities: tuple[int, int]
    rows: tuple[Row, ...]
    searches: list[Search]


def compare(asking: Asking, name: str, last_ms: int, window_ms: int, at_ms: int | None = None) -> Compared:
    """Compare the time before ``at_ms`` (None: the newest change) with the time after, up to ``last_ms``.

    Raises UserError.
    """
    subject = find(asking, name, (at_ms or last_ms) - LOOK_BACK_MS, last_ms)
    if at_ms is None:
        if subject.change is None:
            raise UserError(f"{name}: no start, boot or change of image in the last day; give the time with --at")
        at_ms = subject.change.at_ms
    window_ms = min(window_ms, last_ms - at_ms)
    measures = OF_HOST if subject.kind == "host" else OF_CGROUP
    datasets = list(dict.fromkeys(measure.dataset for measure in measures))
    responses = asking.ask(_search(subject, dataset, measures, at_ms, window_ms) for dataset in datasets)
    answers = {one: response.get("aggregations", {}) for one, response in zip(datasets, responses, strict=True)}
    own = _windows(answers[datasets[0]])
    if AFTER not in own:
        raise UserError(f"{name}: too few documents after the change; try again later, or give another time with --at")
    entities = [own.get(key, {}).get("entities", {}).get("value", 0) for key in (BEFORE, AFTER)]
    rows = tuple(_row(measure, answers[measure.dataset]) for measure in measures)
    return Compared(subject, at_ms, window_ms, len(own) - 1, (entities[0], entities[1]), rows, asking.searches)


def _search(subject: Subject, dataset: str, measures: Sequence[Measure], at_ms: int, window_ms: int) -> Search:
    fields = [measure.field for measure in measures if measure.dataset == dataset and measure.field]
    means: dict[str, Any] = {field: {"avg": {"field": field}} for field in fields}
    if dataset == RESTARTS.dataset:
        means |= {"starts": {"cardinality": {"field": "cgroup.start"}}, "entities": {"cardinality": {"field": ENTITY}}}
    spreads: dict[str, Any] = {field: {"percentiles": {"field": field, "percents": _PERCENTS}} for field in fields}
    spreads |= {f"highest {field}": {"max": {"field": field}} for field in fields}
    windows = {
        key: {"bool": {"filter": [within(*span), *(subject.after if key == AFTER else subject.before)]}}
        for key, span in _spans(at_ms, window_ms)
    }
    two = {key: windows[key] for key in (BEFORE, AFTER)}
    aggs = {
        "means": {"filters": {"filters": windows}, "aggs": means},
        "spreads": {"filters": {"filters": two}, "aggs": spreads},
    }
    leaf = [term("cgroup.aggregate", "false")] if subject.kind == "host" and dataset == "cgroup" else []
    whole = within(at_ms - WINDOWS * window_ms, at_ms + window_ms)
    return dataset, searched([*subject.filters, *leaf, whole], aggs)


def _spans(at_ms: int, window_ms: int) -> Iterator[tuple[str, tuple[int, int]]]:
    yield AFTER, (at_ms, at_ms + window_ms)
    for back in range(1, WINDOWS + 1):
        yield str(back), (at_ms - back * window_ms, at_ms - (back - 1) * window_ms - 1)


def _windows(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The windows that have enough documents."""
    found = answer.get("means", {}).get("buckets", {})
    return {key: one for key, one in found.items() if one["doc_count"] >= _FEWEST}


def _row(measure: Measure, answer: Mapping[str, Any]) -> Row:
    means = {key: mean for key, one in _windows(answer).items() if (mean := _mean(measure, one)) is not None}
    after = means.pop(AFTER, None)
    earlier = list(means.values())
    spreads = answer.get("spreads", {}).get("buckets", {})
    before, now = (_spread(measure.field, spreads.get(key, {})) for key in (BEFORE, AFTER))
    usual = median(earlier) if earlier else None
    return Row(measure, before, now, usual, after, verdict(earlier, after, measure.least))


def _mean(measure: Measure, window: Mapping[str, Any]) -> float | None:
    if measure is RESTARTS:
        entities = window["entities"]["value"]
        return max(0, window["starts"]["value"] - entities) / entities if entities else None
    return number(window, measure.field)


def _spread(field: str, window: Mapping[str, Any]) -> Spread | None:
    highest = number(window, f"highest {field}")
    if highest is None:
        return None
    p50, p95 = window[field]["values"].values()
    return Spread(p50, p95, highest)
