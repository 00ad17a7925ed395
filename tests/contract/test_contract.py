"""What fields, mappings and committed files promise each other and the outside."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from shipper.commands import render
from shipper.fields.field import UNITS, Field, Kind
from shipper.schema import stream_names, templates
from shipper.schema.datasets import DATASETS, MINUTELY, Dataset, every_field
from shipper.settings.config import Index

REPOSITORY = Path(__file__).parents[2]
MOST_DIMENSIONS = 16  # Elasticsearch 8.5 to 8.7; 8.8 takes 21
MOST_FIELDS = 900  # index.mapping.total_fields.limit is 1,000; the operator's own need room

# Names that users' scripts and checks rely on, and the dataset each must be in
FIXED = {
    **dict.fromkeys(("@timestamp", "host.name", "host.id", "event.dataset", "labels"), tuple(DATASETS)),
    **dict.fromkeys(
        (
            *("host.boot.id", "host.os.name", "host.os.version", "host.os.kernel", "agent.version"),
            *("system.cpu.total.norm.pct", "system.cpu.cores", "system.load.1", "system.load.5", "system.load.15"),
            *("system.memory.total", "system.memory.actual.used.bytes", "system.memory.actual.used.pct"),
            "system.uptime.duration.ms",
        ),
        ("host",),
    ),
    **dict.fromkeys(("system.filesystem.mount_point", "system.filesystem.used.pct"), ("filesystem",)),
    "system.diskio.name": ("disk",),
    "system.network.name": ("network",),
    **dict.fromkeys(
        (
            *("cgroup.path", "cgroup.kind", "cgroup.aggregate", "cgroup.depth", "cgroup.mode"),
            *("container.id", "container.name", "container.runtime", "container.image.name"),
            *("cgroup.cpu.usage.ns", "cgroup.cpu.pct", "cgroup.memory.usage.bytes", "cgroup.pids.current"),
            *("cgroup.memory.working_set.bytes", "cgroup.memory.limit.bytes"),
        ),
        ("cgroup",),
    ),
}
# Made of the configuration, or always the same
NO_FILE = frozenset({"@timestamp", "event.module", "event.dataset", "host.os.type"})
UNIT_SEGMENTS = frozenset(
    {
        *("bytes", "pct", "ns", "us", "ms", "s", "count", "cores", "hz"),
        *("celsius", "rpm", "volts", "watts", "amperes", "ppm"),
    }
)
# Elastic's own names, kept so that Kibana's pages and saved queries work; the unit stands in the help and in `unit`
ELASTICS_NAMES = frozenset(
    {
        *("system.entropy.available_bits", "metricset.period"),
        *("system.process.num_threads", "system.process.fd.open"),
        *(f"system.raid.disks.{state}" for state in ("total", "active", "spare", "failed")),
        *(f"system.load.{form}{minutes}" for form in ("", "norm.") for minutes in (1, 5, 15)),
        *(f"system.memory.{name}" for name in ("total", "free", "actual.free", "swap.total", "swap.free")),
        *(f"system.memory.hugepages.{name}" for name in ("total", "free", "reserved", "surplus", "default_size")),
        *(f"system.filesystem.{name}" for name in ("total", "free", "available", "files", "free_files")),
        *(f"system.diskio.{name}" for name in ("read.time", "write.time", "io.time", "io.ops")),
        *(f"system.network.{way}.{name}" for way in ("in", "out") for name in ("packets", "errors", "dropped")),
        *(
            f"system.process.summary.{state}"
            for state in (
                *("total", "running", "sleeping", "idle", "stopped", "zombie", "dead", "unknown"),
                "disk_sleep",
            )
        ),
    }
)
# Ours, formed like the ones of Elastic that they stand beside, or fixed by the design
FORMED_ALIKE = frozenset(
    {
        *(f"system.network.total.{way}.{name}" for way in ("in", "out") for name in ("packets", "errors", "dropped")),
        *("system.diskio.discard.time", "system.diskio.flush.time"),
        *(f"cgroup.network.{way}.{name}" for way in ("in", "out") for name in ("packets", "errors", "dropped")),
        *("cgroup.pids.current", "cgroup.pids.limit", "cgroup.pids.peak"),
    }
)

datasets = pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda one: one.name)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_name_is_declared(name: str) -> None:
    for dataset in FIXED[name]:
        declared = name in {field.name for field in DATASETS[dataset].fields}
        assert declared


@datasets
def test_dimensions_are_few_and_first_of_all_the_host(dataset: Dataset) -> None:
    assert dataset.dimensions[:2] == ("host.name", "host.id")
    assert len(dataset.dimensions) <= MOST_DIMENSIONS
    alone = dataset.name in {"host", "agent"}
    assert (len(dataset.dimensions) == 2) == alone


@datasets
def test_no_leaf_is_a_parent_and_no_name_comes_twice(dataset: Dataset) -> None:
    names = [field.name for field in dataset.fields]
    assert len(set(names)) == len(names)
    parents = {name.rsplit(".", count)[0] for name in names for count in range(1, name.count(".") + 1)}
    assert not parents & set(names)


def test_field_means_the_same_in_all_datasets() -> None:
    """Indices are searched together: one name, one type, kind and unit; leaf in one is not a parent in another."""
    meanings: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for _, field in every_field():
        meanings[field.name].add((field.type, field.kind, field.unit))
    assert [name for name, found in meanings.items() if len(found) > 1] == []
    names = {*meanings, *(alias.name for dataset in DATASETS.values() for alias in dataset.aliases)}
    parents = {name.rsplit(".", count)[0] for name in names for count in range(1, name.count(".") + 1)}
    assert not parents & names


@datasets
def test_alias_is_another_name_of_a_field_of_its_dataset(dataset: Dataset) -> None:
    declared = {field.name for field in dataset.fields}
    assert {alias.target for alias in dataset.aliases} <= declared
    assert not {alias.name for alias in dataset.aliases} & {field.name for _, field in every_field()}


@datasets
def test_mapping_leaves_room_below_the_limit_of_fields(dataset: Dataset) -> None:
    def count(properties: dict[str, Any]) -> int:
        return sum(1 + count(one.get("properties", {})) for one in properties.values())

    assert count(templates.mappings(dataset.fields, dataset.aliases, series=True)["properties"]) <= MOST_FIELDS


def test_unit_is_in_the_last_segment() -> None:
    without = {field.name for _, field in every_field() if field.unit and not _ends_in_unit(field)}
    assert without - ELASTICS_NAMES - FORMED_ALIKE == set()
    assert (ELASTICS_NAMES | FORMED_ALIKE) - without == set()


def _ends_in_unit(field: Field) -> bool:
    last = field.name.rpartition(".")[2]
    return last in UNIT_SEGMENTS or last.endswith("_per_s")


def test_every_field_is_explained_with_known_units() -> None:
    for _, field in every_field():
        assert field.help.strip()
        assert not field.help.endswith(".")
        assert field.source.strip() or field.name in NO_FILE
        assert field.unit in UNITS
        assert bool(field.unit) or field.kind in {Kind.DIMENSION, Kind.NAME, Kind.ATTRIBUTE}


def test_what_comes_once_a_minute_says_so() -> None:
    """The dataset for all of its documents, or else the field."""
    assert {dataset for dataset, _ in MINUTELY} >= {"process", "sensor", "host"}
    for dataset, field in every_field():
        if (dataset.name, field.name) in MINUTELY:
            assert "per minute" in dataset.cadence or "read once a minute" in field.help
    assert [dataset.name for dataset in DATASETS.values() if "per minute" in dataset.cadence] == ["process", "sensor"]


def test_every_counter_has_its_rate_beside_it() -> None:
    for dataset in DATASETS.values():
        names = {field.name for field in dataset.fields}
        for field in dataset.fields:
            if field.kind is Kind.COUNTER:
                assert field.rate in names


def test_streams_match_their_own_template_alone() -> None:
    """The template of a stream must not make its late stream."""
    patterns = {
        one.name: one.body["index_patterns"][0].removesuffix("*")
        for layout in ("datastream", "dated")
        for one in templates.render(Index(layout=layout))
        if one.kind == "index"
    }
    for dataset in DATASETS:
        stands_for = {
            f"metrics-shipper.{dataset}-default": stream_names.stream(dataset, "default"),
            f"metrics-shipper.{dataset}.late-default": stream_names.late_stream(dataset, "default"),
            f"shipper-{dataset}": stream_names.dated_index(dataset, 0),
        }
        for template, index in stands_for.items():
            assert [name for name, start in patterns.items() if index.startswith(start)] == [template]


def test_committed_files_are_as_rendered() -> None:
    """Otherwise: run ``shipper render`` and commit what it changes."""
    from shipper import cli

    assert list(render.differing(REPOSITORY, render.rendered(REPOSITORY, cli.whole_parser()))) == []


def test_render_writes_removes_and_then_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from shipper import cli

    stray = tmp_path / "mappings" / "old.json"
    stray.parent.mkdir()
    stray.write_text("{}")
    directory = ["--directory", str(tmp_path)]
    assert cli.main(["render", "--check", *directory]) == 1
    assert (
        "shipper: mappings/old.json: differs from its source; run `shipper render`"
        in capsys.readouterr().err.splitlines()
    )
    assert cli.main(["render", *directory]) == 0
    assert not stray.exists()
    assert cli.main(["render", "--check", *directory]) == 0
