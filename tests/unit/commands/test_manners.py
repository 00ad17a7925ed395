"""What a person at a terminal meets: help, mistakes, an error nobody expected, a terminal that only knows ASCII."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

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


def _run(code: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, **(environ or {})}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="ascii", env=environ, check=False)
