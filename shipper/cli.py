"""The command line ``shipper COMMAND``. The commands are the modules of ``shipper.commands``."""

import argparse
import importlib
import io
import os
import pkgutil
import re
import sys
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final, NoReturn, cast

from shipper import __version__, commands
from shipper.base.errors import EXIT_CODES, INTERRUPTED, PIPE_CLOSED, ConfigError, UserError
from shipper.base.text import suggestion
from shipper.collect import OPTIONS
from shipper.settings import config
from shipper.settings.options import PREFIX

EXAMPLES: Final = {
    "help check": "the options of one command",
    "once --dataset host": "what is collected; needs no server",
    "setup": "once per cluster",
    "run": "the agent",
}
_DEBUG: Final = "--debug"


class _Parser(argparse.ArgumentParser):
    """Options may have values such as ``-30m``, which argparse takes for an option unless it looks like a number."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._negative_number_matcher = re.compile(r"-\d+(\.\d+)?[a-z]*$")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, with a suggestion for an option that does not exist."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            flags = self.commands[parsed.command]._option_string_actions  # noqa: SLF001 – there is no public name
            close = suggestion(rest[0], [flag for flag in flags if flag.startswith("--")])
            arguments = f"unrecognized arguments: {' '.join(rest)}{close}"
            raise ConfigError(f"{arguments} (see {self.prog} {parsed.command} --help)")
        return parsed

    @property
    def commands(self) -> Mapping[str, "_Parser"]:
        """The parsers of the commands."""
        subparsers = self._subparsers
        assert subparsers
        choices = subparsers._group_actions[0].choices  # noqa: SLF001
        return cast("Mapping[str, _Parser]", choices)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit status, one of EXIT_CODES."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale may be ASCII only
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _main([argument for argument in arguments if argument != _DEBUG])
        sys.stdout.flush()
    except BrokenPipeError:
        # The rest of the buffer would fail again when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 – each becomes lines for people
        return _told(error, with_traceback=_DEBUG in arguments)
    return code


def _told(error: Exception, *, with_traceback: bool) -> int:
    """Print what went wrong. Returns the exit status."""
    if with_traceback:
        traceback.print_exception(error)
    if isinstance(error, UserError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename or type(error).__name__}: {error.strerror or error}"
    else:
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(at.filename)}:{at.lineno}"
        what = " ".join(str(error).split())
        text = f"unexpected {type(error).__name__}: {what} ({place}); --debug prints the traceback, for a report"
    for line in text.splitlines():
        print(f"shipper: {line}", file=sys.stderr)
    return error.exit_code if isinstance(error, UserError) else 1


def _main(argv: list[str]) -> int:
    names = built()
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if argv and not argv[0].startswith("-") and argv[0] not in names:
        raise ConfigError(f"unknown command {argv[0]}{suggestion(argv[0], names)} (see shipper --help)")
    # Importing only the chosen command's module saves time and memory
    modules = {name: _module(name) for name in names if name in argv}
    try:
        args = _parser(names, modules).parse_args(argv)
    except SystemExit as ended:  # after --help and --version
        return int(ended.code or 0)
    args.whole_parser = whole_parser
    module = modules[args.command]
    result: int = module.run(args, _config(args, module))
    return result


def built() -> list[str]:
    """Names of the available commands."""
    modules = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    return [name for name in commands.HELP if name in modules]


def whole_parser() -> argparse.ArgumentParser:
    """The parser with all commands and their options."""
    names = built()
    return _parser(names, {name: _module(name) for name in names})


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{commands.__name__}.{name}")


def _sections(module: ModuleType) -> tuple[str, ...]:
    return getattr(module, "SECTIONS", tuple(config.SECTIONS))


def _config(args: argparse.Namespace, module: ModuleType) -> config.Config:
    if not _sections(module):
        return config.Config()
    paths = {option.path for option in config.all_options(OPTIONS)}
    flags = {name: value for name, value in vars(args).items() if name in paths}
    return config.load(getattr(args, "config", None), os.environ, flags, OPTIONS)


def _parser(names: list[str], modules: Mapping[str, ModuleType]) -> _Parser:
    parser = _Parser(
        prog="shipper",
        description="Host and container metrics for Elasticsearch.",
        epilog=_epilog(EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"shipper {__version__}")
    _add_common(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in names:
        _add_command(subparsers, name, modules.get(name))
    return parser


def _add_command(subparsers: Any, name: str, module: ModuleType | None) -> None:
    if module is None:
        subparsers.add_parser(name, help=commands.HELP[name])
        return
    details = getattr(module, "DETAILS", "")
    parser = subparsers.add_parser(
        name,
        usage=f"shipper {name} [OPTION]…" if _sections(module) else None,  # argparse would list them all
        help=commands.HELP[name],
        description="\n".join(textwrap.wrap(f"{_sentence(commands.HELP[name])} {details}", 100)),
        epilog=_epilog(getattr(module, "EXAMPLES", {})),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    _add_common(parser)
    if _sections(module):
        for section in _sections(module):
            _add_section(parser, section)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_common(parser: argparse.ArgumentParser) -> None:
    debug = "print a traceback when the command fails"
    parser.add_argument(_DEBUG, action="store_true", default=argparse.SUPPRESS, help=debug)  # main has removed it
    help_ = f"configuration file (default {config.DEFAULT_FILE}, if it exists)"
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=help_)


def _add_section(parser: argparse.ArgumentParser, section: str) -> None:
    group = parser.add_argument_group(f"[{section}]")
    for option in config.all_options(OPTIONS):
        if option.section == section:
            default = "" if option.default in (None, "", {}) else f" (default {option.kind.show(option.default)})"
            group.add_argument(
                *option.flags,
                dest=option.path,
                metavar=option.kind.placeholder,
                default=argparse.SUPPRESS,
                help=f"{option.help}{default}".replace("%", "%%"),
            )


def _epilog(examples: Mapping[str, str]) -> str:
    lines = "".join(f"  # {what}\n  shipper {line}\n" for line, what in examples.items())
    shown = f"examples:\n{lines}\n" if examples else ""
    codes = "\n".join(f"  {code:3}  {meaning}" for code, meaning in EXIT_CODES.items())
    variables = f"Every option can also be set in the file, or in the environment as {PREFIX}_<SECTION>_<KEY>."
    return f"{shown}{variables}\n\nexit statuses:\n{codes}"
