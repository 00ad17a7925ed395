"""The image, built once; what most tests of this folder run."""

import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from readme import REPOSITORY


@dataclass(frozen=True)
class Image:
    tar: Path
    oci: Path

    @property
    def tag(self) -> str:
        return f"shipper:{self.tar.stem.removeprefix('shipper-')}"


def built(directory: Path) -> Image:
    command = [sys.executable, str(REPOSITORY / "units/image/build.py"), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    tar, oci = (Path(line.split("  ", 1)[1]) for line in done.stdout.splitlines())
    return Image(tar, oci)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return built(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def build() -> Callable[[Path], Image]:
    return built


@pytest.fixture(scope="session")
def tree(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root file system, unpacked."""
    directory = tmp_path_factory.mktemp("tree")
    with tarfile.open(image.tar) as file:
        file.extractall(directory, filter="tar")
    return directory
