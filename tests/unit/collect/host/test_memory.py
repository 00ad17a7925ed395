import os
from pathlib import Path

import pytest
from trees import Host, Tree

from shipper.collect.host import memory, vmstat
from shipper.kernel.parse import ParseError

KIB = 1024
PAGE = os.sysconf("SC_PAGE_SIZE")
# Distinct values, so that no field can stand for another
MEMINFO = """\
MemTotal:       24684084 kB
MemFree:        20000000 kB
MemAvailable:   23631896 kB
Buffers:            1744 kB
Cached:           351628 kB
SwapCached:            5 kB
Mlocked:           13380 kB
SwapTotal:          4000 kB
SwapFree:           3000 kB
Dirty:               216 kB
Writeback:            17 kB
AnonPages:        713720 kB
Mapped:            31928 kB
Shmem:              8872 kB
Slab:             100156 kB
SReclaimable:      76244 kB
SUnreclaim:        23912 kB
KernelStack:        2616 kB
PageTables:         3868 kB
CommitLimit:    12342040 kB
Committed_AS:    1402852 kB
AnonHugePages:      2048 kB
HugePages_Total:      10
HugePages_Free:        4
HugePages_Rsvd:        2
HugePages_Surp:        1
Hugepagesize:       2048 kB
"""
VMSTAT_NEW = """\
pgpgin 10
pgpgout 20
pswpin 3
pswpout 4
allocstall_dma 1
allocstall_normal 2
allocstall_movable 4
pgfault 1000
pgmajfault 11
workingset_refault_anon 6
workingset_refault_file 7
pgscan_kswapd 100
pgscan_direct 50
pgscan_direct_throttle 9999
pgsteal_kswapd 90
pgsteal_direct 40
oom_kill 2
"""
# Linux 3.10 (hand-written): by zone, one allocstall, no oom_kill
VMSTAT_OLD = """\
pgscan_kswapd_dma 1
pgscan_kswapd_dma32 2
pgscan_kswapd_normal 4
pgscan_kswapd_movable 8
pgscan_direct_normal 5
pgsteal_kswapd_normal 3
allocstall 12
"""


def memory_of(tmp_path: Path, text: str) -> dict[str, object]:
    return dict(Host(Tree(tmp_path, {"proc/meminfo": text}), memory.COLLECTOR).host())


def test_sizes_are_bytes(tmp_path: Path) -> None:
    values = memory_of(tmp_path, MEMINFO)
    for key, (name, _) in memory._SIZES.items():
        line = next((line for line in MEMINFO.splitlines() if line.startswith(f"{key.decode()}:")), None)
        assert values.get(name) == (int(line.split()[1]) * KIB if line else None), name
    assert values["system.memory.total"] == 25_276_502_016


def test_used_is_made_from_total_and_what_is_left(tmp_path: Path) -> None:
    values = memory_of(tmp_path, MEMINFO)
    assert values["system.memory.used.bytes"] == (24684084 - 20000000) * KIB
    assert values["system.memory.actual.used.bytes"] == (24684084 - 23631896) * KIB
    assert values["system.memory.actual.used.pct"] == pytest.approx(1052188 / 24684084)
    assert values["system.memory.swap.used.bytes"] == 1000 * KIB
    assert values["system.memory.swap.used.pct"] == 0.25


def test_huge_pages_are_counts_and_their_use_bytes(tmp_path: Path) -> None:
    values = memory_of(tmp_path, MEMINFO)
    names = ("total", "free", "reserved", "surplus")
    assert [values[f"system.memory.hugepages.{name}"] for name in names] == [10, 4, 2, 1]
    assert values["system.memory.hugepages.default_size"] == 2 << 20
    assert values["system.memory.hugepages.in_use.bytes"] == 6 * (2 << 20)


def test_kernel_before_3_14_has_no_actual(tmp_path: Path) -> None:
    lines = [line for line in MEMINFO.splitlines(keepends=True) if "MemAvailable" not in line]
    values = memory_of(tmp_path, "".join(lines))
    assert not [name for name in values if ".actual." in name]
    assert "system.memory.used.pct" in values


def test_no_swap_has_no_share(tmp_path: Path) -> None:
    values = memory_of(tmp_path, MEMINFO.replace("4000 kB", "0 kB").replace("3000 kB", "0 kB"))
    assert values["system.memory.swap.used.bytes"] == 0
    assert "system.memory.swap.used.pct" not in values


def test_more_free_than_there_is_gives_no_used(tmp_path: Path) -> None:
    values = memory_of(tmp_path, MEMINFO.replace("20000000", "30000000"))
    assert values["system.memory.free"] == 30_000_000 * KIB
    assert "system.memory.used.bytes" not in values


def test_bad_size_spoils_only_itself() -> None:
    with pytest.raises(ParseError) as caught:
        memory.parse(MEMINFO.replace("713720", "71x720").encode())
    assert caught.value.partial["system.memory.total"] == 25_276_502_016
    assert caught.value.partial["system.memory.hugepages.total"] == 10
    assert "system.memory.anon.bytes" not in caught.value.partial


def test_vmstat_units() -> None:
    assert vmstat.parse(VMSTAT_NEW.encode()) == {
        "system.vm.faults.count": 1000,
        "system.vm.faults.major.count": 11,
        "system.vm.paged.in.bytes": 10 * KIB,
        "system.vm.paged.out.bytes": 20 * KIB,
        "system.vm.swapped.in.bytes": 3 * PAGE,
        "system.vm.swapped.out.bytes": 4 * PAGE,
        "system.vm.scanned.kswapd.bytes": 100 * PAGE,
        "system.vm.scanned.direct.bytes": 50 * PAGE,
        "system.vm.reclaimed.kswapd.bytes": 90 * PAGE,
        "system.vm.reclaimed.direct.bytes": 40 * PAGE,
        "system.vm.allocation_stalls.count": 7,
        "system.vm.oom_kills.count": 2,
        "system.vm.refaults.anon.count": 6,
        "system.vm.refaults.file.count": 7,
    }


def test_vmstat_of_an_old_kernel_adds_up_zones() -> None:
    assert vmstat.parse(VMSTAT_OLD.encode()) == {
        "system.vm.scanned.kswapd.bytes": 15 * PAGE,
        "system.vm.scanned.direct.bytes": 5 * PAGE,
        "system.vm.reclaimed.kswapd.bytes": 3 * PAGE,
        "system.vm.allocation_stalls.count": 12,
    }


def test_damaged_vmstat_gives_no_sums() -> None:
    with pytest.raises(ParseError) as caught:
        vmstat.parse(VMSTAT_NEW.replace("allocstall_normal 2", "allocstall_normal x").encode())
    assert caught.value.partial["system.vm.faults.count"] == 1000
    assert "system.vm.allocation_stalls.count" not in caught.value.partial
