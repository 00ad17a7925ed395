"""From inside the container the numbers are the host's: a reading there between two readings of the host itself.

Counters have to lie between the two, without tolerance; what is fixed has to be equal; no field may be missing, and
none be there that the host does not show. ALLOWED lists what may differ nevertheless. Other load moves values between
the readings: where any differs all is read again, and only what differs each time is wrong.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any

import pytest
from booting import PROGRAM, Bridge, Node, node, own_cgroup, run, space
from imaging import Image
from readme import REPOSITORY, commands

from shipper.collect.cgroup import container_network
from shipper.collect.events import kernel_log
from shipper.deliver.document import flat
from shipper.fields.field import Field, Kind
from shipper.schema.datasets import DATASETS

pytestmark = [pytest.mark.root, pytest.mark.needs("systemd-nspawn", "mmdebstrap", "ip")]

SCRIPT = REPOSITORY / "units/nspawn/shipper-nspawn"
ONCE = ("once", "--period", "1s")
# Whole documents that are of the reader, not of the host
OTHERS = frozenset({"shipper.agent"})
LOOKS = 3
# No field may be missing or wrong. What moves by itself between two readings, and is no counter: how far it may be off
MOVES_PCT = 0.5
MOVES_LEAST = {"bytes": 256 << 20, "count": 400, "ms": 10_000, "s": 10, "us": 50_000, "ns": 5e9, "ppm": 100}
# Made of what was added between two reads: absent where that was nothing
IDLE = re.compile(r"system\.diskio\.(.*\.await\.ms|request\.bytes)|cgroup\.io\.busiest\.name|.*_per_s|.*\.pct")
# Counted from where each reader began in the kernel's log: they have to be there, the numbers are the reader's own
LOG = frozenset(f"system.kernel.log.{name}.count" for name in kernel_log.PATTERNS)
# Else only what the kernel does not tell in a process namespace of its own, which line A has not
ALLOWED: dict[str, frozenset[str]] = {
    "A": frozenset(),
    "B": frozenset(
        {
            "system.pids.limit.count",  # since Linux 6.14 pid_max is of the reader's namespace
            "cgroup.processes.count",  # v1 lists in cgroup.procs only what the reader's namespace has
        }
    ),
}
# Where no file of a runtime names a process, line B has none by which it would find the network
NETWORK = frozenset(field.name for field in container_network.FIELDS)

VIEWS = [(line, network) for line in "AB" for network in ("", "--private-network")]

Entities = dict[tuple[str, ...], dict[str, Any]]


def parsed(output: str) -> Entities:
    found: Entities = {}
    for line in output.splitlines():
        values = flat(json.loads(line))
        name = values["event.dataset"]
        if name not in OTHERS:
            dimensions = DATASETS[name.removeprefix("shipper.")].dimensions
            found[(name, *(str(values.get(one)) for one in dimensions))] = values
    assert found
    return found


Difference = tuple[tuple[str, ...], str]  # the entity, and its field or nothing


def confirmed(host: Callable[[], Entities], container: Callable[[], Entities], own: str, line: str = "A") -> list[str]:
    """What is wrong with each of LOOKS readings in the container, every one between two of the host."""
    told: dict[Difference, str] = {}
    before = host()
    for look in range(LOOKS):
        inside, after = container(), host()
        wrong = differences(before, inside, after, own, line)
        told = {key: text for key, text in wrong.items() if key in told or look == 0}
        if not told:
            break
        before = after
    return list(told.values())


def differences(before: Entities, inside: Entities, after: Entities, own: str, line: str) -> dict[Difference, str]:
    """What is wrong with the reading ``inside``; ``own``: part of the paths of the container's own cgroups."""
    missing = [one for one in before.keys() & after.keys() - inside.keys() if _lasts(one)]
    found = {(one, ""): f"{one} is missing" for one in missing}
    foreign = inside.keys() - before.keys() - after.keys()
    found |= {(one, ""): f"{one} is not of the host" for one in foreign if _lasts(one) and own not in one[-1]}
    for entity in before.keys() & inside.keys() & after.keys():
        if own not in entity[-1]:
            unknown = line == "B" and "container.id" not in before[entity]
            absent = ALLOWED[line] | (NETWORK if unknown else frozenset())
            wrong = _of_entity(entity[0], before[entity], inside[entity], after[entity], absent)
            found |= {(entity, name): f"{entity}: {name} {what}" for name, what in wrong}
    return found


def _lasts(entity: tuple[str, ...]) -> bool:
    return entity[0] != "shipper.process"  # those of the moment that are busiest


def _of_entity(
    dataset: str, before: dict[str, Any], inside: dict[str, Any], after: dict[str, Any], absent: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Name of each field that is wrong, and how."""
    fields = {field.name: field for field in DATASETS[dataset.removeprefix("shipper.")].fields}
    for name in sorted((before.keys() & after.keys()) - inside.keys() - absent):
        if not IDLE.fullmatch(name):
            yield name, f"is missing, the host has {before[name]}"
    for name in sorted(inside.keys() - before.keys() - after.keys()):
        if not IDLE.fullmatch(name):
            yield name, f"= {inside[name]} is there, the host has none"
    for name in sorted((before.keys() & inside.keys() & after.keys()) - {"@timestamp"} - LOG):
        if not _is_between(before[name], inside[name], after[name], fields.get(name)):
            yield name, f"= {inside[name]!r}, the host has {before[name]!r} and {after[name]!r}"


def _is_between(low: Any, value: Any, high: Any, field: Field | None) -> bool:
    if field is None or not isinstance(value, int | float) or isinstance(value, bool):
        return value in (low, high)
    if field.kind is Kind.COUNTER:
        return bool(low > high or low <= value <= high)
    if field.name.endswith("_per_s") or field.unit == "pct":
        return bool(value >= 0)
    return _near(value, min(low, high), max(low, high), field.unit)


def _near(value: float, low: float, high: float, unit: str) -> bool:
    slack = max(MOVES_PCT * abs(high), MOVES_LEAST.get(unit, 5))
    return low - slack <= value <= high + slack


def test_what_differs_once_is_moved_by_others_and_what_differs_each_time_is_wrong() -> None:
    def read(*committed: int) -> Callable[[], Entities]:
        sizes = iter(committed)
        return lambda: {("shipper.host", "h", "i"): {"system.memory.committed.bytes": next(sizes) << 30}}

    assert confirmed(read(8, 8, 8), read(80, 8), "/own") == []
    [told] = confirmed(read(8, 8, 8, 8), read(80, 80, 80), "/own")
    assert "system.memory.committed.bytes = 85899345920, the host has 8589934592 and" in told


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    directory = tmp_path_factory.mktemp("nspawn")
    rc = directory / "rc"
    rc.write_text(f"NSPAWN_MACHINES={directory}/machines\nNSPAWN_STATE={directory}/state\n")
    yield {"SHIPPER_NSPAWNRC": str(rc), "INVOCATION_ID": "1"}
    run("rm", "-rf", "--one-file-system", f"{directory}/machines")


def output(words: list[str], settings: Mapping[str, str] = MappingProxyType({})) -> str:
    environment = {**os.environ, **settings}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def neighbour() -> Iterator[None]:
    """A process with a network of its own, which no runtime started."""
    interfaces = "ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up"
    with own_cgroup() as (_, entering):
        words = ["sh", "-ec", f"{entering}exec unshare --net sh -ec '{interfaces}; echo up; exec sleep 600'"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.readline() == b"up\n"
            yield
            process.kill()


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("mode", ["as it is", "v1"])
def test_on_this_machine(image: Image, settings: dict[str, str], mode: str) -> None:
    """v1: the unified hierarchy of a hybrid host is taken away in a mount namespace of the test's own."""
    away = "umount /sys/fs/cgroup/unified; " if mode == "v1" else ""
    with own_cgroup() as (name, entering):
        enter = ["unshare", "--mount", "sh", "-ec", f'{entering}{away}exec "$@"', "-"]
        host = [*enter, sys.executable, "-m", "shipper", *ONCE]
        container = [*enter, str(SCRIPT), str(image.tar), "shipper", *ONCE]
        for line, network in VIEWS:
            flags = settings | {"NSPAWN_LINE": line, "NSPAWN_FLAGS": network}

            def inside(flags: Mapping[str, str] = flags) -> Entities:
                reading = parsed(output(container, flags))
                assert mode != "v1" or modes(reading) == {"v1"}
                return reading

            assert confirmed(lambda: parsed(output(host)), inside, name, line) == []


def modes(documents: Entities) -> set[str]:
    return {values["cgroup.mode"] for key, values in documents.items() if key[0] == "shipper.cgroup"}


@pytest.fixture(scope="module")
def booted(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on cgroup v2, with both units installed and the program of the host linked."""
    with ExitStack() as stack:
        base = stack.enter_context(space(tmp_path_factory.mktemp("nodes")))
        bridge = stack.enter_context(Bridge(("127.0.0.1", 9)).made())
        one = stack.enter_context(node(base, bridge, 2))
        (one.tree / "etc/shipper/shipper.toml").write_text("[host]\nverify = false\n")
        (one.tree / "etc/shipper/api-key").write_text("id:key")
        shutil.copy(image.tar, one.tree / "opt" / image.tar.name)
        (one.tree / "opt/shipper/bin").mkdir(parents=True)
        program = one.tree / "opt/shipper/bin/shipper"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        one.boot()
        one.run("sh", "-ec", f"cd {REPOSITORY}\n" + commands("units/README.md", "file"))
        one.run("systemctl", "stop", "shipper.service")
        yield one


def from_unit(one: Node, unit: str, command: str, *more: str) -> Entities:
    """What ``shipper once`` prints as that unit, with all that the unit forbids."""
    drop_in = one.tree / f"etc/systemd/system/{unit}.d/once.conf"
    drop_in.parent.mkdir(exist_ok=True)
    text = ["[Service]", "Type=oneshot", "Restart=no", "ExecStart=", f"ExecStart={command} {' '.join(ONCE)}"]
    drop_in.write_text("\n".join([*text, "StandardOutput=truncate:/opt/once", "StandardError=journal", *more, ""]))
    one.run("systemctl", "daemon-reload")
    one.run("systemctl", "start", unit)
    return parsed((one.tree / "opt/once").read_text())


def test_on_a_v2_node_as_the_unit(booted: Node, image: Image) -> None:
    host = booted.enter(sys.executable, "-m", "shipper", *ONCE)
    for line, network in VIEWS:
        command = f"/opt/bin/shipper-nspawn /opt/{image.tar.name} shipper"
        settings = f'Environment=NSPAWN_LINE={line} "NSPAWN_FLAGS={network}"'

        def inside(command: str = command, settings: str = settings) -> Entities:
            reading = from_unit(booted, "shipper.service", command, settings)
            assert modes(reading) == {"v2"}
            return reading

        assert confirmed(lambda: parsed(output(host)), inside, "/shipper.service", line) == []


def test_the_unit_without_a_container(booted: Node) -> None:
    booted.run("sh", "-ec", commands("units/README.md", "host").replace("systemctl enable --now", "systemctl cat"))
    host = booted.enter(sys.executable, "-m", "shipper", *ONCE)

    def inside() -> Entities:
        return from_unit(booted, "shipper-host.service", "/opt/shipper/bin/shipper")

    assert confirmed(lambda: parsed(output(host)), inside, "/shipper-host.service") == []


@pytest.mark.parametrize("unit", ["shipper.service", "shipper-host.service"])
def test_a_drop_in_takes_the_kernels_log_away(booted: Node, image: Image, unit: str) -> None:
    programs = {
        "shipper.service": f"/opt/bin/shipper-nspawn /opt/{image.tar.name} shipper",
        "shipper-host.service": "/opt/shipper/bin/shipper",
    }
    counts = {name for values in from_unit(booted, unit, programs[unit]).values() for name in values} & LOG
    assert counts == LOG
    without = from_unit(booted, unit, programs[unit], "ProtectKernelLogs=yes")
    [values] = (values for key, values in without.items() if key[0] == "shipper.host")
    assert values.keys() & LOG == set()
