"""``shipper completion bash|zsh|fish``: what a shell needs to complete commands and options."""

import argparse

from shipper.base.errors import UserError
from shipper.settings.config import Config

SECTIONS = ()
EXAMPLES = {
    "completion bash > /etc/bash_completion.d/shipper": "for all users of this host",
    "completion fish > ~/.config/fish/completions/shipper.fish": "for one user",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], metavar="SHELL", help="one of %(choices)s")


def run(args: argparse.Namespace, _config: Config) -> int:
    try:
        import shtab
    except ImportError:
        raise UserError("completion needs shtab: pip install 'metrics-shipper[view]'") from None
    print(shtab.complete(args.whole_parser(), args.shell))
    return 0
