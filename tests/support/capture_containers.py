"""What capture.py keeps of containers besides their cgroups: files that tell names, and a member's network counters.

Which files those are the collector itself tells: it runs once on a root that notes every path asked for. Of JSON only
the keys below are kept, of units only the description.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from shipper.collect.cgroup import cgroups
from shipper.collect.cgroup.runtime import containers
from shipper.kernel.source import Descriptors, Reader, Root
from shipper.settings.config import Config

KEPT = frozenset(
    {
        *("Name", "State", "Pid", "Config", "Image", "id", "names", "metadata", "data-root"),
        *("Labels", "annotations"),
    }
)
WHOLE = frozenset({"Labels", "annotations"})


class Noting(Root):
    """Notes every path that is asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path, Descriptors(0))
        self.paths: set[str] = set()

    def open(self, path: str, flags: int) -> int:
        self.paths.add(path.strip("/"))
        return super().open(path, flags)

    def stat(self, path: str) -> os.stat_result:
        self.paths.add(path.strip("/"))
        return super().stat(path)


def asked_for(root: str, docker_roots: tuple[str, ...]) -> set[str]:
    """Paths below ``root`` that the cgroup collector reads or looks for."""
    noting = Noting(root)
    default = containers.Options()
    config = Config(collectors=(replace(default, docker_roots=(*default.docker_roots, *docker_roots)),))
    list(cgroups.COLLECTOR.start(Reader(noting), config)())
    return noting.paths


def members(paths: set[str]) -> list[int]:
    """Processes whose network namespace was asked for."""
    found = (path.split("/") for path in paths)
    return sorted(
        int(parts[1])
        for parts in found
        if parts[0] == "proc" and parts[2:] == ["ns", "net"] and parts[1].isdigit() and parts[1] != "1"
    )


def name_files(paths: set[str], root: Root) -> Iterator[tuple[str, str]]:
    """Path and reduced contents of every file of names."""
    for path in sorted(paths):
        file = Path(root.absolute(path))
        if path.startswith(("sys/", "proc/")) or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if path.endswith(".json"):
            yield path, json.dumps(reduced(json.loads(text)), sort_keys=True) + "\n"
        elif path.endswith(".service"):
            lines = [line for line in text.splitlines() if line == "[Unit]" or line.startswith("Description=")]
            yield path, "\n".join(lines) + "\n"
        elif path.startswith("run/systemd/machines/"):
            lines = [line for line in text.splitlines() if line.startswith(("ROOT=", "LEADER="))]
            yield path, "\n".join(lines) + "\n"


def reduced(value: Any) -> Any:
    if isinstance(value, list):
        return [reduced(one) for one in value]
    if isinstance(value, dict):
        return {key: one if key in WHOLE else reduced(one) for key, one in value.items() if key in KEPT}
    return value
