"""The image for the nodes, built of a copy of the sources."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from readme import REPOSITORY

_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "requirements", "shipper", "eslocal", "dashboards", "units")


@dataclass(frozen=True)
class Image:
    tar: Path
    oci: Path

    @classmethod
    def of(cls, directory: Path) -> "Image":
        """The one that was built in ``directory``."""
        (oci,) = directory.glob("*-oci.tar")
        return cls(oci.with_name(oci.name.replace("-oci", "")), oci)

    @property
    def tag(self) -> str:
        return f"shipper:{self.tar.stem.removeprefix('shipper-')}"


def copied(directory: Path) -> Path:
    for name in _SOURCES:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, directory / name)
    return directory


def built(sources: Path, directory: Path) -> Image:
    command = [sys.executable, "-m", "shipper.deploy.image.build", str(directory)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env=environment, cwd=sources
    )
    assert done.returncode == 0, done.stderr
    return Image.of(directory)
