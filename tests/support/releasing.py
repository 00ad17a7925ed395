"""Releases for this machine, without the image."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from booting import Node

from shipper.release import packages

MACHINE = os.uname().machine
EPOCH = 1_700_000_000
NEXT = "0.1.1"


def released(directory: Path) -> Path:
    """All that ``make release`` makes, in ``directory``."""
    words: list[str | Path] = [sys.executable, "-m", "shipper.release", directory, "--machine", MACHINE, "--no-image"]
    subprocess.run(words, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}, capture_output=True, check=True)
    return directory


def packed(directory: Path, version: str) -> dict[str, Path]:
    """The deb and the rpm of that version."""
    packages.tree(directory / "tree", MACHINE, version, EPOCH)
    made = packages.pack(directory / "tree", directory, MACHINE, version, EPOCH)
    return {path.suffix.lstrip("."): path for path in made}


def told(node: Node) -> dict[str, Any]:
    """``shipper status`` of the package on a node; empty while no agent runs."""
    done = subprocess.run(node.enter("shipper", "status", "--json"), capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}
