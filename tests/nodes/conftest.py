"""The image, built once for all workers; what most tests of this folder run."""

import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import shipper_eslocal
from engines import short_path
from imaging import Image, built, copied
from releasing import released
from sharing import Servers, common, made


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As they are when a worker first asks for them."""
    return made(common(tmp_path_factory), "sources", copied)


@pytest.fixture(scope="session")
def image(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image.of(made(common(tmp_path_factory), "image", partial(built, sources)))


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
    return made(common(tmp_path_factory), "dist", released)


@pytest.fixture(scope="session")
def server(servers: Servers) -> shipper_eslocal.Cluster:
    """With TLS, passwords and API keys."""
    return servers.one("secure", partial(shipper_eslocal.cluster, security=True))


@pytest.fixture
def short() -> Iterator[Path]:
    with short_path() as directory:
        yield directory
