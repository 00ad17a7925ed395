"""The commands as a user calls them: a process, its output, its exit status."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from shipper.deploy.image.build import NOT_ON_NODES

SHIPPER = str(Path(sys.executable).with_name("shipper"))


def shipper(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    return subprocess.run(
        [SHIPPER, *arguments], env={**clean, **environ}, capture_output=True, text=True, timeout=120, check=False
    )


def documents(*arguments: str) -> list[dict[str, Any]]:
    result = shipper("once", "--period", "1s", "--host-verify", "false", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_once_prints_every_dataset_with_rates_and_needs_no_server() -> None:
    found = documents()
    datasets = {one["event"]["dataset"] for one in found}
    assert {"shipper.host", "shipper.disk", "shipper.filesystem", "shipper.network", "shipper.agent"} <= datasets
    assert len({one["@timestamp"] for one in found}) == 1
    (host,) = (one for one in found if one["event"]["dataset"] == "shipper.host")
    assert 0 <= host["system"]["cpu"]["total"]["norm"]["pct"] <= 1
    assert host["host"]["boot"]["id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (agent,) = (one for one in found if one["event"]["dataset"] == "shipper.agent")
    assert "failed" not in agent["agent"]["collectors"]


def test_once_of_one_dataset() -> None:
    assert {one["event"]["dataset"] for one in documents("--dataset", "disk")} == {"shipper.disk"}


def test_a_wrong_host_view_is_refused(tmp_path: Path) -> None:
    result = shipper("once", "--host-root", str(tmp_path))
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert "not the host" in result.stderr


def test_explain_tells_file_and_line_through_all_steps() -> None:
    result = shipper("once", "--period", "1s", "--host-verify", "false", "--explain", "system.memory.actual.used.pct")
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0].startswith("system.memory.actual.used.pct = 0.")
    assert "from system.memory.actual.used.bytes / system.memory.total" in lines
    assert f"proc/meminfo:1: {total}" in lines


def test_explain_of_an_unknown_or_absent_field_is_one_line() -> None:
    unknown = shipper("once", "--explain", "system.memory.totl")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "did you mean system.memory.total?" in unknown.stderr
    absent = shipper("once", "--period", "1s", "--host-verify", "false", "--explain", "system.zfs.arc.size.bytes")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "absent here: proc/spl/kstat/zfs/arcstats" in absent.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["once", "--period", "7s"], 2, "--period"),
        (["run", "--config", "/nonexistent.toml"], 2, "/nonexistent.toml: no such file"),
        (["nonsense"], 2, "nonsense"),
        (["once", "--dataset", "nonsense"], 2, "nonsense"),
        (["run", "--spool", "/proc/nowhere", "--host-verify", "false"], 1, "/proc/nowhere"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str) -> None:
    result = shipper(*arguments)
    assert result.returncode == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_stops_cleanly_and_keeps_what_it_could_not_send(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ["--period", "1s", "--spool", str(tmp_path), "--elasticsearch-hosts", "http://127.0.0.1:1"]
    process = subprocess.Popen(
        [SHIPPER, "run", *arguments, "--host-verify", "false", "--spool-flush", "2s"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        lines = [process.stderr.readline(), process.stderr.readline()]
        assert " every 1s to metrics-shipper.*-default at http://127.0.0.1:1" in lines[0]
        assert "connection refused" in lines[1]
        process.send_signal(number)
        lines += process.stderr.readlines()
        assert process.wait(30) == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    segments = list((tmp_path / "segments").iterdir())
    assert segments
    assert any("remain in the spool" in line for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_help_and_version() -> None:
    assert "exit statuses" in shipper("--help").stdout
    assert shipper("--version").stdout.startswith("shipper ")


@pytest.mark.parametrize("words", [["--version"], ["fields", "system.load.1"]])
def test_on_nodes_which_have_no_dashboards(words: list[str]) -> None:
    hidden = [path.replace("/", ".") for path in NOT_ON_NODES]
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden!r})); from shipper import cli; sys.exit(cli.main())"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_time_before_now_is_no_option() -> None:
    done = shipper("why", "node-1", "--at", "-30m", "--elasticsearch-hosts", "http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (4, "shipper: http://127.0.0.1:1: connection refused\n")


def test_a_number_of_the_user_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text('jobs_bytes{queue="q"} 3\n')
    file = tmp_path / "shipper.toml"
    file.write_text(f'[[metrics]]\ntype = "textfile"\nname = "mine"\ndirectory = "{tmp_path}"\n')
    told = shipper("once", "--config", str(file), *FAST, "--explain", "metric.jobs_bytes").stdout.splitlines()
    assert told[:3] == ["metric.jobs_bytes = 3.0", '  from source "mine" of [[metrics]]', "  attributes.queue = q"]
    assert "  unit       bytes" in shipper("fields", "metric.jobs_bytes").stdout.splitlines()
    absent = shipper("once", "--config", str(file), *FAST, "--explain", "metric.other")
    assert absent.stderr == "shipper: metric.other is absent here: no source of [[metrics]] gave it\n"


FAST = ("--period", "1s", "--host-verify", "false")
