"""Our figures against an independent reader of the same kernel: psutil and the C library, on this machine, now."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from captured import Documents, Ticks
from trees import config

from shipper.collect import COLLECTORS
from shipper.kernel.source import Root

MIB = 1 << 20
ALL = tuple(one for one in COLLECTORS if one.name != "cgroup")


def between(low: float, ours: Any, high: float, slack: float = 0.0) -> bool:
    return low - slack <= float(ours) <= high + slack


class Witness:
    """Our documents, with a witness's figures from just before and just after."""

    def __init__(self) -> None:
        self._ticks = Ticks(Root("/"), ALL, config())

    def between(self, witness: Callable[[], Any]) -> tuple[Any, Documents, Any]:
        before = witness()
        documents = self._ticks.tick()
        return before, documents, witness()


@pytest.fixture(scope="module")
def witness() -> Witness:
    return Witness()


def test_cpu_times(witness: Witness) -> None:
    before, documents, after = witness.between(psutil.cpu_times)
    values = documents["host"][""]
    for state in ("user", "nice", "system", "irq", "softirq", "steal", "guest", "guest_nice"):
        ours = float(str(values[f"system.cpu.{state}.ns"])) / 1e9
        assert between(getattr(before, state), ours, getattr(after, state), 0.011), state
    for state in ("idle", "iowait"):  # may step back
        assert between(
            getattr(before, state), float(str(values[f"system.cpu.{state}.ns"])) / 1e9, getattr(after, state), 3
        )
    assert values["system.cpu.cores"] == psutil.cpu_count()


def test_cpu_counts(witness: Witness) -> None:
    before, documents, after = witness.between(psutil.cpu_stats)
    values = documents["host"][""]
    assert between(before.ctx_switches, values["system.context_switches.count"], after.ctx_switches)
    assert between(before.interrupts, values["system.interrupts.count"], after.interrupts)
    assert between(before.soft_interrupts, values["system.softirqs.count"], after.soft_interrupts)


def test_load(witness: Witness) -> None:
    before, documents, after = witness.between(os.getloadavg)
    for at, span in enumerate((1, 5, 15)):
        ours = documents["host"][""][f"system.load.{span}"]
        assert between(min(before[at], after[at]), ours, max(before[at], after[at]), 0.01)


def test_memory(witness: Witness) -> None:
    before, documents, after = witness.between(psutil.virtual_memory)
    values = documents["host"][""]
    assert values["system.memory.total"] == before.total
    names = {
        "free": "free",
        "available": "actual.free",
        "shared": "shmem.bytes",
        "buffers": "buffers.bytes",
        "slab": "slab.total.bytes",
    }
    for theirs, ours in names.items():
        low, high = sorted((getattr(before, theirs), getattr(after, theirs)))
        assert between(low, values[f"system.memory.{ours}"], high, 16 * MIB), ours
    assert values["system.memory.actual.used.pct"] == pytest.approx(before.percent / 100, abs=0.01)


def test_swap(witness: Witness) -> None:
    before, documents, after = witness.between(psutil.swap_memory)
    values = documents["host"][""]
    assert values["system.memory.swap.total"] == before.total
    assert between(
        min(before.used, after.used), values["system.memory.swap.used.bytes"], max(before.used, after.used), MIB
    )
    assert between(before.sin, values["system.vm.swapped.in.bytes"], after.sin)
    assert between(before.sout, values["system.vm.swapped.out.bytes"], after.sout)


def test_network(witness: Witness) -> None:
    before, documents, after = witness.between(lambda: psutil.net_io_counters(pernic=True, nowrap=False))
    assert set(documents["network"]) == set(before)
    for name, values in documents["network"].items():
        pairs = {"bytes_recv": "in.bytes", "packets_recv": "in.packets", "errin": "in.errors", "dropin": "in.dropped",
                 "bytes_sent": "out.bytes", "packets_sent": "out.packets", "errout": "out.errors",
                 "dropout": "out.dropped"}  # fmt: skip
        for theirs, ours in pairs.items():
            value = values[f"system.network.{ours}"]
            assert between(getattr(before[name], theirs), value, getattr(after[name], theirs)), (name, ours)


def test_disks(witness: Witness) -> None:
    before, documents, after = witness.between(lambda: psutil.disk_io_counters(perdisk=True, nowrap=False))
    assert documents["disk"]
    for name, values in documents["disk"].items():
        pairs = {"read_count": "read.count", "write_count": "write.count", "read_bytes": "read.bytes",
                 "write_bytes": "write.bytes", "read_time": "read.time", "write_time": "write.time",
                 "busy_time": "io.time", "read_merged_count": "read.merges.count"}  # fmt: skip
        for theirs, ours in pairs.items():
            value = values[f"system.diskio.{ours}"]
            assert between(getattr(before[name], theirs), value, getattr(after[name], theirs)), (name, ours)


def test_filesystems(witness: Witness) -> None:
    before, documents, after = witness.between(lambda: psutil.disk_usage("/"))
    values = documents["filesystem"]["/"]
    low, high = sorted((before.used, after.used))
    assert between(low, values["system.filesystem.used.bytes"], high, 16 * MIB)
    low, high = sorted((before.free, after.free))
    assert between(low, values["system.filesystem.available"], high, 16 * MIB)
    # psutil, as df, leaves out what is reserved for root; one digit after the point
    assert values["system.filesystem.used.pct"] == pytest.approx(before.percent / 100, abs=0.002)


def test_uptime(witness: Witness) -> None:
    before, documents, after = witness.between(psutil.boot_time)
    now = float(str(documents["host"][""]["system.uptime.duration.ms"])) / 1000
    assert now > 0
    assert before == after
    uname = os.uname()
    assert documents["host"][""]["host.os.kernel"] == uname.release
    assert documents["host"][""]["host.architecture"] == uname.machine


def test_processes(witness: Witness) -> None:
    before, documents, after = witness.between(lambda: len([name for name in os.listdir("/proc") if name.isdigit()]))
    low, high = sorted((before, after))
    values = documents["host"][""]
    assert between(low, values["system.process.summary.total"], high, 5)
    states = [value for name, value in values.items() if name.startswith("system.process.summary.")]
    assert sum(int(str(value)) for value in states) == 2 * int(str(values["system.process.summary.total"]))


def test_no_problem_on_this_machine() -> None:
    mounts_of_tests = f"{tempfile.gettempdir()}/*"  # that hang, and end while they are read
    ticks = Ticks(Root("/"), ALL, config(filesystem_exclude=(mounts_of_tests,)))
    ticks.tick()
    assert ticks.problems == []
