"""``--explain`` shows the line that a value came from: of every field of captured hosts on v1, v2 and hybrid."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from captured import CapturedRoot
from casetrees import host_of
from moments import HOSTS
from trees import Tree

from shipper.collect import COLLECTORS
from shipper.collect.provenance import Provenance
from shipper.fields.rates import Value
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config

CONFIG = replace(Config(), spool=replace(Config().spool, directory=""))
# Told by names and links of directories, by stat(2), statvfs(2) or psutil's own reads, so by no line of a file. Or told
# twice (freezer.state, cgroup.events): a change of one changes nothing
NO_LINE = re.compile(
    r"cgroup\.(path|kind|name|entity|aggregate|depth|mode|start|uptime\.ms|restarts\.count|first)|container\.(id|runtime|image\.changed)"
    r"|event\.module|metricset\.period|host\.(os\.type|architecture)|system\.(reboot_required|sessions\.count)"
    r"|system\.(diskio|network)\.physical|system\.filesystem\.(stuck|total|free|available|used.*|files|free_files)"
    r"|system\.process\.(fd\.open|io\..*|memory\.pss\.bytes)|user\.id|process\.command_line|system\.process\.summary\..*"
    r"|container\.name|system\.raid\.name|cgroup\.frozen|kubernetes\.pod\.uid|host\.ip|system\.network\.kind"
)
# What the kernel's numbers are multiplied with
FACTORS = (1, 512, 1000, 1024, 4096, 10_000_000)
# A fraction of seconds, what is counted in lines, and the weight of v1's shares
IN_ANOTHER_FORM = ("system.uptime.duration.ms", "cgroup.processes.count", "system.cpu.cores", "cgroup.cpu.weight")


def of_host(root: Root) -> Iterator[tuple[str, dict[str, Value]]]:
    """Each dataset of each collector with the values of a reading from the middle."""
    for collector in COLLECTORS:
        readings = list(collector.start(Reader(root), CONFIG)())
        for dataset, output in collector.outputs.items() if collector.name != "processes" else ():
            own = [reading for reading in readings if reading.dataset == dataset]
            if own:
                values = own[len(own) // 2].values
                declared = {field.name for field in output.all_fields}
                yield dataset, {name: value for name, value in values.items() if name in declared}


def tokens(line: str) -> set[int]:
    """The numbers of the line that is shown, and their sum."""
    numbers = [int(number) for number in re.findall(r"\d+", line.partition(": ")[2])]
    return {*numbers, sum(numbers)}


@pytest.mark.parametrize("host", sorted(path.name for path in HOSTS.iterdir() if (path / "golden.json").exists()))
def test_each_field_is_shown_with_its_line(host: str, tmp_path: Path) -> None:
    root = CapturedRoot(HOSTS / host, tmp_path)
    provenance = Provenance(root, CONFIG, {})
    asked = 0
    for dataset, values in of_host(root):
        for name in sorted(values):
            if NO_LINE.fullmatch(name):
                continue
            lines = list(provenance.lines(dataset, values, name))
            assert lines, name
            value = values[name]
            if isinstance(value, int) and not isinstance(value, bool) and len(lines) == 1:
                sought = {value // factor for factor in FACTORS if value % factor == 0}
                assert sought & tokens(lines[0]) or name in IN_ANOTHER_FORM, (name, value, lines)
            asked += 1
    assert asked >= 150


def shown(tree: Root, dataset: str, entity: dict[str, Value], field: str) -> list[str]:
    return list(Provenance(tree, CONFIG, {}).lines(dataset, entity, field))


def test_columns_rows_and_parts_of_a_sum(tmp_path: Path) -> None:
    tree: Tree = host_of("09", tmp_path).tree
    assert shown(tree, "disk", {"system.diskio.name": "nvme0n1"}, "system.diskio.read.bytes")[0].endswith("(column 6)")
    tree.write("proc/diskstats", " 8 0 sda 1 0 2 5 0 0 0 0 0 1 1\n 8 16 sdb 1 0 4 5 0 0 0 0 0 1 1\n")
    for disk in ("sda", "sdb"):
        tree.write(f"sys/block/{disk}/device/model", "x\n")
    lines = shown(tree, "host", {}, "system.diskio.total.read.bytes")
    assert [line.partition("  (")[0] for line in lines] == [
        "proc/diskstats:1:  8 0 sda 1 0 2 5 0 0 0 0 0 1 1",
        "proc/diskstats:2:  8 16 sdb 1 0 4 5 0 0 0 0 0 1 1",
    ]


def test_files_of_v1_and_of_cgroup2_beside_each_other(tmp_path: Path) -> None:
    tree = host_of("05", tmp_path).tree
    entity: dict[str, Value] = {"cgroup.path": f"/docker/{'a1' * 32}"}
    base = f"docker/{'a1' * 32}"
    assert shown(tree, "cgroup", entity, "cgroup.memory.usage.bytes") == [
        f"sys/fs/cgroup/unified/{base}/memory.current:1: 104857600"
    ]
    assert shown(tree, "cgroup", entity, "cgroup.cpu.usage.ns") == [
        f"sys/fs/cgroup/cpuacct/{base}/cpuacct.usage:1: 5000000000"
    ]
    working_set = shown(tree, "cgroup", entity, "cgroup.memory.working_set.bytes")
    assert [line.rpartition("/")[2] for line in working_set] == [
        "memory.current:1: 104857600",
        "memory.stat:3: inactive_file 10000000",
    ]


def test_the_file_a_name_came_from(tmp_path: Path) -> None:
    tree = host_of("11", tmp_path).tree
    [path] = [f"/system.slice/docker-{'a1' * 32}.scope"]
    [line] = shown(tree, "cgroup", {"cgroup.path": path}, "container.image.name")
    assert line.startswith(f"var/lib/docker/containers/{'a1' * 32}/config.v2.json:1: ")
