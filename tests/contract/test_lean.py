"""Lean documents have every field that somebody asks for, and are otherwise like full ones.

Asked for is what the code of the commands names, what the rendered dashboards, alert rules and queries name, and what
Kibana's own pages do. Names that the code puts together count wherever they can be a field's name.
"""

import ast
import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from captured import Noting
from moments import HOSTS

from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.agent.tick import HostIdentity, Ticker
from shipper.deliver.document import flat
from shipper.fields import lean
from shipper.fields.field import Kind
from shipper.schema.datasets import DATASETS, ENVELOPE, every_field
from shipper.settings.config import Config
from shipper.view.why import oom

REPOSITORY = Path(__file__).parents[2]
FIELDS = {field.name: field for _, field in every_field()}
# Text of the code with gaps → what fills the gap, where the code does not take every name
FILLED = {"cgroup.memory.{}.bytes": oom._PARTS}
# A threshold of a field that nothing shows is not asked for
UNUSED_ALONE = ("thresholds.py",)
FEWEST_LETTERS = 9  # of a name with gaps that says enough
# Elastic's names that Kibana's Hosts and Inventory pages ask for (tests/es/test_kibana_pages.py)
KIBANA = (
    *(f"system.cpu.{state}.pct" for state in ("user", "system", "nice", "iowait", "irq", "softirq", "steal")),
    *(f"system.diskio.{way}.{what}" for way in ("read", "write") for what in ("count", "bytes", "time")),
    *("host.network.ingress.bytes", "host.network.egress.bytes", "host.os.name", "host.ip", "system.filesystem.free"),
)
# Pattern → why lean documents have it, although nothing asks for it by name
KEPT = {
    "host.*": "identifies the host",
    "cgroup.depth": "identifies the cgroup",
    "cgroup.mode": "identifies the cgroup",
    "cgroup.description": "identifies the cgroup",
    "cgroup.cpu.usage.ns": "one of the fixed names that scripts rely on",
    "cgroup.frozen": "rare, and the first thing to know",
    "cgroup.io.busiest.name": "whose rate is shown",
    "container.*": "identifies the container",
    "kubernetes.*": "identifies the container",
    "process.*": "identifies the process",
    "user.*": "identifies the process",
    "system.process.*": "of the few busiest processes, once a minute",
    "event.*": "rare",
    "metricset.*": "of the user's own numbers, which are the user's choice",
    "system.raid.*": "rare, and changes with a fault only",
    "system.sensor.label": "identifies the sensor",
    "system.diskio.*": "identifies the disk",
    "system.filesystem.*": "identifies the filesystem",
    "system.network.*": "identifies the interface",
    "system.kernel.taint": "changes with a fault only",
    "system.reboot_required": "rare",
    "agent.*": "what the shipper says of itself, in one document a tick",
}


def named(path: Path) -> Iterator[str]:
    """The fields that a file of the code names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"[\w.@]+", node.value)
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            if text in FILLED:
                yield from (text.format(name) for name in FILLED[text])
            elif len(text.replace("{}", "")) >= FEWEST_LETTERS:
                pattern = re.compile(re.escape(text).replace(r"\{\}", r"[\w.]+"))
                yield from filter(pattern.fullmatch, FIELDS)


@cache
def asked() -> set[str]:
    code = [path for room in ("view", "commands", "server", "doctor") for path in _files(f"shipper/{room}", "py")]
    names = {name for path in code if path.name not in UNUSED_ALONE for name in named(path)}
    for path in [file for end in ("json", "ndjson", "yaml", "md") for file in _files("dashboards", end)]:
        names.update(name.strip(".") for name in re.findall(r"[\w.@]+", path.read_text()))
    aliases = {alias.target for dataset in DATASETS.values() for alias in dataset.aliases}
    return FIELDS.keys() & (names | aliases | {*KIBANA} | {field.name for field in ENVELOPE})


def _files(folder: str, end: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob(f"*.{end}"))


def test_a_name_that_the_code_puts_together_is_found() -> None:
    assert {"cgroup.memory.anon.bytes", "agent.collectors.cpu.us"} <= asked()
    assert "cgroup.memory.slab.bytes" not in asked()


def test_lean_documents_have_every_field_that_is_asked_for() -> None:
    assert [name for name in sorted(asked()) if lean.leaves_out(FIELDS[name])] == []


def test_lean_documents_have_nothing_else_without_a_reason() -> None:
    kept = {name for name, field in FIELDS.items() if not lean.leaves_out(field) and name not in asked()}
    assert [name for name in sorted(kept) if not any(fnmatch.fnmatchcase(name, pattern) for pattern in KEPT)] == []
    assert [pattern for pattern in KEPT if not fnmatch.filter(kept, pattern)] == []


def test_every_pattern_of_the_profile_is_needed() -> None:
    counters = {name for name, field in FIELDS.items() if field.kind is Kind.COUNTER}
    assert [pattern for pattern in lean.COUNTERS if not fnmatch.filter(counters, pattern)] == []
    assert [pattern for pattern in lean.DETAILS if not fnmatch.filter(FIELDS.keys() - counters, pattern)] == []


def ticked(host: str, directory: Path, detail: str) -> tuple[dict[tuple[Any, ...], dict[str, Any]], set[str]]:
    """The documents of the second moment by their dimensions, and the files that were opened."""
    directory.mkdir()
    config = Config()
    root = Noting(HOSTS / host, directory)
    ticker = Ticker(
        replace(config, collect=replace(config.collect, detail=detail)),
        root,
        HostIdentity("host-1", "0" * 32, {}),
        SelfMetrics(None, None),
    )
    for moment in (0, 1):
        root.show(moment)
        entries = ticker.tick(1_763_918_400_000 + moment * 10_000, Report(10_000))
    documents = {}
    for one in map(flat, (json.loads(entry.document) for entry in entries)):
        dataset = DATASETS[one["event.dataset"].removeprefix("shipper.")]
        documents[dataset.name, *(one.get(name) for name in dataset.dimensions)] = one
    return documents, root.opened


@pytest.mark.parametrize("host", ["debian-12-hybrid-docker", "debian-12-v2-systemd"])
def test_a_lean_document_is_a_full_one_without_the_fields_left_out(host: str, tmp_path: Path) -> None:
    full, read = ticked(host, tmp_path / "full", lean.FULL)
    short, read_less = ticked(host, tmp_path / "lean", lean.LEAN)
    assert full.keys() == short.keys()
    left_out = lean.left_out(FIELDS.values(), lean.LEAN)
    agents = [documents.pop(("agent", "host-1", "0" * 32)) for documents in (full, short)]
    for key, document in full.items():
        expected = {name: value for name, value in document.items() if name not in left_out}
        assert short[key] == expected
        assert len(expected) < len(document) or key[0] in {"process", "filesystem"}
    assert [one["agent.detail"] for one in agents] == ["full", "lean"]
    assert {Path(file).name for file in read - read_less} == {"snmp6"}
