"""What a name means – a host, container, unit or image – and its newest change in the last day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.view.dashboards.model import ENTITY, HOST
from shipper.view.msearch import Asking, Filter, Search, searched, term, within
from shipper.view.why import changes
from shipper.view.why.changes import Change

LOOK_BACK_MS: Final = 86_400_000
IMAGE: Final = "container.image.name"
_KINDS: Final = ("container", "unit", "image")
_MOST: Final = 20  # images


@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared. ``filters``: its documents; ``before`` and ``after``: further conditions on those of cgroups.

    ``change``: None if no change is known.
    """

    kind: str
    name: str
    change: Change | None
    filters: tuple[Filter, ...]
    before: tuple[Filter, ...] = ()
    after: tuple[Filter, ...] = ()


def find(asking: Asking, name: str, first_ms: int, last_ms: int) -> Subject:
    """The host, container, unit or image ``name``, the first of these that has documents. Raises UserError."""
    span = within(first_ms, last_ms)
    kinds = _kinds(name)
    any_kind = {"bool": {"should": list(kinds.values()), "minimum_should_match": 1}}
    newest = {"started": {"max": {"field": "cgroup.start"}}}
    images = {"images": {"terms": {"field": IMAGE, "size": _MOST}, "aggs": changes.FIRST}}
    aggs = {"kinds": {"filters": {"filters": kinds}, "aggs": images | newest}}
    of_host = [term(HOST, name), span]
    wanted: list[Search] = [
        ("cgroup", searched([span, any_kind], aggs)),
        ("host", searched(of_host, changes.BOOTS)),
        ("cgroup", searched([*of_host, term("cgroup.aggregate", "false")], changes.STARTS)),
    ]
    cgroups, host, containers = asking.ask(wanted)
    boots = changes.buckets(host, "boots")
    if boots:
        found = [*changes.boots(boots), *changes.images(changes.buckets(containers, "entities"))]
        return Subject("host", name, max(found, key=lambda one: one.at_ms, default=None), (term(HOST, name),))
    answers = cgroups.get("aggregations", {}).get("kinds", {}).get("buckets", {})
    kind = next((kind for kind in _KINDS if kind in answers and answers[kind]["doc_count"]), "")
    if not kind:
        raise UserError(f"{name}: no host, container, unit or image of this name has documents in this time range")
    return subject(kind, name, kinds[kind], answers[kind], first_ms)


def _kinds(name: str) -> dict[str, Filter]:
    own = repository(name)
    images = [term(IMAGE, name), *({"prefix": {IMAGE: f"{own}{mark}"}} for mark in ":@")]
    image = {"bool": {"should": images, "minimum_should_match": 1}}
    return {"container": term(ENTITY, name), "unit": term("cgroup.name", name), "image": image}


def repository(image: str) -> str:
    """The name of an image without tag and digest; a port of the registry is no tag."""
    image = image.partition("@")[0]
    head, _, tag = image.rpartition(":")
    return head if head and "/" not in tag else image


def subject(kind: str, name: str, own: Filter, answer: Mapping[str, Any], first_ms: int) -> Subject:
    """The subject from the aggregations over its documents: the newest image is compared with the ones before."""
    seen: Sequence[Mapping[str, Any]] = sorted(answer["images"]["buckets"], key=lambda one: one["first"]["value"])
    at = next((i for i, one in enumerate(seen) if kind == "image" and one["key"] == name), len(seen) - 1)
    if at > 0:
        old, new = [one["key"] for one in seen[:at]], seen[at]["key"]
        change = Change(int(seen[at]["first"]["value"]), f"the image changed from {old[-1]} to {new}")
        return Subject(kind, name, change, (own,), ({"terms": {IMAGE: old}},), (term(IMAGE, new),))
    started = answer["started"]["value"]
    recent = bool(started) and started > first_ms
    return Subject(kind, name, Change(int(started), "the last start") if recent else None, (own,))
