"""Documents of a simulated fleet in a real Elasticsearch and as columns, and every panel held to both."""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import polars as pl
import shipper_eslocal
from filler import Filler
from fleetdocs import Document, Fleet
from fleetload import load
from grafana_target import Page
from lens_target import Lens
from straight import Chosen, Gathered, ranks, straight

from shipper.collect import COLLECTORS
from shipper.view.dashboards import ask, grafana, kibana
from shipper.view.dashboards.ask import Answer, Span, name
from shipper.view.dashboards.boards import BOARDS
from shipper.view.dashboards.model import ENTITY, HOST, Board, Panel, Stat, View, label, narrowed

_UNIQUE_ERROR = 0.06  # cardinality above its precision threshold


class Troubled(Fleet):
    """A fleet with what few hosts have: a free-running clock, failed units, a full disk, OOM kills, sensors."""

    def documents(self, hosts: Iterable[int] | None = None, ticks: range | None = None) -> Iterator[Document]:
        filler = Filler(self.namespace)
        for one in super().documents(hosts, ticks):
            troubled = one.host == 0 if one.dataset != "cgroup" else "container.id" in one.values
            values = {**one.values, **_TROUBLE.get(one.dataset, {})} if troubled else {**one.values}
            if one.dataset in _FILLED:
                values = filler.gauges(one.dataset, values, one.host, one.tick)
            if one.dataset == "host":
                values |= {"system.files.open.count": 1000 + one.tick, "system.systemd.units.failed.count": one.host}
                if one.host == 0 and one.tick in _KILLS:
                    values["system.vm.oom_kills.count_per_s"] = 0.1
            if values == one.values:
                yield one
                continue
            yield filler.write(one, values)
            if one.dataset == "host":
                yield from filler.entities(one)


_FILLED = ("host", "disk", "network", "process")
_KILLS = range(20, 26)
_TROUBLE: dict[str, dict[str, Any]] = {
    "host": {"system.clock.synchronised": False},
    "agent": {
        "agent.spool.trouble": "No space left on device",
        "agent.delivery.reachable": False,
        "agent.delivery.trouble": "connection refused",
        "agent.ledger.rejected.reasons": "2 × 400 document_parsing_exception",
        "agent.problems.files": "proc/schedstat: cannot be parsed",
        "agent.collectors.failed": "raid: no such device",
        **{f"agent.collectors.{one.name}.us": 1000 + 100 * i for i, one in enumerate(COLLECTORS)},
    },
    "cgroup": {
        "container.health": "unhealthy",
        "container.state": "running",
        "container.exit_code": 137,
        "cgroup.oom_kills.count": 1,
        "cgroup.restarts.count": 2,
    },
}


@dataclass
class Proven:
    """A server that holds the documents of ``columns``, all of one namespace.

    ``everywhere``: ask all streams, as a data source does; else only those with the panel's documents, which costs the
    server a third.
    """

    cluster: shipper_eslocal.Cluster
    namespace: str
    columns: Mapping[str, pl.DataFrame]
    when: Span
    everywhere: bool = False
    grafana: dict[str, dict[str, Any]] = field(default_factory=dict)
    kibana: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def page(self, board: Board, **chosen: Any) -> Page:
        if board.uid not in self.grafana:
            self.grafana[board.uid] = json.loads(grafana.render(board))
        return Page(self.grafana[board.uid], self.when, {"namespace": self.namespace, **chosen}, scripts=self._painless)

    @cached_property
    def _painless(self) -> bool:
        (node,) = self.cluster.request("GET", "/_nodes/_local/plugins")["nodes"].values()
        return any(module["name"] == "lang-painless" for module in node["modules"])

    def responses(self, page: Page, panels: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Title of each of ``panels``, as they are rendered → the responses to its targets. One request."""
        datasets = {panel.title: panel.dataset for board in BOARDS for panel in board.panels if board.uid == page.uid}
        indices = ["metrics-shipper.*" if self.everywhere else self._index(datasets[one["title"]]) for one in panels]
        bodies = [page.msearch(panel, index) for panel, index in zip(panels, indices, strict=True)]
        found = iter(self._msearch(b"".join(bodies)))
        return {panel["title"]: [next(found) for _ in panel["targets"]] for panel in panels}

    def search(self, panel: Panel, filters: Iterable[Mapping[str, Any]] = ()) -> Answer:
        (answer,) = self.searched([(panel, filters)])
        return answer

    def searched(self, asked: Sequence[tuple[Panel, Iterable[Mapping[str, Any]]]]) -> list[Answer]:
        """What the report draws of each panel with its filters. One request."""
        found = self._asked((panel.dataset, ask.body(panel, self.when, filters)) for panel, filters in asked)
        return [ask.read(panel, self.when, one) for (panel, _), one in zip(asked, found, strict=True)]

    def by_grafana(self, page: Page, title: str) -> Answer:
        return self.all_by_grafana(page, [title])[title]

    def all_by_grafana(self, page: Page, titles: Collection[str]) -> dict[str, Answer]:
        """Title → what Grafana draws. One request."""
        panels = [one for one in page.panels if one["title"] in titles]
        found = self.responses(page, panels)
        return {one["title"]: page.answer(one, found[one["title"]]) for one in panels}

    def by_kibana(self, board: Board, asked: Sequence[tuple[Panel, Sequence[Mapping[str, Any]]]]) -> list[Answer]:
        """What Kibana draws of each panel with what is chosen in the controls. One request."""
        if board.uid not in self.kibana:
            saved = json.loads(kibana.render(board).splitlines()[1])
            self.kibana[board.uid] = json.loads(saved["attributes"]["panelsJSON"])
        by_title = {one["title"]: one for one in self.kibana[board.uid]}
        parts = [Lens(by_title[panel.title], self.when, [dict(one) for one in chosen]).parts for panel, chosen in asked]
        searches = [
            (panel.dataset, lens.search()) for (panel, _), own in zip(asked, parts, strict=True) for lens in own
        ]
        found = iter(self._asked(searches))
        answers = []
        for own in parts:
            first, *over = [lens.answer(next(found)) for lens in own]
            for answer in over:
                first.series |= answer.series
            answers.append(first)
        return answers

    def _asked(self, searches: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        lines = [json.dumps(line) for dataset, body in searches for line in ({"index": self._index(dataset)}, body)]
        return self._msearch(("\n".join(lines) + "\n").encode())

    def _msearch(self, body: bytes) -> list[Any]:
        found: list[Any] = self.cluster.request("POST", "/_msearch", body, timeout=120)["responses"]
        for one in found:
            assert "error" not in one, one["error"]
        return found

    def _index(self, dataset: str) -> str:
        return f"metrics-shipper.{'' if self.everywhere else dataset}*-{self.namespace}"

    def straight(self, panel: Panel, chosen: Chosen | None = None) -> Answer:
        return straight(panel, self.when, self.columns, chosen)

    def ranks(self, panel: Panel, chosen: Chosen | None = None) -> dict[str, float]:
        return ranks(panel, self.when, self.columns, chosen) if panel.split else {}


def loaded(cluster: shipper_eslocal.Cluster, fleet: Fleet, points: int = 240, *, everywhere: bool = False) -> Proven:
    """The columns are written down while the documents are sent: each is made once. ``points``: of a chart."""
    parts = load(list(cluster.urls), fleet, workers=1, notebook=Gathered).notes
    columns = {name: pl.concat([part[name] for part in parts], how="vertical_relaxed") for name in parts[0]}
    last_ms = fleet.tick_ms(fleet.ticks - 1)
    when = ask.span(fleet.tick_ms(0), last_ms, points, least_s=fleet.period_s)
    return Proven(cluster, fleet.namespace, columns, when, everywhere)


def drawn(board: Board) -> Iterator[Panel]:
    return (panel for panel in board.panels if panel.view is not View.TEXT)


def differences(panel: Panel, shown: Answer, wanted: Answer, ranked: Mapping[str, float]) -> Iterator[str]:
    """What ``shown`` has otherwise than ``wanted``, a line each. ``ranked``: what the split's values are sorted by."""
    yield from _differ(panel, "", shown.numbers, wanted.numbers)
    if shown.times != wanted.times:
        yield f"other times: {shown.times[:3]} … instead of {wanted.times[:3]} …"
    for ours, theirs in ((shown.series, wanted.series), (shown.rows, wanted.rows)):
        if panel.split and not _same_order(
            [ranked.get(key) for key in _keys(panel, ours)], [ranked[key] for key in _keys(panel, theirs)]
        ):
            yield f"{list(ours)[:6]} instead of {list(theirs)[:6]}"
        if not panel.split and ours.keys() != theirs.keys():
            yield f"{list(ours)} instead of {list(theirs)}"
        for key in theirs.keys() & ours.keys():
            yield from _differ(panel, key, dict(enumerate(ours[key])), dict(enumerate(theirs[key])))


def _same_order(ours: Sequence[float | None], theirs: Sequence[float]) -> bool:
    """Documents have six digits: what differs in later ones may be in any order."""
    return len(ours) == len(theirs) and all(
        one is not None and math.isclose(one, other, rel_tol=1e-5) for one, other in zip(ours, theirs, strict=True)
    )


def _differ(panel: Panel, key: str, shown: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> Iterator[str]:
    if shown.keys() != wanted.keys():
        yield f"{key} {list(shown)} instead of {list(wanted)}"
        return
    counted = any(metric.stat in (Stat.UNIQUE, Stat.COUNT, Stat.TOTAL) for metric in panel.metrics)
    for at, value in wanted.items():
        if not _equal(shown[at], value, _UNIQUE_ERROR if counted and abs(value or 0) > 3000 else 1e-6):
            yield f"{key} at {at}: {shown[at]} instead of {value}"
            return


def _equal(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return not one and not other  # of nothing there are none
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-9)


# Boards on which one host or container is to be chosen
CHOSEN = {"shipper-host": (HOST,), "shipper-container": (HOST, ENTITY)}


def check(data: Proven, board: Board, host: str, container: str, quiet: Collection[str] = ()) -> None:
    """``board`` with ``host`` and ``container`` chosen, where it has such a choice. ``quiet`` panels may be empty."""
    values = {HOST: host, ENTITY: container}
    wanted = {field: values[field] for field in CHOSEN.get(board.uid, ())}
    names = {one.field: one.name for one in board.variables}
    page = data.page(board, **{names[field]: value for field, value in wanted.items()})
    panels = list(drawn(board))
    own = [
        {one.field: (wanted[one.field],) for one in narrowed(board, panel) if one.field in wanted} for panel in panels
    ]
    right = [
        (data.straight(panel, chosen), data.ranks(panel, chosen)) for panel, chosen in zip(panels, own, strict=True)
    ]
    filters = [[{"terms": {field: list(values)}} for field, values in chosen.items()] for chosen in own]
    asked = list(zip(panels, filters, strict=True))
    by_grafana = data.all_by_grafana(page, [panel.title for panel in panels])
    problems = []
    for panel, by_report, (wanted_answer, ranked) in zip(panels, data.searched(asked), right, strict=True):
        for who, shown in {"report": by_report, "Grafana": by_grafana[panel.title]}.items():
            problems += [f"{panel.title}, {who}: {one}" for one in differences(panel, shown, wanted_answer, ranked)]
        if wanted_answer.empty and panel.title not in quiet:
            problems.append(f"{panel.title}: nothing to show")
    for panel, chosen, by_kibana in zip(panels, own, data.by_kibana(board, asked), strict=True):
        problems += [f"{panel.title}, Kibana: {one}" for one in _of_kibana(data, board, panel, chosen, by_kibana)]
    assert not problems, "\n".join(problems)


def _of_kibana(
    data: Proven, board: Board, panel: Panel, own: Mapping[str, tuple[str, ...]], answer: Answer
) -> Iterator[str]:
    shown, apart = kibana.shown(board, panel)
    own = {} if apart else own
    right = mirrored(shown, data.straight(shown, own))
    return differences(shown, answer, right, data.ranks(shown, own))


def mirrored(panel: Panel, answer: Answer) -> Answer:
    """As it is drawn by who has no other way to draw below zero than to change the sign."""
    below = {
        name(panel, metric, key)
        for metric in panel.metrics
        if metric.mirrored
        for key in ([None] if panel.split is None else _keys(panel, answer.series))
    }
    series = {
        title: [None if one is None else -one for one in line] if title in below else line
        for title, line in answer.series.items()
    }
    return replace(answer, series=series)


def _keys(panel: Panel, titles: Iterable[str]) -> list[str]:
    """Values of the split, in order, from the titles of lines or rows."""
    ends = [f" {label(panel, metric)}" for metric in panel.metrics]
    if panel.view in (View.TABLE, View.STAT) or len(ends) == 1:
        return list(titles)
    return list(dict.fromkeys(title.removesuffix(end) for title in titles for end in ends if title.endswith(end)))
