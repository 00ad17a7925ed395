"""Real containers of each runtime: names, images and labels, and our figures against the runtime's own."""

# ruff: noqa: E501 – command lines

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from captured import collecting
from engines import CGROUPS, IMAGE, WORK, containerd, docker, image, podman, swept

from shipper.collect.cgroup import cgroups
from shipper.collect.cgroup.runtime import podman_database
from shipper.fields.rates import Value
from shipper.kernel.hierarchy import Mode, detect
from shipper.kernel.source import Descriptors, Reader, Root

pytestmark = pytest.mark.root

# A memory cgroup's figures may lag by a batch of 64 pages per CPU (mm/memcontrol.c, MEMCG_CHARGE_BATCH)
LAG = 64 * os.sysconf("SC_PAGE_SIZE") * (os.cpu_count() or 1)
LABELS = ("role=web", "com.docker.compose.project=shop", "secret=no")
ALLOWED = {"role": "web", "com.docker.compose.project": "shop"}

Documents = dict[str, dict[str, Value]]


@pytest.fixture
def documents() -> Iterator[Callable[..., Documents]]:
    """A function that reads all cgroups once; its arguments are options of [collect]."""
    readers: list[Reader] = []

    def read(**options: Any) -> Documents:
        reader = Reader(Root("/", Descriptors(0)))
        readers.append(reader)
        config = collecting(labels=("role", "com.docker.compose.*"), **options)
        found = {}
        for reading in cgroups.COLLECTOR.start(reader, config)():
            reading.values |= cgroups.COLLECTOR.outputs["cgroup"].derive(reading.values, reading.inputs)
            found[reading.entity] = reading.values
        assert reader.take_problems() == []
        return found

    yield read
    for reader in readers:
        reader.close()


def labels(option: str) -> list[str]:
    return [word for label in LABELS for word in (option, label)]


def number(values: dict[str, Value], name: str) -> float:
    value = values[name]
    assert isinstance(value, int | float)
    return value


def test_docker(short: Path, documents: Callable[..., Documents]) -> None:
    with docker(short / "d") as engine:
        id_ = engine.started("web-1", *labels("--label"), "--memory", "64m", "--cpus", "1.5", "--pids-limit", "50")
        values = documents(docker_roots=(str(engine.data_root),))[f"/docker/{id_}"]
        theirs = engine.get(f"/containers/{id_}/stats?stream=false&one-shot=true")
        engine.run("pause", "web-1")
        paused = documents(docker_roots=(str(engine.data_root),))[f"/docker/{id_}"]
    expected = {
        "cgroup.kind": "container", "cgroup.aggregate": False, "container.id": id_, "container.name": "web-1",
        "container.image.name": IMAGE, "container.runtime": "docker", "container.labels": ALLOWED,
        "cgroup.memory.limit.bytes": 64 << 20, "cgroup.cpu.limit.cores": 1.5, "cgroup.pids.limit": 50,
        "cgroup.processes.count": 1, "cgroup.frozen": False, "cgroup.pids.current": theirs["pids_stats"]["current"],
    }  # fmt: skip
    assert {name: values.get(name) for name in expected} == expected
    assert theirs["memory_stats"]["limit"] == 64 << 20
    cpu = theirs["cpu_stats"]["cpu_usage"]["total_usage"]
    assert cpu > 100_000_000
    assert number(values, "cgroup.cpu.usage.ns") == pytest.approx(cpu, rel=0.02)
    memory = theirs["memory_stats"]
    assert number(values, "cgroup.memory.usage.bytes") == pytest.approx(memory["usage"], rel=0.02, abs=LAG)
    inactive = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file"))
    working = number(values, "cgroup.memory.working_set.bytes")
    assert working == pytest.approx(memory["usage"] - inactive, rel=0.02, abs=LAG)
    assert paused["cgroup.frozen"] is True
    assert "cgroup.network.in.bytes" not in values


def test_podman(short: Path, documents: Callable[..., Documents]) -> None:
    with podman(short / "p") as engine:
        id_ = engine.started("web-1", *labels("--annotation"), "--memory", "64m")
        found = documents(storage_roots=(str(engine.storage),))
        theirs = json.loads(engine.run("stats", "--no-stream", "--format", "{{json .ContainerStats}}", id_))
    values = found[f"/libpod_parent/libpod-{id_}"]
    expected = {
        "cgroup.kind": "container", "container.id": id_, "container.name": "web-1", "container.runtime": "podman",
        "container.image.name": f"localhost/{IMAGE}", "container.labels": ALLOWED, "cgroup.memory.limit.bytes": 64 << 20,
    }  # fmt: skip
    assert {name: values.get(name) for name in expected} == expected
    assert number(values, "cgroup.cpu.usage.ns") == pytest.approx(theirs["CPUNano"], rel=0.02)
    assert number(values, "cgroup.memory.usage.bytes") == pytest.approx(theirs["MemUsage"], rel=0.02, abs=LAG)
    assert values["cgroup.pids.current"] == theirs["PIDs"]


def test_what_only_podmans_database_tells(short: Path, documents: Callable[..., Documents]) -> None:
    """A new name, labels, and the name of a pod: podman of Debian 12 keeps them in bolt."""
    with podman(short / "p") as engine:
        engine.run("pod", "create", "--infra=false", "--name", "shop")
        id_ = engine.started("web-1", *labels("--label"), "--pod", "shop")
        engine.run("rename", "web-1", "web-2")
        pod = engine.run("pod", "inspect", "--format", "{{.ID}}", "shop").strip()
        found = documents(storage_roots=(str(engine.storage),))
        data = (engine.storage / "libpod/bolt_state.db").read_bytes()
    [values] = (one for path, one in found.items() if path.endswith(f"/libpod-{id_}"))
    expected = {"container.name": "web-2", "cgroup.name": "web-2", "container.labels": ALLOWED}
    assert {name: values.get(name) for name in expected} == expected
    assert podman_database.parse(data)[pod]["name"] == "shop"


def test_containerd(short: Path, documents: Callable[..., Documents]) -> None:
    with containerd(short / "c") as engine:
        engine.started("web-1", *labels("--label"))
        values = documents(containerd_states=(str(engine.state),))["/default/web-1"]
        theirs = json.loads(engine.run("tasks", "metrics", "--format", "json", "web-1"))
    expected = {
        "cgroup.kind": "container", "container.id": "web-1", "container.name": "web-1",
        "container.runtime": "containerd", "container.labels": ALLOWED,
    }  # fmt: skip
    assert {name: values.get(name) for name in expected} == expected
    cpu = theirs["cpu"]
    ns = cpu["usage"]["total"] if "usage" in cpu else cpu["usage_usec"] * 1000
    assert number(values, "cgroup.cpu.usage.ns") == pytest.approx(ns, rel=0.02)
    usage = theirs["memory"]["usage"]
    bytes_ = usage["usage"] if isinstance(usage, dict) else usage
    assert number(values, "cgroup.memory.usage.bytes") == pytest.approx(bytes_, rel=0.02, abs=LAG)
    assert values["cgroup.pids.current"] == theirs["pids"]["current"]


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[str]:
    """The cgroup of a service of machine.slice in every hierarchy, as systemd would make it."""
    path = f"machine.slice/systemd-nspawn@shipper{secrets.token_hex(3)}.service"
    mode = detect(Reader(Root())).mode
    bases = [CGROUPS] if mode is Mode.V2 else [base for base in CGROUPS.iterdir() if (base / "cgroup.procs").exists()]
    with swept(tmp_path, "machine.slice"):
        for base in bases:
            (base / path).mkdir(parents=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                for level in (base / path).parent, base / path:
                    with suppress(OSError):
                        (level / name).write_text((level.parent / name).read_text())
        yield path


def test_nspawn_machine_is_one_document_and_agrees_with_its_resource_usage(
    tmp_path: Path, unit: str, documents: Callable[..., Documents]
) -> None:
    name = unit.partition("@")[2].removesuffix(".service")
    script = f'for one in /sys/fs/cgroup/{unit} /sys/fs/cgroup/*/{unit}; do test ! -e $one || echo $$ > $one/cgroup.procs; done; exec "$@"'
    words = [
        "sh", "-c", script, "sh", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--machine", name,
        "--directory", str(image(tmp_path / "image")), "/bin/sh", "-c", WORK.replace("exec sleep 600", "read line"),
    ]  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        assert machine.stdin and machine.stdout
        assert any(line.strip() == "done" for line in machine.stdout)
        found = documents()
        machine.stdin.write("\n")
        machine.stdin.flush()
        assert machine.stdout.read() == ""
        _, status, usage = os.wait4(machine.pid, 0)
        machine.returncode = os.waitstatus_to_exitcode(status)
        after = documents()[f"/{unit}"]
    assert machine.returncode == 0
    mine = {path: values for path, values in found.items() if path.startswith(f"/{unit}")}
    assert set(mine) == {f"/{unit}"}
    values = mine[f"/{unit}"]
    assert (values["cgroup.kind"], values["container.name"]) == ("machine", name)
    assert values["container.runtime"] == "systemd-nspawn"
    assert number(values, "cgroup.processes.count") >= 2
    cpu = (usage.ru_utime + usage.ru_stime) * 1e9
    assert number(after, "cgroup.cpu.usage.ns") == pytest.approx(cpu, rel=0.02, abs=20_000_000)
