"""Pages of docs/reference, made from the code: options, commands, messages of the log."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Final

from shipper.base import messages
from shipper.collect import OPTIONS
from shipper.settings import config, sources
from shipper.settings.options import Option

_MADE: Final = "<!-- Made by `shipper render`. -->"
_EXAMPLES: Final = "<!-- not run: example names, parsed by the tests -->"
_PRIORITIES: Final = {messages.ERROR: "error", messages.WARNING: "warning", messages.INFO: "info"}


def options() -> str:
    """docs/reference/options.md."""
    secrets = ", ".join(f"`{name}`" for name in config.SECRET_VARIABLES)
    about = (
        "The first source that has an option decides: the flag, the variable, the file "
        f"(`{config.DEFAULT_FILE}`, or `{config.FILE_VARIABLE}`, or `--config`), the default. A variable set to "
        "nothing counts as unset. [units/shipper.toml](../../units/shipper.toml) is a sample with all options. "
        f"Secrets are not options: they come from files, from {secrets}, or from systemd's credentials."
    )
    lines = [_MADE, "# Options", "", about]
    every = config.all_options(OPTIONS)
    for section in dict.fromkeys(option.section for option in every):
        lines += ["", f"## [{section}]", "| option | meaning | default | flag |", "|---|---|---|---|"]
        lines += [_option(option) for option in every if option.section == section]
    lines += [
        "",
        f"## [[{sources.TABLE}]]",
        "The user's own numbers ([own metrics](../own-metrics.md)); without variables and flags.",
    ]
    for type_, kind in sources.TYPES.items():
        lines += ["", f'### type = "{type_}"', "| option | meaning | default |", "|---|---|---|"]
        lines += [_option(option, flag=False) for option in sources.source_options(kind).values()]
    return "\n".join(lines) + "\n"


def _option(option: Option, *, flag: bool = True) -> str:
    default = "" if option.default in (None, "", {}) else f"`{option.kind.show(option.default)}`"
    flags = f" `{option.flags[0]}` |" if flag else ""
    return f"| `{option.key}` | {_cell(option.help)}: {_cell(option.kind.allowed)} | {_cell(default)} |{flags}"


def commands(parser: argparse.ArgumentParser, statuses: Mapping[int, str], down: Mapping[int, str]) -> str:
    """docs/reference/commands.md, from the parser of the whole command line.

    ``statuses``: exit status → meaning; ``down``: those after which a unit stays down.
    """
    lines = [
        *(_MADE, "# Commands and exit statuses", ""),
        "`shipper help COMMAND` shows the same on a terminal, with the options of the sections that a command reads.",
        "`--debug` prints a traceback when a command fails; `NO_COLOR` turns colours off. Each command ends at Ctrl-C.",
    ]
    for name, command in _commands(parser):
        rows = list(_arguments(command))
        lines += ["", f"## shipper {name}", str(command.description), ""]
        lines += ["| argument | meaning |", "|---|---|", *rows] if rows else []
        examples = str(command.epilog).partition("examples:\n")[2].partition("\n\n")[0]
        lines += (
            ["", _EXAMPLES, "```sh", *(line.removeprefix("  ") for line in examples.splitlines()), "```"]
            if examples
            else []
        )
    lines += ["", "## Exit statuses", "| status | meaning | a unit restarts |", "|---|---|---|"]
    lines += [f"| {code} | {meaning} | {'no' if code in down else 'yes'} |" for code, meaning in statuses.items()]
    lines += [
        "",
        "`alerts check` has the statuses of a monitoring plugin instead: 0 ok, 1 warning, 2 critical, 3 unknown.",
    ]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 – argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield from action.choices.items()


def _arguments(command: argparse.ArgumentParser) -> Iterator[str]:
    for action in command._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, inner in action.choices.items():
                sentence = next(one.help for one in action._choices_actions if one.dest == name)  # noqa: SLF001
                yield f"| **`{name}`** | {_cell(str(sentence))} |"
                yield from _arguments(inner)
        elif "." not in action.dest and action.dest not in {"help", "debug", "config"}:
            value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
            names = [f"{name} {value}".strip() for name in action.option_strings] or [str(value)]
            sentence = str(action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
            choices = ", ".join(map(str, action.choices or ()))
            sentence = sentence.replace("%(choices)s", choices) or choices
            yield f"| {', '.join(f'`{name}`' for name in names)} | {_cell(sentence)} |"


def log_messages() -> str:
    """docs/reference/messages.md."""
    lines = [
        *(_MADE, "# Messages of the agent's log", ""),
        "Each line ends with its code, which never changes. A cause that persists is logged once an hour, with the",
        "number of repetitions. Places in braces stand for values.",
        *("", "| code | priority | message | what to do |", "|---|---|---|---|"),
    ]
    lines += [
        f"| {one.code} | {_PRIORITIES[one.priority]} | {_cell(one.text)} | {_cell(one.remedy)} |"
        for one in messages.ALL
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
