"""Collectors of other packages: the template as it stands in the documentation, and packages that cannot be used."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.collect import _BUILT_IN, plugins
from shipper.fields.dataset import DECLARED

DOCUMENT = Path(__file__).parents[2] / "docs/own-metrics.md"
FILE = re.compile(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the template."""
    project, site = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    files = dict(FILE.findall(DOCUMENT.read_text()))
    assert files.keys() == {"pyproject.toml", "shipper_aio.py"}
    assert sum(text.count("\n") for text in files.values()) <= 30
    for name, text in files.items():
        (project / name).write_text(text)
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*words, "--target", str(site), str(project)], check=True)
    return site


def shipper(site: Path, *words: str) -> str:
    command = [sys.executable, "-m", "shipper", *words]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=environ, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_template_is_collected_and_explained(site: Path) -> None:
    of_host = ["--period", "1s", "--host-verify", "false"]
    (document,) = map(json.loads, shipper(site, "once", "--dataset", "host", *of_host).splitlines())
    assert document["aio"]["requests"]["count"] == int(Path("/proc/sys/fs/aio-nr").read_text())
    assert "proc/sys/fs/aio-nr" in shipper(site, "once", "--explain", "aio.requests.count", *of_host)


def test_the_template_is_mapped_and_documented(site: Path, tmp_path: Path) -> None:
    told = shipper(site, "fields", "aio.requests.count")
    assert "Requests of asynchronous I/O" in told
    assert "shipper_aio.py" in told
    shipper(site, "render", "--directory", str(tmp_path))
    mapping = json.loads((tmp_path / "mappings/component_template/metrics-shipper.host@package.json").read_text())
    properties = mapping["template"]["mappings"]["properties"]
    assert properties["aio"]["properties"]["requests"]["properties"]["count"]["time_series_metric"] == "gauge"
    agent = (tmp_path / "mappings/README.md").read_text()
    assert "`agent.collectors.aio.us`" in agent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module ``other`` with the entry point ``other``, as if it were installed."""
    info = tmp_path / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[shipper.collectors]\nother = other:COLLECTOR\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "FAULTS", {})
    yield tmp_path / "other.py"
    sys.modules.pop("other", None)


HEAD = """
from shipper.collect.contract import Collector, Output, plain
from shipper.fields.dataset import HOST, declare
from shipper.fields.field import dimension, gauge
def made(name, field, dataset=HOST):
    return Collector(name, plain(lambda reader: ()), {dataset: Output((field,))})
"""
FAULTS = {
    "1 / 0": "division by zero",
    "COLLECTOR = 3": "not a Collector",
    "COLLECTOR = made('cpu', gauge('a.count', 'count', 'Help', ''))": "the name cpu is taken, or ",
    "COLLECTOR = made('x', gauge('system.load.1', 'count', 'Help', ''))": "field system.load.1: another field has ",
    "COLLECTOR = made('x', gauge('system.load.1.count', 'count', 'Help', ''))": "field system.load.1.count: another ",
    "COLLECTOR = made('x', gauge('a.count', 'parsecs', 'Help', ''))": "field a.count: no such unit: parsecs",
    "COLLECTOR = made('x', gauge('a.count', 'count', '', ''))": "field a.count: it has no help",
    "COLLECTOR = made('x', gauge('A', 'count', 'Help', ''))": "field A: a name is of lower-case words ",
    "COLLECTOR = made('x', gauge('a.count', 'count', 'Help', ''), 'gpu')": "no dataset gpu; declare it with ",
    "declare('gpu', 'a card'); declare('host', 'x')": "dataset host exists, or its name ",
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_package_that_cannot_be_used_costs_only_itself(code: str, package: Path) -> None:
    package.write_text(HEAD + code)
    before = dict(DECLARED)
    assert plugins.load(_BUILT_IN) == ()
    assert plugins.FAULTS["other"].removeprefix("other:COLLECTOR: ").startswith(FAULTS[code])
    assert before == DECLARED


def test_a_package_may_declare_a_dataset(package: Path) -> None:
    package.write_text(
        f"{HEAD}\nCOLLECTOR = made('x', gauge('gpu.count', 'count', 'Help', ''), declare('gpu', 'a card'))"
    )
    try:
        (collector,) = plugins.load(_BUILT_IN)
        assert list(collector.outputs) == ["gpu"]
        assert DECLARED["gpu"].help == "a card"
    finally:
        DECLARED.pop("gpu", None)
