"""Kernel tables, clock, conntrack, hardware, sensors, RAID, NFS and ZFS.

This machine has none of the last five: their texts are those of the kernel's documentation, on a tree made by the test.
"""

import ctypes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Host, Tree

from shipper.collect.contract import Collector
from shipper.collect.host import clock_sync, conntrack, hardware, kernel_tables, raid, sensors, storage_clients
from shipper.kernel.parse import ParseError
from shipper.kernel.timex import Timex, adjtimex


def tick(directory: Path, collector: Collector, files: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Documents of one dataset by entity, and nothing that could not be read."""
    host = Host(Tree(directory, files), collector)
    documents = host.tick()
    assert host.problems == {}
    [dataset] = collector.outputs
    return documents.get(dataset, {})


def test_kernel_tables(tmp_path: Path) -> None:
    values = tick(tmp_path, kernel_tables.COLLECTOR, {
        "proc/sys/kernel/random/entropy_avail": "256\n",
        "proc/sys/kernel/pid_max": "32768\n",
        "proc/sys/kernel/threads-max": "191958\n",
        "proc/sys/kernel/tainted": "4097\n",
        "proc/sys/fs/file-nr": "1152\t0\t9223372036854775807\n",
        "proc/sys/fs/inode-nr": "38270\t7162\n",
        "run/systemd/sessions/3": "",
        "run/systemd/sessions/3.ref": "",
        "run/reboot-required": "",
    })  # fmt: skip
    assert values[""] == {
        "system.entropy.available_bits": 256,
        "system.pids.limit.count": 32768,
        "system.threads.limit.count": 191958,
        "system.kernel.taint": 4097,
        "system.files.open.count": 1152,
        "system.files.limit.count": 2**63 - 1,
        "system.inodes.count": 38270,
        "system.inodes.unused.count": 7162,
        "system.sessions.count": 1,
        "system.reboot_required": True,
    }


def test_shares_of_the_limits_of_files_and_threads() -> None:
    values = {
        "system.files.open.count": 700, "system.files.limit.count": 1000,
        "system.threads.count": 80, "system.threads.limit.count": 400, "system.pids.limit.count": 320,
    }  # fmt: skip
    assert kernel_tables.derive(values, {}) == {"system.files.used.pct": 0.7, "system.threads.used.pct": 0.25}
    assert kernel_tables.derive({**values, "system.files.limit.count": 2**63 - 1}, {}).keys() == {
        "system.threads.used.pct"
    }
    del values["system.pids.limit.count"]
    assert kernel_tables.derive(values, {})["system.threads.used.pct"] == 0.2
    assert kernel_tables.derive({"system.threads.count": 80}, {}) == {}


def test_a_synchronised_clock_in_nanoseconds() -> None:
    timex = Timex(offset=-1_500, freq=65_536 * 12, maxerror=2_000, esterror=100, status=0x2000)
    assert clock_sync.values(0, timex) == {
        "system.clock.synchronised": True,
        "system.clock.offset.us": -1.5,
        "system.clock.error.estimated.us": 100,
        "system.clock.error.maximum.us": 2_000,
        "system.clock.frequency.ppm": 12.0,
    }
    assert clock_sync.values(5, Timex(offset=7, status=0x40))["system.clock.offset.us"] == 7.0
    assert clock_sync.values(5, Timex(status=0x40))["system.clock.synchronised"] is False


def test_adjtimex_only_reads_and_its_structure_has_the_kernels_size() -> None:
    state, timex = adjtimex()
    assert 0 <= state <= 5
    assert timex.tick in range(9_000, 11_001)  # µs of a tick of 100 Hz, within what adjtimex allows
    assert ctypes.sizeof(Timex) == 208


CONNTRACK = (
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n"
    "00000012  00000000 00000000 00000000 00000003 00000000 00000000 00000000 00000000 00000001 0000000a 00000000\n"
    "00000012  00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000010 00000002\n"
)


def test_conntrack_entries_once_and_drops_of_all_cpus(tmp_path: Path) -> None:
    values = tick(tmp_path, conntrack.COLLECTOR, {
        "proc/1/net/stat/nf_conntrack": CONNTRACK, "proc/sys/net/netfilter/nf_conntrack_max": "72\n",
    })[""]  # fmt: skip
    assert values == {
        "system.conntrack.count": 18,
        "system.conntrack.limit.count": 72,
        "system.conntrack.used.pct": 0.25,
        "system.conntrack.drop.count": 26,
        "system.conntrack.early_drop.count": 2,
        "system.conntrack.insert_failed.count": 1,
        "system.conntrack.invalid.count": 4,
    }
    assert tick(tmp_path / "without", conntrack.COLLECTOR, {}) == {}


def test_hardware_is_summed_over_cpus_and_controllers(tmp_path: Path) -> None:
    files = {
        **{f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": f"{1_000_000 * (n + 1)}\n" for n in range(3)},
        **{f"sys/devices/system/cpu/cpu{n}/thermal_throttle/core_throttle_count": "2\n" for n in range(3)},
        **{f"sys/devices/system/cpu/cpu{n}/thermal_throttle/package_throttle_count": "5\n" for n in range(3)},
        "sys/devices/system/edac/mc/mc0/ce_count": "3\n",
        "sys/devices/system/edac/mc/mc1/ce_count": "4\n",
        "sys/devices/system/edac/mc/mc0/ue_count": "0\n",
        "sys/devices/system/edac/mc/power/control": "auto\n",
    }
    assert tick(tmp_path, hardware.COLLECTOR, files)[""] == {
        "system.cpu.frequency.min.hz": 1_000_000_000,
        "system.cpu.frequency.avg.hz": 2_000_000_000,
        "system.cpu.frequency.max.hz": 3_000_000_000,
        "system.cpu.throttle.core.count": 6,
        "system.cpu.throttle.package.count": 5,
        "system.edac.correctable.count": 7,
        "system.edac.uncorrectable.count": 0,
    }


def test_half_of_a_sum_is_left_out(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {f"sys/devices/system/edac/mc/mc{n}/ce_count": "3\n" for n in range(2)})
    host = Host(tree, hardware.COLLECTOR)
    assert host.tick()["host"][""] == {"system.edac.correctable.count": 6}
    tree.write("sys/devices/system/edac/mc/mc1/ce_count", "many\n")
    assert host.tick().get("host", {}) == {}
    assert set(host.problems) == {"sys/devices/system/edac/mc/mc1/ce_count"}


def test_each_sensor_is_a_document_in_its_unit(tmp_path: Path) -> None:
    documents = tick(tmp_path, sensors.COLLECTOR, {
        "sys/class/hwmon/hwmon0/name": "coretemp\n",
        "sys/class/hwmon/hwmon0/temp1_input": "-41500\n",
        "sys/class/hwmon/hwmon0/temp1_label": "Package id 0\n",
        "sys/class/hwmon/hwmon0/temp1_max": "90000\n",
        "sys/class/hwmon/hwmon0/fan2_input": "1180\n",
        "sys/class/hwmon/hwmon0/in0_input": "1104\n",
        "sys/class/hwmon/hwmon0/power1_input": "12500000\n",
        "sys/class/hwmon/hwmon0/curr1_input": "250\n",
        "sys/class/thermal/thermal_zone0/temp": "30000\n",
    })  # fmt: skip
    prefix = "system.sensor"
    assert documents["coretemp-0/temp1"] == {
        f"{prefix}.name": "coretemp-0/temp1", f"{prefix}.label": "Package id 0", f"{prefix}.temperature.celsius": -41.5,
    }  # fmt: skip
    assert {name: next(v for k, v in one.items() if k != f"{prefix}.name") for name, one in documents.items()} == {
        "coretemp-0/curr1": 0.25, "coretemp-0/fan2": 1180, "coretemp-0/in0": 1.104, "coretemp-0/power1": 12.5,
        "coretemp-0/temp1": -41.5,
    }  # fmt: skip


def test_thermal_zones_where_hwmon_has_no_temperature(tmp_path: Path) -> None:
    documents = tick(tmp_path, sensors.COLLECTOR, {
        "sys/class/thermal/thermal_zone0/temp": "30000\n", "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    })  # fmt: skip
    assert documents["thermal_zone0/temp"]["system.sensor.label"] == "acpitz"
    assert documents["thermal_zone0/temp"]["system.sensor.temperature.celsius"] == 30.0


def test_a_degraded_array_that_is_being_rebuilt(tmp_path: Path) -> None:
    documents = tick(tmp_path, raid.COLLECTOR, {
        "sys/block/md0/md/array_state": "clean\n",
        "sys/block/md0/md/level": "raid1\n",
        "sys/block/md0/md/sync_action": "recover\n",
        "sys/block/md0/md/sync_completed": "250 / 1000\n",
        "sys/block/md0/md/raid_disks": "2\n",
        "sys/block/md0/md/degraded": "1\n",
        "sys/block/md0/md/mismatch_cnt": "0\n",
        "sys/block/md0/md/dev-sda1/state": "in_sync\n",
        "sys/block/md0/md/dev-sdb1/state": "spare\n",
        "sys/block/md0/md/dev-sdc1/state": "faulty,write_error\n",
        "sys/block/sda/size": "1\n",
    })  # fmt: skip
    assert documents == {
        "md0": {
            "system.raid.name": "md0", "system.raid.status": "clean", "system.raid.level": "raid1",
            "system.raid.sync_action": "recover", "system.raid.sync.pct": 0.25, "system.raid.disks.total": 3,
            "system.raid.disks.configured.count": 2,
            "system.raid.disks.missing.count": 1, "system.raid.mismatch.count": 0, "system.raid.disks.active": 1,
            "system.raid.disks.spare": 1, "system.raid.disks.failed": 1,
        }
    }  # fmt: skip
    assert raid.progress(b"none\n") is None


NFS = (
    "net 0 0 0 0\nrpc 1218785755 374636 1218815394\n"
    "proc3 22 1 4084749 29200 94754 32580 186 47747 7981 8639 0 6356 0 6962 0 7958 0 0 241 4 4 2 39\n"
    "proc4 4 10 20 0 3\n"
)
ARC = (
    "13 1 0x01 98 26656 1500000000 9000000000\nname type data\n"
    "hits 4 90\nmisses 4 10\nc 4 2048\nc_max 4 4096\nsize 4 1024\n"
)


def test_nfs_and_zfs(tmp_path: Path) -> None:
    values = tick(tmp_path, storage_clients.COLLECTOR, {"proc/1/net/rpc/nfs": NFS, "proc/spl/kstat/zfs/arcstats": ARC})[
        ""
    ]
    assert values["system.nfs.client.calls.count"] == 1218785755
    assert values["system.nfs.client.retransmits.count"] == 374636
    assert values["system.nfs.client.v3.getattr.count"] == 4084749
    assert values["system.nfs.client.v3.read.count"] == 47747
    assert values["system.nfs.client.v3.write.count"] == 7981
    assert values["system.nfs.client.v3.commit.count"] == 39
    assert values["system.nfs.client.v4.operations.count"] == 33
    assert values["system.zfs.arc.size.bytes"] == 1024
    assert values["system.zfs.arc.hits.count"] == 90
    assert tick(tmp_path / "without", storage_clients.COLLECTOR, {}) == {}


PARSERS = [
    kernel_tables.files, kernel_tables.inodes, conntrack.parse, raid.progress, storage_clients.nfs,
    storage_clients.arcstats,
]  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: f"{one.__module__.rpartition('.')[2]}.{one.__name__}")
@given(data=st.binary() | st.text(alphabet="0123456789abcdef -/\nproc34rpchits").map(str.encode))
def test_any_text_gives_a_value_or_a_parse_error(parser: Any, data: bytes) -> None:
    try:
        found = parser(data)
    except ParseError:
        return
    numbers = found.values() if isinstance(found, dict) else [found or 0]
    assert all(0 <= number < 2**63 for number in numbers)
