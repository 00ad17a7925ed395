"""``shipper check`` without a server: what it says, and which exit status it gives."""

import re
import socket
from pathlib import Path

import pytest

from shipper import cli
from shipper.base.findings import Level
from shipper.collect.contract import Collect
from shipper.commands import check
from shipper.kernel.source import Root

LINE = re.compile(r"(ok   |note |wrong)  \S.*")


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("       → ")]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    return lines


def test_this_machine_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--spool", str(tmp_path / "new" / "spool"), "--host-name", "a"]) == 0
    lines = shown(capsys)
    assert "ok     spool.directory from flag --spool" in lines
    assert any(line.startswith(f"ok     spool {tmp_path}/new/spool, will be created: ") for line in lines)
    assert any(re.fullmatch(r"ok     disks: [1-9]\d* \(.+\)", line) for line in lines)
    assert any(re.fullmatch(r"ok     filesystems: [1-9]\d* \(.*/.*\)", line) for line in lines)
    assert not (tmp_path / "new").exists()


def test_wrong_view_gives_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["check", "--host-root", str(tmp_path), "--spool", str(tmp_path)]
    assert cli.main(wanted) == 3
    assert any(line.startswith("wrong  no proc/stat below ") for line in shown(capsys))
    assert cli.main([*wanted, "--host-verify", "false"]) == 0


def test_server_away_gives_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    wanted = ["--spool", str(tmp_path), "--host-name", "a", "--elasticsearch-hosts", url]
    assert cli.main(["check", "--online", *wanted]) == 4
    assert shown(capsys)[-1] == f"wrong  {url}: connection refused"


def test_spool_that_cannot_be_written_gives_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--spool", "/proc/spool", "--host-name", "a"]) == 1
    assert shown(capsys)[-1].startswith("wrong  spool /proc/spool: /proc cannot be written to: ")


def test_spool_larger_than_the_disk_is_noted(tmp_path: Path) -> None:
    (finding,) = check.spool(tmp_path, 1 << 60)
    assert finding.level is Level.NOTE


def test_variables_and_flags_are_named_as_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text('[collect]\nperiod = "1m"\n')
    monkeypatch.setenv("SHIPPER_HOST_NAME", "a")
    assert cli.main(["check", "--config", str(file), "--spool", str(tmp_path)]) == 0
    assert shown(capsys)[:3] == [
        f"ok     configuration from {file}",
        "ok     host.name from environment SHIPPER_HOST_NAME",
        "ok     spool.directory from flag --spool",
    ]


def test_broken_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from shipper.collect import COLLECTORS
    from shipper.settings.config import Config

    def start(_reader: object, _config: object) -> Collect:
        raise ValueError("odd kernel")

    broken = replace(COLLECTORS[0], start=start)
    readings, findings = check.attempt(broken, Root("/"), Config())
    assert readings == []
    assert [str(one) for one in findings] == [f"wrong  collector {broken.name}: ValueError: odd kernel"]


def test_terminal_is_safe_from_hostile_names() -> None:
    finding = check.named("filesystems", ["/mnt/\x1b[2J\n", "/"])
    assert str(finding) == "ok     filesystems: 2 (/, /mnt/\\x1b[2J\\n)"


def test_check_says_what_keeps_run_from_starting_all_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    options = ["--spool", str(tmp_path / "spool"), "--host-name", "a", "--host-verify", "false", "--collect-ticks", "1"]
    options += ["--elasticsearch-hosts", "https://127.0.0.1:1", "--elasticsearch-api-key-file", f"{tmp_path}/key"]
    options += [
        "--elasticsearch-ca-file",
        f"{tmp_path}/ca.pem",
        "--elasticsearch-client-cert-file",
        f"{tmp_path}/bad.pem",
    ]
    faults = [
        f"elasticsearch.api_key_file {tmp_path}/key: No such file or directory",
        f"elasticsearch.ca_file {tmp_path}/ca.pem: No such file or directory",
        f"elasticsearch.client_cert_file {tmp_path}/bad.pem: not a PEM file with a certificate and its key",
    ]
    assert cli.main(["check", "--online", *options]) == 2
    lines = shown(capsys)
    assert [line.removeprefix("wrong  ") for line in lines if line.startswith("wrong")] == faults
    assert cli.main(["run", *options]) == 2
    assert capsys.readouterr().err == f"shipper: {'; '.join(faults)}\n"
