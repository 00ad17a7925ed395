"""Host trees that went wrong once, each with what is right (``test_cases.py``).

A tree of ``cases/NN-…`` lies over ``cases/base``: what all of them have in common.
"""

import os
import shutil
from pathlib import Path

from trees import Host, Tree

from shipper.collect import COLLECTORS

CASES = Path(__file__).parents[1] / "cases"


def host_of(case: str, directory: Path) -> Host:
    """All collectors on the tree of the one case whose name begins so; ``base`` is case 21, without /sys."""
    directory.mkdir(parents=True, exist_ok=True)
    [found] = [CASES / "base"] if case == "base" else CASES.glob(f"{case}-*")
    shutil.copytree(found, directory, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(CASES / "base", directory, copy_function=_unless_there, dirs_exist_ok=True)
    return Host(Tree(directory, {}), *COLLECTORS)


def _unless_there(source: str, target: str) -> None:
    if not os.path.lexists(target):
        shutil.copy2(source, target)
