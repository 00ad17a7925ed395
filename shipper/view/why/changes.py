"""What changed on a host before a resource became short: boots, starts, images, kills, kernel events, mounts, links."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from shipper.view.dashboards.model import ENTITY, HOST, TIME
from shipper.view.msearch import Filter, Search, searched, term, within

BEFORE_MS: Final = 30 * 60_000
_MEASURED_MS: Final = 3 * 60_000
_MOST: Final = 1000
_HITS: Final = 20
_EVENTS: Final = {
    "hung_task": "a task hung",
    "io_error": "I/O errors",
    "remount_ro": "a filesystem became read-only",
    "segfault": "a process crashed",
    "link_down": "a link went down",
    "throttled": "the CPU was throttled because of its temperature",
    "mce": "a machine check",
}
FIRST: Final = {"first": {"min": {"field": TIME}}}
BOOTS: Final = {"boots": {"terms": {"field": "host.boot.id", "size": 5}, "aggs": FIRST}}
_IMAGES: Final = {"images": {"terms": {"field": "container.image.name", "size": 3}, "aggs": FIRST}}
_STARTED: Final = {
    "started": {"max": {"field": "cgroup.start"}},
    "restarts": {"max": {"field": "cgroup.restarts.count"}},
}
STARTS: Final = {"entities": {"terms": {"field": ENTITY, "size": _MOST}, "aggs": {**_IMAGES, **_STARTED}}}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened at ``at_ms``, in words."""

    at_ms: int
    words: str


def searches(host: str, onset_ms: int, bucket_ms: int) -> Iterator[Search]:
    """Searches for changes from BEFORE_MS before the onset to shortly after the onset."""
    first_ms, last_ms = onset_ms - BEFORE_MS, onset_ms + 2 * bucket_ms
    near = [term(HOST, host), within(first_ms, last_ms)]
    yield "cgroup", searched([*near, term("cgroup.aggregate", "false")], STARTS)
    yield "host", searched(near, BOOTS)
    rates = [f"system.kernel.log.{name}.count_per_s" for name in _EVENTS]
    any_rate = {"bool": {"should": [{"range": {field: {"gt": 0}}} for field in rates], "minimum_should_match": 1}}
    yield "host", _hits([*near, any_rate], rates)
    killed = term("event.action", "oom_kill")
    yield "event", _hits([*near, killed], ["event.start", "process.name", ENTITY, "cgroup.path"])
    yield "agent", _hits([*near, {"exists": {"field": "agent.clock.step.ms"}}], ["agent.clock.step.ms"])
    mounts = {"terms": {"field": "system.filesystem.mount_point", "size": 100}}
    both = {**FIRST, "last": {"max": {"field": TIME}}}
    yield "filesystem", searched(near, {"mounts": {**mounts, "aggs": both}})
    states = {"states": {"terms": {"field": "system.network.operstate", "size": 3}, "aggs": FIRST}}
    links = {"links": {"terms": {"field": "system.network.name", "size": 100}, "aggs": states}}
    yield "network", searched(near, links)


def _hits(filters: Sequence[Filter], fields: Sequence[str]) -> dict[str, Any]:
    times = {"field": TIME, "format": "epoch_millis"}
    query = {"bool": {"filter": list(filters)}}
    return {"size": _HITS, "query": query, "sort": [{TIME: "desc"}], "_source": False, "fields": [times, *fields]}


def changes(responses: Sequence[Mapping[str, Any]], onset_ms: int, bucket_ms: int) -> list[Change]:
    """What the responses to ``searches`` say, the nearest to the onset first."""
    cgroups, booted, kernel, events, clock, mounts, links = responses
    first_ms, last_ms = onset_ms - BEFORE_MS, onset_ms + 2 * bucket_ms
    found = [
        *images(buckets(cgroups, "entities")),
        *_starts(buckets(cgroups, "entities")),
        *boots(buckets(booted, "boots")),
        *(Change(*kind) for kind in _kernel(kernel)),
        *_kills(events),
        *_steps(clock),
        *_mounts(buckets(mounts, "mounts")),
        *(
            Change(int(state["first"]["value"]), f"link {link['key']} became {state['key']}")
            for link in buckets(links, "links")
            for state in _in_order(link["states"]["buckets"])[1:]
        ),
    ]
    near = [change for change in found if first_ms <= change.at_ms <= last_ms]
    return sorted(near, key=lambda change: abs(onset_ms - change.at_ms))


def images(entities: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Changed images, from the buckets of STARTS."""
    for one in entities:
        for before, after in pairwise(_in_order(one["images"]["buckets"])):
            words = f"{one['key']} changed its image from {before['key']} to {after['key']}"
            yield Change(int(after["first"]["value"]), words)


def _starts(entities: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    for one in entities:
        started = one["started"]["value"]
        if started:
            restarts = int(one["restarts"]["value"] or 0)
            seen = _in_order(one["images"]["buckets"])
            image = f", image {seen[-1]['key']}" if seen else ""
            again = f", restart number {restarts}" if restarts else ""
            yield Change(int(started), f"{one['key']} started{image}{again}")


def _in_order(seen: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(seen, key=lambda one: one["first"]["value"])


def boots(seen: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Boots, from the buckets of BOOTS; the first boot id is that of the time before."""
    for one in _in_order(seen)[1:]:
        yield Change(int(one["first"]["value"]), "the host booted")


def _kernel(response: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    seen: dict[str, int] = {}
    for at_ms, fields in _found(response):
        for name, words in _EVENTS.items():
            if fields.get(f"system.kernel.log.{name}.count_per_s", 0) > 0:
                seen[words] = at_ms  # newest first: the oldest remains
    for words, at_ms in seen.items():
        yield at_ms, f"the kernel logged: {words}"


def _kills(response: Mapping[str, Any]) -> Iterator[Change]:
    for at, fields in _found(response):
        whose = fields.get(ENTITY) or fields.get("cgroup.path") or "the host"
        victim = fields.get("process.name", "a process")
        yield Change(_ms(fields.get("event.start", at)), f"the kernel OOM-killed {victim} of {whose}")


def _steps(response: Mapping[str, Any]) -> Iterator[Change]:
    for at_ms, fields in _found(response):
        step_s = fields["agent.clock.step.ms"] / 1000
        yield Change(at_ms, f"the clock was set {'forward' if step_s > 0 else 'back'} by {abs(step_s):g} s")


def _mounts(seen: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Filesystems that appear after the others, or disappear before the others; all are measured once a minute."""
    first_ms = min((one["first"]["value"] for one in seen), default=0)
    last_ms = max((one["last"]["value"] for one in seen), default=0)
    for one in seen:
        if one["first"]["value"] > first_ms + _MEASURED_MS:
            yield Change(int(one["first"]["value"]), f"{one['key']} was mounted")
        if one["last"]["value"] < last_ms - _MEASURED_MS:
            yield Change(int(one["last"]["value"]), f"{one['key']} was unmounted")


def buckets(response: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """The buckets of an aggregation; none if no index exists."""
    found: Sequence[Mapping[str, Any]] = response.get("aggregations", {}).get(name, {}).get("buckets", ())
    return found


def _found(response: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Time in ms and fields of each document, the newest first."""
    for hit in response.get("hits", {}).get("hits", ()):
        fields = {name: values[0] for name, values in hit["fields"].items()}
        yield _ms(fields[TIME]), fields


def _ms(value: Any) -> int:
    return int(value) if str(value).isdigit() else round(datetime.fromisoformat(value).timestamp() * 1000)
