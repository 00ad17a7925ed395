"""What a person at a terminal meets: help, mistakes, an error nobody expected, a terminal that only knows ASCII."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import shtab

from shipper import cli, commands


def test_help_imports_no_command() -> None:
    """``shipper --help`` is for people who wait."""
    code = f"import sys; from shipper import cli; cli.main(['--help']); {_LOADED}"
    assert _run(code).stdout.splitlines()[-1] == "[]"


_LOADED = "print([name for name in sys.modules if name.startswith('shipper.commands.')])"


def test_each_command_has_its_help_and_examples_that_parse() -> None:
    parser = cli.whole_parser()
    assert isinstance(parser, cli._Parser)
    for name, module in ((name, cli._module(name)) for name in cli.built()):
        assert commands.HELP[name] in parser.format_help().replace("\n                 ", " ")
        for line in getattr(module, "EXAMPLES", {}):
            arguments = line.partition(" | ")[0].partition(" > ")[0].split()
            assert parser.parse_args(arguments).command == name


def test_help_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "spool"]) == 0
    assert capsys.readouterr().out.startswith("usage: shipper spool ")
    assert cli.main(["help"]) == 0
    assert capsys.readouterr().out.startswith("usage: shipper [-h]")


@pytest.mark.parametrize("debug", [False, True])
def test_an_unexpected_error_is_one_line(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_args: object, _config: object) -> int:
        raise ValueError("a\nb")

    monkeypatch.setattr("shipper.commands.fields.run", broken)
    assert cli.main(["fields", *(["--debug"] if debug else [])]) == 1
    shown = capsys.readouterr().err
    assert "shipper: unexpected ValueError: a b (test_manners.py:" in shown
    assert ("Traceback" in shown) is debug
    assert shown.count("\n") == 1 or debug


def test_a_terminal_that_only_knows_ascii() -> None:
    ascii_only = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    shown = _run("from shipper import cli; cli.main(['report', '--help'])", ascii_only)
    assert shown.returncode == 0
    assert r"[OPTION]\u2026" in shown.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    shown = capsys.readouterr().out
    assert "forecast" in shown and "online" in shown


def test_bash_takes_the_completion() -> None:
    script = 'eval "$(python3 -m shipper completion bash)"; complete -p shipper'
    ended = subprocess.run(["bash", "-c", script.replace("python3", sys.executable)], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b" shipper" in ended.stdout


@pytest.mark.needs("zsh")
def test_zsh_proposes_status(tmp_path: Path) -> None:
    (tmp_path / "_shipper").write_text(shtab.complete(cli.whole_parser(), "zsh"))
    script = f"""
    zmodload zsh/zpty
    zpty z zsh -f -i
    zpty -w z 'fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D; print rea""dy'
    zpty -r -m z shown '*ready*'
    zpty -n -w z $'shipper sta\\t'
    zpty -r -m z shown '*status*'
    print -r -- "$shown"
    """
    ended = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "shipper status" in ended.stdout


@pytest.mark.needs("fish")
def test_fish_proposes_status(tmp_path: Path) -> None:
    (tmp_path / "shipper.fish").write_text(shtab.complete(cli.whole_parser(), "fish"))
    script = f"source {tmp_path}/shipper.fish; complete -C 'shipper sta'"
    ended = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in ended.stdout.splitlines()] == ["status"]


def test_alert_rules_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["alerts", "list"]) == 0
    named = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert cli.main(["alerts", "list", "--json"]) == 0
    rules = {rule["name"]: rule for rule in json.loads(capsys.readouterr().out)}
    assert list(rules) == named
    busy = rules["host-cpu"]
    assert (busy["field"], busy["warning"], busy["critical"]) == ("system.cpu.total.norm.pct", 0.85, 0.95)


def _run(code: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, **(environ or {})}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="ascii", env=environ, check=False)
