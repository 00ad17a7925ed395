"""The image, built once; what most tests of this folder run."""

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import shipper_eslocal
from imaging import Image, built, copied
from releasing import released


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As they are when this is first asked for."""
    return copied(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def image(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return built(sources, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def tree(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root file system, unpacked."""
    directory = tmp_path_factory.mktemp("tree")
    with tarfile.open(image.tar) as file:
        file.extractall(directory, filter="fully_trusted")
    return directory


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What people install, but for the image."""
    return released(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def server() -> Iterator[shipper_eslocal.Cluster]:
    """With TLS, passwords and API keys."""
    with shipper_eslocal.cluster(security=True) as cluster:
        yield cluster


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory for sockets, whose paths have no more than 108 bytes; podman takes 50 characters."""
    with tempfile.TemporaryDirectory(prefix="s-") as directory:
        yield Path(directory)
