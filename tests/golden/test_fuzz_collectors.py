"""Whole collectors on captured hosts with one token of one file damaged.

Whatever the damage: nothing is raised, no field goes out that is not declared, no other entity is lost or changed, and
the file is named once. ``make fuzz`` tries 2,000 per collector, ``make test`` 100, a plain run of pytest 10.
"""

import json
import math
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from captured import CapturedRoot, Documents, Noting, Ticks
from casetrees import host_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moments import HOSTS

from shipper.collect import COLLECTORS
from shipper.collect.contract import Collector
from shipper.collect.events import kernel_log
from shipper.deliver.document import Writer
from shipper.fields.field import NUMBERS
from shipper.schema.datasets import DATASETS, ENVELOPE

INPUTS: Final = int(os.environ.get("FUZZ", "50")) // 5
NAMES: Final = sorted(path.name for path in HOSTS.iterdir() if (path / "0" / "moment.json").exists())
CASES: Final = ("01", "03", "04", "05", "18", "24")
BY_NAME: Final = {collector.name: collector for collector in COLLECTORS}
JUNK: Final = (
    *(b"", b"-1", b"18446744073709551615", b"9223372036854775808", b"99999999999999999999999", b"1e5", b"nan", b"0x1"),
    *(b"(unknown)", b"100.50", b"\xff\xfe", b"\0", b"=", b":", b"1:2:3", b"9" * 300, "²³".encode(), b"max", b"None"),
)
SIGNED: Final = ("celsius", "volts", "watts", "amperes", "ppm", "offset.us")
# What no captured machine has
MADE: Final = {
    "proc/1/net/fib_trie": "Local:\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 192.0.2.2\n     /32 host LOCAL\n",
    "proc/1/net/if_inet6": "fd000000000000000000000000000002 04 40 00 82     eth0\n",
    "proc/1/net/stat/nf_conntrack": "entries found drop\n00000012 00000000 00000003\n00000012 00000000 00000001\n",
    "proc/1/net/rpc/nfs": "rpc 12 3 12\nproc3 22 1 40 29 94 3 18 4 7 8 0 6 0 6 0 7 0 0 2 4 4 2 3\nproc4 2 10 20\n",
    "proc/spl/kstat/zfs/arcstats": "1 1 0x01\nname type data\nhits 4 90\nmisses 4 9\nsize 4 1024\nc 4 2048\n",
    "proc/sys/fs/file-nr": "1152\t0\t9223372036854775807\n",
    "proc/sys/fs/inode-nr": "38270\t7162\n",
    "proc/sys/kernel/pid_max": "4194304\n",
    "proc/sys/kernel/tainted": "0\n",
    "proc/pressure/io": "some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\n",
    "proc/1/stat": "1 (systemd) S 0 1 1 0 -1 4194560 1 0 3 0 15 7 0 0 20 0 1 0 5 102400 2600 18446744073709551615 0\n",
    "proc/2/stat": "2 (nginx) R 1 1 1 0 -1 4194560 1 0 3 0 90 7 0 0 20 0 1 0 9000 102400 9600 18446744073709551615 0\n",
    "sys/block/md0/md/level": "raid1\n",
    "sys/block/md0/md/array_state": "clean\n",
    "sys/block/md0/md/raid_disks": "2\n",
    "sys/block/md0/md/degraded": "0\n",
    "sys/block/md0/md/sync_completed": "250 / 1000\n",
    "sys/block/md0/md/dev-sda1/state": "in_sync\n",
    "sys/block/md1/md/level": "raid5\n",
    "sys/class/hwmon/hwmon0/name": "coretemp\n",
    "sys/class/hwmon/hwmon0/temp1_input": "41000\n",
    "sys/class/hwmon/hwmon0/temp1_label": "Package id 0\n",
    "sys/class/hwmon/hwmon0/fan1_input": "1180\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2400000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "sys/devices/system/edac/mc/mc0/ce_count": "1\n",
    "dev/kmsg": (Path(__file__).parents[1] / "kmsg/linux-3.10-memcg.txt").read_text(),
}
# adjtimex(2) and D-Bus are no files
NO_FILES: Final = ("clock", "systemd", "metrics")


@dataclass
class Subject:
    """One collector on a copy of one captured host, sound at the first moment."""

    collector: Collector
    root: CapturedRoot
    second: Path
    sound: Documents
    problems: Counter[str]
    files: list[str]

    def run(self) -> tuple[Documents, Counter[str]]:
        """Documents of the second moment, and how often each file was a problem in it."""
        kernel_log.forget(self.root)
        self.root.show(0)
        ticks = Ticks(self.root, (self.collector,))
        ticks.tick()
        self.root.show(1)
        documents = ticks.tick()
        problems = Counter(problem.file for problem in ticks.problems)
        ticks.close()
        return documents, problems


def copied(name: str, directory: Path) -> Path:
    """A host of two moments; a case, which has one, is the same at both."""
    host = directory / name
    if name in CASES:
        moment = {"statvfs": {}, "stat": {}, "wall": 1_700_000_000.0}
        for at in (0, 1):
            host_of(name, host / str(at))
            for path, text in MADE.items() if name == CASES[0] else ():
                (host / str(at) / path).parent.mkdir(parents=True, exist_ok=True)
                (host / str(at) / path).write_text(text)
            (host / str(at) / "moment.json").write_text(json.dumps({**moment, "now_ns": (100 + 10 * at) * 10**9}))
    else:
        shutil.copytree(HOSTS / name, host, symlinks=True)
    return host


def subjects(collector: Collector, hosts: Path) -> list[Subject]:
    found = []
    for name in (*NAMES, *CASES):
        host = hosts / name
        root = Noting(host, hosts)
        subject = Subject(collector, root, host / "1", {}, Counter(), [])
        subject.sound, subject.problems = subject.run()
        files = (path for path in sorted(root.opened) if (host / "1" / path).is_file())
        subject.files = [path for path in files if not path.endswith("moment.json")]
        if subject.files:
            found.append(subject)
    return found


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of all hosts, damaged and mended by each test."""
    directory = tmp_path_factory.mktemp("hosts")
    for name in (*NAMES, *CASES):
        copied(name, directory)
    return directory


def damaged(text: bytes, data: st.DataObject) -> bytes:
    """``text`` with one token replaced, cut, doubled or removed; or emptied, or cut off."""
    tokens = list(re.finditer(rb"[^\s]+", text))
    how = data.draw(st.sampled_from(("junk", "part", "half", "double", "gone", "empty", "cut")))
    if how == "empty" or not tokens:
        return b""
    begin, end = data.draw(st.sampled_from(tokens)).span()
    if how == "cut":
        return text[:begin]
    token = text[begin:end]
    if how == "part":  # one number of rbytes=4096, 8:0, eth0:
        parts = list(re.finditer(rb"\d+", token))
        if parts:
            a, b = data.draw(st.sampled_from(parts)).span()
            return text[:begin] + token[:a] + data.draw(st.sampled_from(JUNK)) + token[b:] + text[end:]
    new = {"half": token[: len(token) // 2], "double": token + b" " + token, "gone": b""}.get(how)
    return text[:begin] + (data.draw(st.sampled_from(JUNK)) if new is None else new) + text[end:]


# The name of a chip is part of all its sensors'
NAMES_OF_ALL: Final = re.compile(r"sys/class/hwmon/[^/]+/name")


def check_values(collector: Collector, dataset: str, documents: Documents) -> None:
    declared = {field.name: field for field in (*ENVELOPE, *collector.outputs[dataset].all_fields)}
    for values in documents.get(dataset, {}).values():
        assert set(values) <= set(declared)
        for name, value in values.items():
            if declared[name].type in NUMBERS:
                assert isinstance(value, int | float) and not isinstance(value, bool), name
                assert math.isfinite(value) and abs(value) < 1 << 63, name
                assert value >= 0 or name.endswith(SIGNED), name
        if len(values) > 1:
            json.loads(Writer(DATASETS[dataset].fields).write(dict(values)))


def changed(before: Documents, after: Documents, dataset: str) -> set[str]:
    """Entities that are gone or have other values."""
    now = after.get(dataset, {})
    return {entity for entity, values in before.get(dataset, {}).items() if now.get(entity) != values}


# Files of all entities at once
SHARED: Final = (
    *("proc/stat", "proc/meminfo", "proc/diskstats", "proc/devices"),
    *("etc/passwd", "sys/devices/system/cpu/online"),
)
OWN_LINES: Final = ("disk", "network", "core", "filesystem")
HIERARCHY: Final = r"(?:(?:unified|cpu|cpuacct|cpu,cpuacct|memory|pids|blkio|freezer|hugetlb|rdma|misc)(?=/))?"
OF_CGROUP: Final = re.compile(rf"sys/fs/cgroup/{HIERARCHY}(/?.*)/[^/]+")


def may_change(dataset: str, file: str, entities: set[str]) -> bool:
    """Whether the damage of one token of ``file`` explains that these entities changed."""
    match = OF_CGROUP.fullmatch(file)
    if match:  # those below inherit limits, those around may be told their network by its processes
        own = "/" + match[1].lstrip("/")
        return all(one.startswith(own) or own.startswith(one) for one in entities)
    if NAMES_OF_ALL.fullmatch(file):
        return True
    return len(entities) <= 1 or (file in SHARED and dataset not in OWN_LINES)


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", sorted(set(BY_NAME) - set(NO_FILES)))
def test_one_damaged_token_costs_only_itself(name: str, hosts: Path) -> None:
    of_collector = subjects(BY_NAME[name], hosts)
    assert of_collector, "a fuzz that finds nothing to damage would pass for ever"

    @settings(max_examples=INPUTS, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        subject = of_collector[data.draw(st.integers(0, len(of_collector) - 1))]
        file = data.draw(st.sampled_from(subject.files))
        target = subject.second / file
        sound = target.read_bytes()
        text = damaged(sound, data)
        target.write_bytes(text)
        try:
            documents, problems = subject.run()
        finally:
            target.write_bytes(sound)
        assert problems[file] <= 1
        for dataset in subject.collector.outputs:
            check_values(subject.collector, dataset, documents)
            lost = changed(subject.sound, documents, dataset)
            if text and text.startswith(sound[: len(text)]) is False:
                assert may_change(dataset, file, lost), (file, lost)

    attempt()
