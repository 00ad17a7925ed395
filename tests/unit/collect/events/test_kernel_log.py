"""The kernel's log: recorded records, and on this machine a real OOM kill in a cgroup of the test's own."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from captured import Ticks
from trees import Tree, config

from shipper.collect.events import kernel_events, kernel_log
from shipper.kernel.hierarchy import UNIFIED, detect
from shipper.kernel.source import Descriptors, Reader, Root
from shipper.settings.config import Config

RECORDS = Path(__file__).parents[3] / "kmsg"
BOOT = "5c7a1b1e-0000-4000-8000-000000000000"
ID = "4f1c0ffee0" * 6 + "abcd"
OURS = (kernel_events.COLLECTOR,)


def settings(directory: Path) -> Config:
    found = config()
    return replace(found, spool=replace(found.spool, directory=str(directory)))


class Log:
    """A host with ``texts`` as its log, and readers of it that come and go; the first has been here before boot."""

    def __init__(self, directory: Path, text: str = "") -> None:
        self.state = directory / "spool"
        self.state.mkdir()
        self.at = directory / "host"
        self.text = ""
        self.remember({"boot": "another", "sequence": 9999, "counts": {}})
        self.restart()
        self.write(text)

    def remember(self, content: Any) -> None:
        (self.state / kernel_log.STATE).write_text(json.dumps(content))

    def restart(self, boot: str = BOOT) -> None:
        self.tree = Tree(self.at, {"proc/sys/kernel/random/boot_id": f"{boot}\n", "dev/kmsg": self.text})
        self.ticks = Ticks(self.tree, OURS, settings(self.state), keep=True)
        self.ticks.tick()

    def write(self, text: str) -> None:
        self.text += text
        with (self.at / "dev/kmsg").open("a") as file:
            file.write(text)

    def tick(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        documents = self.ticks.tick()
        return documents["host"][""], list(documents.get("event", {}).values())


def recorded(name: str) -> str:
    return (RECORDS / f"{name}.txt").read_text()


def test_a_kill_in_a_cgroup_as_linux_6_18_logs_it(tmp_path: Path) -> None:
    log = Log(tmp_path, recorded("linux-6.18-v1-memcg"))
    _, [event] = log.tick()
    expected = {
        "event.id": f"{BOOT}-764",
        "event.action": "oom_kill",
        "event.oom.scope": "memcg",
        "event.oom.cgroup": "/w16oom",
        "cgroup.path": "/w16oom",
        "process.pid": 26959,
        "process.name": "python3",
        "event.oom.usage.bytes": 20480 * 1024,
        "event.oom.limit.bytes": 20480 * 1024,
        "event.oom.anon.bytes": 27124 * 1024,
        "event.oom.file.bytes": 6532 * 1024,
        "event.oom.shmem.bytes": 0,
    }
    assert {name: event.get(name) for name in expected} == expected
    assert event["message"].startswith("Memory cgroup out of memory: Killed process 26959 (python3)")
    assert event.keys() <= {field.name for field in kernel_events.COLLECTOR.outputs["event"].all_fields}


def test_a_kill_of_a_container_as_linux_3_10_logs_it(tmp_path: Path) -> None:
    _, [event] = Log(tmp_path, recorded("linux-3.10-memcg")).tick()
    expected = {
        "cgroup.path": f"/docker/{ID}",
        "container.id": ID,
        "container.runtime": "docker",
        "event.oom.scope": "memcg",
        "event.oom.limit.bytes": 512 << 20,
        "process.name": "java",
        "process.pid": 4242,
    }
    assert {name: event.get(name) for name in expected} == expected
    assert "event.oom.shmem.bytes" not in event


def test_what_operators_grep_for_is_counted_and_what_others_write_is_not(tmp_path: Path) -> None:
    values, [event] = Log(tmp_path, recorded("linux-6.1-host-and-others")).tick()
    assert {name: values[f"system.kernel.log.{name}.count"] for name in kernel_log.PATTERNS} == dict.fromkeys(
        kernel_log.PATTERNS, 1
    )
    assert (event["event.oom.scope"], event["cgroup.path"]) == ("host", "/system.slice/web.service")
    assert (event["process.name"], event["process.pid"]) == ("odd) (name", 77)
    assert "event.oom.limit.bytes" not in event


def test_after_a_restart_nothing_is_told_twice_and_nothing_is_missed(tmp_path: Path) -> None:
    log = Log(tmp_path, recorded("linux-3.10-memcg"))
    assert len(log.tick()[1]) == 1
    log.restart()
    values, found = log.tick()
    assert (found, values["system.kernel.log.oom_kill.count"]) == ([], 1)
    log.write(recorded("linux-3.10-memcg").replace(",10", ",20"))  # while it is away
    log.restart()
    values, found = log.tick()
    assert ([one["event.id"] for one in found], values["system.kernel.log.oom_kill.count"]) == ([f"{BOOT}-2006"], 2)


def test_after_a_reboot_the_log_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = Log(tmp_path, recorded("linux-3.10-memcg"))
    log.tick()
    log.restart("another-boot")
    values, found = log.tick()
    assert (len(found), values["system.kernel.log.oom_kill.count"]) == (1, 1)


@pytest.mark.parametrize(
    "state", ["", "[]", "x", '{"boot": 1}', json.dumps({"boot": BOOT, "sequence": "x", "counts": 5})]
)
def test_a_damaged_state_stops_nothing(state: str, tmp_path: Path) -> None:
    log = Log(tmp_path)
    (log.state / kernel_log.STATE).write_text(state)
    log.restart()
    log.write(recorded("linux-3.10-memcg"))
    assert len(log.tick()[1]) == 1


def test_who_comes_for_the_first_time_begins_with_what_comes(tmp_path: Path) -> None:
    log = Log(tmp_path, recorded("linux-3.10-memcg"))
    (log.state / kernel_log.STATE).unlink()
    log.restart()
    assert log.tick()[1] == []
    log.write(recorded("linux-6.18-v1-memcg"))
    assert len(log.tick()[1]) == 1


def test_several_processes_of_one_report(tmp_path: Path) -> None:
    """memory.oom.group."""
    text = recorded("linux-6.18-v1-memcg")
    last = text.splitlines()[-1]
    more = last.replace("3,764,", "3,765,").replace("26959", "26960")
    _, found = Log(tmp_path, f"{text}{more}\n").tick()
    assert [one["process.pid"] for one in found] == [26959, 26960]
    assert {one["event.oom.limit.bytes"] for one in found} == {20480 * 1024}


def test_a_log_that_is_not_ours_to_read_is_told_and_no_count_is_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int) -> int:
        if path == kernel_log.FILE:
            raise PermissionError(1, "Operation not permitted")
        return os.open(f"{tree.path}/{path}", flags)

    tree = Tree(tmp_path, {"dev/kmsg": ""})
    monkeypatch.setattr(tree, "open", refuse)
    ticks = Ticks(tree, OURS)
    assert ticks.tick() == {}
    [why] = kernel_events.COLLECTOR.absent(ticks.readers[kernel_events.COLLECTOR]).values()
    assert why.startswith("no permission: ")


def test_what_hides_the_device_in_a_unit_is_no_log_without_a_count(tmp_path: Path) -> None:
    """systemd mounts /run/systemd/inaccessible/* of mode 0 over it: root may open that."""
    tree = Tree(tmp_path, {"dev/kmsg": ""})
    (tmp_path / "dev/kmsg").chmod(0)
    ticks = Ticks(tree, OURS)
    assert ticks.tick() == {}
    [why] = kernel_events.COLLECTOR.absent(ticks.readers[kernel_events.COLLECTOR]).values()
    assert why.startswith("no permission: ")


EAT = (
    "import os, sys\nopen(sys.argv[1], 'w').write(str(os.getpid()))\nkept = []\nwhile True: kept.append(b'x' * 1000000)"
)


@pytest.mark.root
@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="the kernel's log is not ours to read")
def test_a_real_kill_on_this_machine(tmp_path: Path) -> None:
    layout = detect(Reader(Root()))
    base = layout.hierarchies.get("memory") or layout.hierarchies[UNIFIED]
    limit = "memory.limit_in_bytes" if "memory" in layout.hierarchies else "memory.max"
    cgroup = Path("/", base, f"shipper-oom-{os.getpid()}")
    cgroup.mkdir()
    try:
        if not (cgroup / limit).exists():
            pytest.skip("the memory controller is not turned on for cgroups at the root")
        (cgroup / limit).write_text(str(16 << 20))
        ticks = Ticks(Root("/", Descriptors(0)), OURS, settings(tmp_path), keep=True)
        ticks.tick()
        killed = subprocess.run([sys.executable, "-c", EAT, f"{cgroup}/cgroup.procs"], timeout=120, check=False)
        found: list[dict[str, Any]] = []
        end = time.monotonic() + 60
        while not found and time.monotonic() < end:
            told = ticks.tick().get("event", {}).values()
            found = [one for one in told if one.get("event.oom.cgroup") == f"/{cgroup.name}"]
            time.sleep(0.1)
    finally:
        cgroup.rmdir()
    assert killed.returncode == -9
    [event] = found
    assert (event["event.oom.scope"], event["event.oom.limit.bytes"]) == ("memcg", 16 << 20)
    assert event["event.oom.anon.bytes"] > 1 << 20
