"""What the agent may cost: what it imports, how much memory it takes, what a document is made of on the hot path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import day, instructions
from bench.bare import command
from shipper.agent.loop import phase_s
from shipper.agent.tick import HostIdentity
from shipper.settings.config import Collect, Config

# What only people, servers or workbenches need, or takes megabytes; asyncio comes with the client's transport
LEFT_OUT = {
    "elasticsearch", "requests", "aiohttp", "httpx", "numpy", "pandas", "pyarrow", "orjson",
    "rich", "textual", "plotly", "shipper.view", "shipper.schema.reference", "shipper_dashboards", "shipper_eslocal",
    "bench", "unittest", "pydoc", "doctest", "pdb", "sqlite3",
    "http.server", "xml", "multiprocessing", "tkinter", "distutils", "setuptools", "pkg_resources",
}  # fmt: skip
MOST_MIB = 40 if sys.version_info < (3, 13) else 43


def after_ticks(tmp_path: Path, *options: str) -> tuple[set[str], float]:
    """Modules of ``shipper run`` after two ticks on this host, and its resident memory in MiB."""
    told = tmp_path / "told"
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import atexit, json, sys\n"
        "def tell():\n"
        "    pages = int(open('/proc/self/statm').read().split()[1])\n"
        "    there = [name for name, one in sys.modules.items() if one]\n"
        f"    print(json.dumps([there, pages]), file=open({str(told)!r}, 'w'))\n"
        "atexit.register(tell)\n"
    )
    run = ["run", "--period", "1s", "--ticks", "2", "--spool", str(tmp_path / "spool"), "--host-verify", "false"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "SHIPPER_SPOOL_FLUSH": "1s"}
    environ |= {
        "SHIPPER_ELASTICSEARCH_HOSTS": "http://127.0.0.1:1",
        "SHIPPER_COLLECT_CGROUP_EXCLUDE": "*",  # however many others run here
    }
    subprocess.run(command(*run, *options), env=environ, check=True, timeout=60)
    modules, pages = json.loads(told.read_text())
    return set(modules), pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def test_run_imports_only_what_it_needs_and_stays_small(tmp_path: Path) -> None:
    modules, mib = after_ticks(tmp_path)
    assert {"shipper.agent.loop", "elastic_transport"} <= modules
    assert modules & LEFT_OUT == set()
    own = {name for name in modules if name.startswith("shipper.collect.metric.")}
    assert own == {"shipper.collect.metric.collector"}  # no source is configured
    assert mib <= MOST_MIB


def test_a_source_imports_only_what_its_type_needs(tmp_path: Path) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text(f'[[metrics]]\ntype = "textfile"\nname = "a"\ndirectory = "{tmp_path}"\n')
    modules, mib = after_ticks(tmp_path, "--config", str(file))
    assert "shipper.collect.metric.exposition" in modules
    types = {f"shipper.collect.metric.{name}" for name in ("statsd", "scrape", "command")}
    assert modules & (LEFT_OUT | types | {"prometheus_client"}) == set()
    assert mib <= MOST_MIB + 1


def test_a_fleet_sends_spread_over_half_a_period() -> None:
    config = Config(collect=Collect(period_s=10))
    phases = [phase_s(HostIdentity(f"host-{i}", "0" * 32, {}), config) for i in range(1000)]
    assert 0 <= min(phases) < 0.5
    assert 4.5 < max(phases) < 5
    in_a_second = [sum(at <= phase < at + 1 for phase in phases) for at in range(5)]
    assert max(in_a_second) < 300
    assert phases == [phase_s(HostIdentity(f"host-{i}", "0" * 32, {}), config) for i in range(1000)]


@pytest.mark.bench
@pytest.mark.needs("valgrind", "cc")
def test_instructions_and_bytes_of_a_document_are_those_recorded() -> None:
    found = {host: instructions.measure(host) for host in instructions.HOSTS}
    assert instructions.differences(found) == []


@pytest.mark.bench
def test_memory_does_not_grow_with_time() -> None:
    """Four simulated hours; ``python -m bench.day`` has all of a day."""
    first, *_, last = day.resident(1440, 4)
    assert last - first < 0.5
