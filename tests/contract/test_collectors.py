"""What belongs to a collector: captured input, a golden value, fuzz of its parser, help, a source, a line of code."""

import inspect
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from captured import CapturedRoot, Noting, Ticks
from golden.test_fuzz import PARSERS
from golden.test_fuzz_collectors import MADE
from moments import HOSTS

from shipper.collect import COLLECTORS
from shipper.collect.contract import Collector
from shipper.collect.explain import TracedRoot
from shipper.commands import fields as command
from shipper.fields.field import UNITS, Field
from shipper.kernel.source import File, Reader
from shipper.settings.config import Collect, Config

# No captured machine has what they read. adjtimex(2) and D-Bus are no files; the others are in MADE, word by word as in
# the documentation of the kernel
WITHOUT_GOLDEN = {"addresses", "conntrack", "clock", "hardware", "raid", "sensors", "storage_clients", "systemd"}
WITHOUT_GOLDEN |= {"kernel_log", "metrics"}  # metrics: only what is configured
NO_FILES = {"clock", "systemd", "metrics"}

collectors = pytest.mark.parametrize("collector", COLLECTORS, ids=lambda one: one.name)


def golden() -> dict[str, set[str]]:
    """Dataset → names of all values in golden files."""
    found: dict[str, set[str]] = {}
    for path in HOSTS.glob("*/golden.json"):
        for moment in json.loads(path.read_text()).values():
            for dataset, entities in moment["documents"].items():
                found.setdefault(dataset, set()).update(name for values in entities.values() for name in values)
    return found


GOLDEN = golden()


@collectors
def test_golden_files_have_values_of_each_output(collector: Collector) -> None:
    """Else: add the file to PLAIN of capture.py, to a host in tests/hosts, and run pytest with --update-golden."""
    seen = {
        dataset: bool(GOLDEN.get(dataset, set()) & {field.name for field in output.fields})
        for dataset, output in collector.outputs.items()
    }
    assert seen == dict.fromkeys(seen, collector.name not in WITHOUT_GOLDEN)


@collectors
def test_each_collector_reads_captured_files(collector: Collector, tmp_path: Path) -> None:
    """Else the fuzz of it has nothing to damage: capture the file, or add its text to MADE of test_fuzz_collectors."""
    root = Noting(HOSTS / "debian-12-hybrid", tmp_path)
    config = Config(collect=Collect(datasets=tuple(collector.outputs)))
    reader = Reader(root)
    list(collector.start(reader, config)())
    reader.close()
    captured = {path for path in root.opened if (HOSTS / "debian-12-hybrid/0" / path).is_file()}
    made = {path for path in MADE if any(path == name or path.startswith(f"{name}/") for name in root.opened)}
    assert captured | made or collector.name in NO_FILES


class Counting(TracedRoot):
    """Counts the reads of each file."""

    def __init__(self, root: CapturedRoot) -> None:
        super().__init__(root)
        self.counts: Counter[str] = Counter()
        self.now_ns = root.now_ns  # type: ignore[method-assign]

    def file(self, path: str) -> File:
        return CountedFile(self, path)

    def read(self, path: str) -> bytes:
        self.counts[path] += 1
        return super().read(path)


class CountedFile(File):
    """Counts its reads."""

    def __init__(self, root: Counting, path: str) -> None:
        super().__init__(root, path)
        self._counts = root.counts

    def read(self) -> bytes:
        self._counts[self.path] += 1
        return super().read()


def test_no_file_is_read_twice_in_a_tick(tmp_path: Path) -> None:
    """Except once a minute, when cgroups and processes also read a few files of the host."""
    captured = CapturedRoot(HOSTS / "debian-12-hybrid", tmp_path)
    root = Counting(captured)
    ticks = Ticks(root, [collector for collector in COLLECTORS if not collector.every_s])
    ticks.tick()
    captured.show(1)  # 10 s later
    root.forget()
    root.counts.clear()
    documents = ticks.tick()
    ticks.close()
    assert {"disk", "network", "core", "host", "cgroup"} <= documents.keys()
    assert root.counts["proc/diskstats"] == root.counts["proc/1/net/dev"] == root.counts["proc/stat"] == 1
    assert {path: count for path, count in root.counts.items() if count > 1} == {}


def modules(collector: Collector) -> set[Any]:
    """The modules that declare the fields of ``collector``."""
    files = {field.declared.file for output in collector.outputs.values() for field in output.fields}
    return {module for module in list(sys.modules.values()) if getattr(module, "__file__", "") in files}


@collectors
def test_each_parser_is_fuzzed(collector: Collector) -> None:
    """Else: a row in PARSERS of test_fuzz.py."""
    fuzzed = {parser for _, parser, _ in PARSERS}
    for module in modules(collector):
        parse = getattr(module, "parse", None)
        assert parse is None or parse.__module__ != module.__name__ or parse in fuzzed, module.__name__


@collectors
def test_each_field_is_found_where_it_is_declared(collector: Collector) -> None:
    """The parts of a name that is composed stand in a table of the same file."""
    for output in collector.outputs.values():
        for field in output.fields:
            text = Path(field.declared.file).read_text()
            assert field.declared.path.startswith("shipper/")
            assert any(part in text for part in parts(field)), field.name


def parts(field: Field) -> list[str]:
    """The name, it without its unit, its last two words or more, and each of its words as a text of its own."""
    words = field.name.split(".")
    ends = [".".join(words[at:end]) for end in (len(words), -1) for at in range(1, len(words) - 1)]
    own = [word for word in words[2:] if word not in UNITS]
    return [field.name, ".".join(words[:-1]) or field.name, *ends, *(f'"{word}"' for word in own)]


def test_a_field_is_told_with_its_files_and_panels(capsys: pytest.CaptureFixture[str]) -> None:
    from shipper import cli

    assert cli.main(["fields", "system.load.1"]) == 0
    told = dict(line.strip().split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    source, line = inspect.getsourcelines(load_parse())
    assert source
    assert told["source"] == "proc/loadavg 1st"
    assert told["read"].endswith(f"shipper/collect/host/load.py:{line} parse()")
    file, number = told["declared"].split(":")
    assert "system.load.1" in Path(file).read_text().splitlines()[int(number) - 1]
    assert told["dashboard"] == "CoreOS: Load, 1 minute"


def load_parse() -> Any:
    from shipper.collect.host import load

    return load.parse


def test_a_counter_is_told_with_the_panels_of_its_rate() -> None:
    told = list(command.details("system.diskio.total.read.bytes"))
    panels = [line for line in told if line.startswith("  dashboard ")]
    assert len(panels) >= 2
    assert all(line.endswith(" (system.diskio.total.read.bytes_per_s)") for line in panels)
    assert list(command.details("no.such.field")) == []
