"""The command line ``shipper COMMAND``. The commands are the modules of ``shipper.commands``."""

import argparse
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final, NoReturn

from shipper import __version__, commands
from shipper.base.errors import ConfigError, UserError
from shipper.collect import OPTIONS
from shipper.settings import config
from shipper.settings.options import PREFIX

# In the order of --help; a command is available if its module exists
ORDER: Final = (
    *(
        "run",
        "once",
        "demo",
        "setup",
        "render",
        "check",
        "status",
        "top",
        "why",
        "compare",
        "forecast",
        "usage",
        "report",
        "fields",
    ),
    *("alerts", "spool", "dashboards", "units"),
)

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
EXIT_CODES: Final[Mapping[int, str]] = {
    0: "success",
    1: "failed, or check found a problem",
    2: "the command line or the configuration is invalid",
    3: "the host root does not show the host",
    4: "Elasticsearch cannot be reached, or rejects the request",
    INTERRUPTED: "interrupted",
    PIPE_CLOSED: "the reader closed the output",
}


class _Parser(argparse.ArgumentParser):
    """Options may have values such as ``-30m``, which argparse takes for an option unless it looks like a number."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._negative_number_matcher = re.compile(r"-\d+(\.\d+)?[a-z]*$")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit status, one of EXIT_CODES."""
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        # The rest of the buffer would fail again when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except UserError as error:
        print(f"shipper: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"shipper: {error.filename or type(error).__name__}: {error.strerror or error}", file=sys.stderr)
        return 1
    return code


def _main(argv: list[str]) -> int:
    names = built()
    # Importing only the chosen command's module saves time and memory; --help alone needs all of them
    modules = {name: _module(name) for name in (argv[:1] if argv[:1] and argv[0] in names else names)}
    try:
        args = _parser(names, modules).parse_args(argv)
    except SystemExit as ended:  # after --help and --version
        return int(ended.code or 0)
    module = modules[args.command]
    result: int = module.run(args, _config(args, module))
    return result


def built() -> list[str]:
    """Names of the available commands."""
    modules = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    return [name for name in ORDER if name in modules]


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
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"shipper {__version__}")
    _add_config(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in names:
        _add_command(subparsers, name, modules.get(name))
    return parser


def _add_command(subparsers: Any, name: str, module: ModuleType | None) -> None:
    if module is None:
        subparsers.add_parser(name)
        return
    parser = subparsers.add_parser(
        name,
        usage=f"shipper {name} [OPTION]…" if _sections(module) else None,  # argparse would list them all
        help=module.HELP,
        description=module.HELP,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    if _sections(module):
        _add_config(parser)
        for section in _sections(module):
            _add_section(parser, section)


def _add_config(parser: argparse.ArgumentParser) -> None:
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


def _epilog() -> str:
    codes = "\n".join(f"  {code:3}  {meaning}" for code, meaning in EXIT_CODES.items())
    variables = f"Every option can also be set in the file, or in the environment as {PREFIX}_<SECTION>_<KEY>."
    return f"{variables}\n\nexit statuses:\n{codes}"
