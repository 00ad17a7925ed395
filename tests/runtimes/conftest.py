import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory for sockets, whose paths have no more than 108 bytes; podman takes 50 characters."""
    with tempfile.TemporaryDirectory(prefix="s-") as directory:
        yield Path(directory)
