"""Captured hosts are stored as text: what is packed is what is unpacked."""

from pathlib import Path

import pytest
from moments import Files, pack, read, unpack, write

FIRST: Files = {
    "proc/loadavg": "0.08 0.03 0.01 1/62 4711\n",
    "proc/1/ns/net": Path("net:[4026531840]"),
    "sys/fs/cgroup/gone.service/cgroup.procs": "",
    "sys/fs/cgroup/with space -> x --/cpu.stat": "usage_usec 1\n",
    'sys/fs/cgroup/\x1b[31m\udcff\n"quoted"/cpu.stat': "usage_usec 2\n",
}  # fmt: skip


def test_packed_and_unpacked_it_is_the_same(tmp_path: Path) -> None:
    second = {**FIRST, "proc/loadavg": "0.09 0.03 0.01 1/62 4712\n", "proc/uptime": "5.0 4.0\n"}
    del second["sys/fs/cgroup/gone.service/cgroup.procs"]
    texts = pack(FIRST, second)
    assert texts[1].splitlines() == [
        *("-- proc/loadavg --", "0.09 0.03 0.01 1/62 4712", "-- proc/uptime --", "5.0 4.0"),
        "-- sys/fs/cgroup/gone.service/cgroup.procs gone --",
    ]
    assert unpack(texts[0]) == FIRST
    assert unpack(texts[1], FIRST) == second
    write(second, tmp_path)
    assert read(tmp_path) == second


@pytest.mark.parametrize("text", ["no newline", "-- proc/stat --\n", "a\n-- b gone --\n"])
def test_what_could_not_be_told_apart_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="proc/odd cannot be stored"):
        pack({"proc/odd": text}, {})
