"""State of a docker container from its file: health, restarts, how it last ended (moby container/state.go).

A container that does not run has no cgroup and no document, so these are values of a container that runs, is paused, or was
just restarted. Docker rewrites the file at each change.
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
    attribute("container.health", "Health: healthy, unhealthy or starting; absent without a health check; read once a minute", f"{_SOURCE} State.Health.Status"),
    attribute("container.state", "State: running, paused or restarting; read once a minute", f"{_SOURCE} State"),
    gauge("container.restarts.count", "count", "Restarts by its restart policy; read once a minute", f"{_SOURCE} RestartCount"),
    Field("container.exit_code", Type.LONG, Kind.ATTRIBUTE, "", "Exit code of its last run, if docker still has it", f"{_SOURCE} State.ExitCode"),
    attribute("container.oom_killed", "Whether its last run was OOM-killed", f"{_SOURCE} State.OOMKilled", Type.BOOLEAN),
    attribute("container.finished", "End of its last run; absent during its first run", f"{_SOURCE} State.FinishedAt", Type.DATE),
)  # fmt: skip


def values(content: Mapping[str, Any]) -> dict[str, Value]:
    """Fields from the content of the file; values of unexpected types are left out."""
    state = content.get("State")
    if not isinstance(state, dict):
        return {}
    fields: dict[str, Value] = {}
    health = state.get("Health")
    if isinstance(health, dict) and health.get("Status") in _HEALTH:
        fields["container.health"] = health["Status"]
    if named := next((name for key, name in _STATES.items() if state.get(key) is True), ""):
        fields["container.state"] = named
    restarts, code = content.get("RestartCount"), state.get("ExitCode")
    if type(restarts) is int and 0 <= restarts <= LARGEST:
        fields["container.restarts.count"] = restarts
    if isinstance(state.get("OOMKilled"), bool):
        fields["container.oom_killed"] = state["OOMKilled"]
    finished = _date(state.get("FinishedAt"))
    if finished:
        fields["container.finished"] = finished
    # For a running container docker writes a 0 without meaning
    if type(code) is int and code in _EXIT_CODES and (code or state.get("Running") is False):
        fields["container.exit_code"] = code
    return fields


def _date(text: object) -> str:
    """``2026-11-23T18:00:00.123456789Z`` cut to ms; empty for other text, and for year 1, which is docker's "never"."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return ""
    if moment is None or moment.year == 1 or moment.tzinfo is None:
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
