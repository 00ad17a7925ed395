"""What docker's file of a container says of its life: health, restarts, how it last ended (moby container/state.go).

A container that is not running has no cgroup and no document, so all of this is of one that runs, is paused, or has just
been started again; docker rewrites the file at each change.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from shipper.fields.field import Field, Kind, Type, attribute, gauge
from shipper.fields.rates import Value
from shipper.kernel.parse import LARGEST

_SOURCE: Final = "docker's config.v2.json"
_HEALTH: Final = ("starting", "healthy", "unhealthy")
_STATES: Final = {"Restarting": "restarting", "Paused": "paused", "Running": "running"}
_EXIT_CODES: Final = range(256)

FIELDS: Final[tuple[Field, ...]] = (
    attribute("container.health", "healthy, unhealthy, starting; absent without a health check; read each minute", f"{_SOURCE} State.Health.Status"),
    attribute("container.state", "running, paused, restarting; read each minute", f"{_SOURCE} State"),
    gauge("container.restarts.count", "count", "Times that its restart policy started it again; read each minute", f"{_SOURCE} RestartCount"),
    Field("container.exit_code", Type.LONG, Kind.ATTRIBUTE, "", "Status with which it last ended, where docker still has it", f"{_SOURCE} State.ExitCode"),
    attribute("container.oom_killed", "It last ended for lack of memory", f"{_SOURCE} State.OOMKilled", Type.BOOLEAN),
    attribute("container.finished", "When it last ended; absent while it runs for the first time", f"{_SOURCE} State.FinishedAt", Type.DATE),
)  # fmt: skip


def values(content: Mapping[str, Any]) -> dict[str, Value]:
    """Fields of the file's content; what has another type than docker gives it is left out."""
    state = content.get("State")
    if not isinstance(state, dict):
        return {}
    found: dict[str, Value] = {}
    health = state.get("Health")
    if isinstance(health, dict) and health.get("Status") in _HEALTH:
        found["container.health"] = health["Status"]
    if named := next((name for key, name in _STATES.items() if state.get(key) is True), ""):
        found["container.state"] = named
    restarts, code = content.get("RestartCount"), state.get("ExitCode")
    if type(restarts) is int and 0 <= restarts <= LARGEST:
        found["container.restarts.count"] = restarts
    if isinstance(state.get("OOMKilled"), bool):
        found["container.oom_killed"] = state["OOMKilled"]
    finished = _date(state.get("FinishedAt"))
    if finished:
        found["container.finished"] = finished
    # Of a container that runs docker has only a 0, of no meaning
    if type(code) is int and code in _EXIT_CODES and (code or state.get("Running") is False):
        found["container.exit_code"] = code
    return found


def _date(text: object) -> str:
    """``2026-11-23T18:00:00.123456789Z`` in ms; empty for what is none, and for year 1, which is docker's "never"."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return ""
    if moment is None or moment.year == 1 or moment.tzinfo is None:
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
