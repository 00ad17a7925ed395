from pathlib import Path

import pytest
from trees import Host, Tree, config

from shipper.collect.host import disk

# Columns as from Linux 5.5, 4.18 and 2.6.25
FLUSH = "254 0 vda 100 11 2000 400 50 12 3000 600 2 500 1000 7 13 80 14 5 9\n"
DISCARD = "8 0 sda 100 11 2000 400 50 12 3000 600 2 500 1000 7 13 80 14\n"
OLD = "8 16 sdb 100 11 2000 400 50 12 3000 600 2 500 1000\n"


def line(name: str, *, number: str = "8 0", reads: int = 0, sectors: int = 0, busy: int = 0) -> str:
    return f"{number} {name} {reads} 0 {sectors} {reads * 4} 0 0 0 0 0 {busy} {busy * 2}\n"


def tree_of(directory: Path, text: str, *, physical: str = "", virtual: str = "") -> Tree:
    tree = Tree(directory, {"proc/diskstats": text})
    for name in physical.split():
        tree.write(f"sys/block/{name}/device", "")
    for name in virtual.split():
        tree.write(f"sys/block/{name}/dev", "")
    return tree


def test_every_column_has_its_own_field() -> None:
    [(name, number, values)] = disk.parse(FLUSH.encode())
    assert (name, number) == ("vda", "254:0")
    assert {key.removeprefix("system.diskio."): value for key, value in values.items()} == {
        "read.count": 100, "read.merges.count": 11, "read.bytes": 2000 * 512, "read.time": 400,
        "write.count": 50, "write.merges.count": 12, "write.bytes": 3000 * 512, "write.time": 600,
        "io.ops": 2, "io.time": 500, "io.weighted_time.ms": 1000,
        "discard.count": 7, "discard.merges.count": 13, "discard.bytes": 80 * 512, "discard.time": 14,
        "flush.count": 5, "flush.time": 9,
    }  # fmt: skip


@pytest.mark.parametrize(("text", "columns"), [(OLD, 11), (DISCARD, 15), (FLUSH, 17), (FLUSH[:-1] + " 4 5\n", 17)])
def test_older_kernels_have_fewer_columns_and_newer_may_have_more(text: str, columns: int) -> None:
    [(_, _, values)] = disk.parse(text.encode())
    assert len(values) == columns


def test_whole_devices_only(tmp_path: Path) -> None:
    text = line("sda", reads=1) + line("sda1", number="8 1", reads=1) + line("dm-0", number="253 0", reads=1)
    documents = Host(tree_of(tmp_path, text, physical="sda", virtual="dm-0"), disk.COLLECTOR).tick()["disk"]
    assert {name: values["system.diskio.physical"] for name, values in documents.items()} == {
        "sda": True,
        "dm-0": False,
    }


def test_slash_in_a_name_is_an_exclamation_mark_in_sysfs(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("cciss/c0d0", reads=1), physical="cciss!c0d0")
    [values] = Host(tree, disk.COLLECTOR).tick()["disk"].values()
    assert values["system.diskio.name"] == "cciss/c0d0"
    assert values["system.diskio.physical"] is True


def test_devices_made_in_advance_are_left_out_until_they_are_used(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("loop0", number="7 0") + line("sda"), physical="sda", virtual="loop0")
    host = Host(tree, disk.COLLECTOR)
    assert set(host.tick()["disk"]) == {"sda"}
    tree.write("proc/diskstats", line("loop0", number="7 0", reads=1) + line("sda"))
    assert set(host.tick()["disk"]) == {"loop0", "sda"}


def test_excluded_devices_have_no_document(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, line("sda", reads=1) + line("zram0", number="253 0", reads=1), physical="sda", virtual="zram0"
    )
    host = Host(tree, disk.COLLECTOR, settings=config(device_exclude=("zram*",)))
    assert set(host.tick()["disk"]) == {"sda"}


def test_await_util_queue_and_size(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "8 0 sda 0 0 0 0 0 0 0 0 0 0 0\n", physical="sda")
    host = Host(tree, disk.COLLECTOR)
    host.tick()
    # in 10 s: 100 reads of 8 sectors in 400 ms, 50 writes of 16 in 600 ms, busy 2.5 s, weighted 5 s
    tree.write("proc/diskstats", "8 0 sda 100 0 800 400 50 0 800 600 0 2500 5000\n")
    values = host.tick()["disk"]["sda"]
    assert values["system.diskio.read.await.ms"] == pytest.approx(4.0)
    assert values["system.diskio.write.await.ms"] == pytest.approx(12.0)
    assert values["system.diskio.util.pct"] == pytest.approx(0.25)
    assert values["system.diskio.queue.count"] == pytest.approx(0.5)
    assert values["system.diskio.request.bytes"] == pytest.approx(1600 * 512 / 150)
    assert values["system.diskio.read.bytes_per_s"] == pytest.approx(80 * 512)
    assert "system.diskio.flush.await.ms" not in values
    idle = host.tick()["disk"]["sda"]
    assert "system.diskio.read.await.ms" not in idle
    assert "system.diskio.request.bytes" not in idle
    assert idle["system.diskio.util.pct"] == 0.0


def test_other_device_of_the_same_name_has_no_rates(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("sdb", number="8 16", reads=5), physical="sdb")
    host = Host(tree, disk.COLLECTOR)
    host.tick()
    tree.write("proc/diskstats", line("sdb", number="8 32", reads=500))
    values = host.tick()["disk"]["sdb"]
    assert values["system.diskio.read.count"] == 500
    assert not [name for name in values if name.endswith("_per_s")]


def test_totals_are_of_physical_disks_once(tmp_path: Path) -> None:
    text = line("sda", reads=10) + line("sda1", number="8 1", reads=10) + line("dm-0", number="253 0", reads=10)
    text += line("nvme0n1", number="259 0", reads=5)
    tree = tree_of(tmp_path, text, physical="sda nvme0n1", virtual="dm-0")
    assert Host(tree, disk.COLLECTOR).host()["system.diskio.total.read.count"] == 15


def test_totals_do_not_jump_when_a_disk_comes_and_do_not_fall_when_it_goes(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("sda", reads=1000), physical="sda sdb")
    host = Host(tree, disk.COLLECTOR)
    first = host.host()
    tree.write("proc/diskstats", line("sda", reads=1100) + line("sdb", number="8 16", reads=9_000_000))
    added = host.host()
    tree.write("proc/diskstats", line("sda", reads=1200) + line("sdb", number="8 16", reads=9_000_050))
    both = host.host()
    tree.write("proc/diskstats", line("sda", reads=1300))
    removed = host.host()
    name = "system.diskio.total.read.count"
    assert [values[name] for values in (first, added, both, removed)] == [1000, 1100, 1250, 1350]
    rates = [values.get(f"{name}_per_s") for values in (first, added, both, removed)]
    assert rates == [None, *(pytest.approx(rate) for rate in (10.0, 15.0, 10.0))]


def test_totals_leave_out_a_disk_that_was_reset(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("sda", reads=1000) + line("sdb", number="8 16", reads=500), physical="sda sdb")
    host = Host(tree, disk.COLLECTOR)
    host.host()
    tree.write("proc/diskstats", line("sda", reads=1100) + line("sdb", number="8 16", reads=3))
    assert host.host()["system.diskio.total.read.count_per_s"] == pytest.approx(10.0)


def test_busiest_disk(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("sda") + line("sdb", number="8 16"), physical="sda sdb")
    host = Host(tree, disk.COLLECTOR)
    assert "system.diskio.total.util.max.pct" not in host.host()
    tree.write("proc/diskstats", line("sda", busy=2000) + line("sdb", number="8 16", busy=10_010))
    assert host.host()["system.diskio.total.util.max.pct"] == 1.0


def test_host_without_disks_has_no_totals(tmp_path: Path) -> None:
    host = Host(tree_of(tmp_path, line("dm-0", reads=1), virtual="dm-0"), disk.COLLECTOR)
    assert host.host() == {}
    assert not host.problems


def test_damaged_line_spoils_only_its_device(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, line("sda", reads=1) + "8 16 sdb 1 2 x\n", physical="sda sdb")
    host = Host(tree, disk.COLLECTOR)
    assert set(host.tick()["disk"]) == {"sda"}
    assert list(host.problems) == ["proc/diskstats"]
