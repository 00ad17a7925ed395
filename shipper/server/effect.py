"""Whether the server uses our templates: another template of a higher priority may match the same names."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from shipper.deliver.client import Connection, call
from shipper.schema import stream_names, templates
from shipper.settings.config import Config

_LISTED: Final = "filter_path=" + ",".join(
    f"index_templates.{part}" for part in ("name", "index_template.index_patterns", "index_template.priority")
)


def names(config: Config) -> dict[str, str]:
    """Each index or data stream that documents go to, and the template that should create it."""
    index, datasets = config.index, config.collect.datasets
    if index.layout == "dated":
        return {stream_names.dated_index(dataset, 0): f"shipper-{dataset}" for dataset in datasets}
    return {name: name for dataset in datasets for name in stream_names.indices(index, dataset)}


def shadowed(client: Connection, config: Config) -> list[str]:
    """A line for each foreign template that overrides ours or changes the result. Raises ServerError."""
    winners: dict[str, list[str]] = {}
    others: list[str] = []
    listed: list[Any] = []
    for name, template in names(config).items():
        answer = call(client, "POST", f"/_index_template/_simulate_index/{name}")
        if any(other["name"] == template for other in answer.get("overlapping", ())):
            listed = listed or call(client, "GET", f"/_index_template?{_LISTED}")["index_templates"]
            winners.setdefault(_winner(listed, name), []).append(name)
        else:
            others += _otherwise(config, name, answer.get("template", {}))
    return [*(_line(winner, names) for winner, names in winners.items()), *others]


def _winner(listed: list[Any], name: str) -> str:
    matching = [
        entry for entry in listed if any(fnmatchcase(name, wild) for wild in entry["index_template"]["index_patterns"])
    ]
    best = max(matching, key=lambda entry: entry["index_template"].get("priority", 0))
    body = best["index_template"]
    return f"{best['name']} (priority {body.get('priority', 0)}, {', '.join(body['index_patterns'])})"


def _line(winner: str, names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"index template {winner} overrides shipper's for {names[0]}{more}: give it a priority below "
        f"{templates.PRIORITY}, or other patterns"
    )


def _otherwise(config: Config, name: str, template: Any) -> Iterator[str]:
    """A line about our own template, if somebody changed it."""
    series = config.index.layout == "datastream" and not name.startswith(_late_prefixes(config))
    mode = template.get("settings", {}).get("index", {}).get("mode", "standard")
    if series and mode != "time_series":
        yield f"{name} would be created in mode {mode}; run shipper setup"


def _late_prefixes(config: Config) -> tuple[str, ...]:
    return tuple(stream_names.late_stream(dataset, config.index.namespace) for dataset in config.collect.datasets)
