"""The demo as a user runs it, without a terminal, and the curl commands that it ends with."""

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from readme import REPOSITORY, commands
from rich.console import Console

from shipper.base.tick_times import timestamp
from shipper.view.demo_screen import Screen, plain, shown
from shipper.view.last_tick import LastTick

SHIPPER = str(Path(sys.executable).with_name("shipper"))


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A place of its own for the cluster named demo, which the demo leaves running."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    env = {**clean, "ESLOCAL_STATE": str(tmp_path), "SHIPPER_HOST_VERIFY": "false"}
    yield env
    subprocess.run([sys.executable, "-m", "shipper_eslocal", "wipe", "--name", "demo"], env=env, check=True, timeout=90)


def test_the_demo_shows_ticks_read_back_and_its_questions_have_answers(environ: dict[str, str], tmp_path: Path) -> None:
    demo = commands("README.md", "demo").replace("make demo", f"make -C {REPOSITORY} demo ARGS='--ticks 4'")
    result = subprocess.run(
        ["sh", "-ec", demo],
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (result.returncode, result.stderr.splitlines()[1:]) == (0, [])
    lines = result.stdout.splitlines()
    hosts = [line for line in lines if ": CPU " in line]
    assert hosts  # a busy machine may read back not every tick
    for title in ("CPU ", "load ", "memory ", "disk write ", "net in ", "PSI io "):
        assert title in hosts[-1]
    assert any(" by memory: " in line for line in lines)
    ledger = next(line for line in reversed(lines) if " ledger: " in line)
    collected, *ends = (int(word) for word in ledger.replace("=", "+").split() if word.isdigit())
    assert collected == sum(ends) > 0

    path = REPOSITORY / "build/report.html"
    assert f"The dashboards as one page, for any browser: {path}" in lines
    page = path.read_text(encoding="utf-8")
    assert platform.node() in page
    assert "<h1><bdi>CoreOS</bdi></h1>" in page

    asked = [shlex.split(line) for line in lines if line.startswith("curl ")]
    assert len(asked) == 3
    for _, _, url, _, header, _, body in asked:
        name, _, value = header.partition(": ")
        answer = requests.post(url, data=body, headers={name: value}, timeout=30)
        assert answer.ok
        (groups,) = answer.json()["aggregations"].values()
        assert groups["buckets"], url
    began = timestamp(round(time.time() * 1000) // 2000 * 2000)
    again = subprocess.run(
        [SHIPPER, "demo", "--ticks", "1", "--stop"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert again.returncode == 0
    shown_ticks = {line.split()[0] for line in again.stdout.splitlines() if " ledger: " in line}
    assert all(tick >= began for tick in shown_ticks), "of the run before"
    status = subprocess.run(
        [sys.executable, "-m", "shipper_eslocal", "status"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "stopped" in status.stdout


VIEW = LastTick(
    tick="2026-11-23T18:00:00.000Z",
    host={"host.name": "a\x1b[2Jb", "system.cpu.total.norm.pct": 0.123, "system.load.1": 0.5},
    by_cpu=[{"cgroup.name": "we\nb", "cgroup.kind": "container", "cgroup.cpu.pct": 0.5, "cgroup.pids.current": 3}],
    by_memory=[],
    agent={
        f"agent.ledger.{fate}.count": 1 for fate in ("collected", "stored", "late", "spooled", "rejected", "dropped")
    },
)


def test_on_a_terminal_it_is_a_table_and_hostile_names_do_nothing() -> None:
    console = Console(force_terminal=True, width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with Screen(console) as screen:
        screen.show(VIEW)
    text = console.export_text()
    assert "12.3%" in text
    assert "a�[2Jb" in text
    assert "we�b" in text
    assert all("\x1b[2J" not in line and "\n" not in line for line in plain(VIEW))


def test_absent_is_not_zero() -> None:
    assert shown(None, "pct") == "–"
    assert shown(0.0, "pct") == "0.0%"
    assert shown(1536, "bytes") == "1.5 KiB"
    assert shown(3 << 40, "rate") == "3.0 TiB/s"
