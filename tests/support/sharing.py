"""What the workers of one test run share: the first that asks makes it; a server ends when no worker is left."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import shipper_eslocal

MEMORY = Path("/dev/shm")
_LEAST_BYTES = 8 << 30


def common(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of all workers of this run."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def in_memory() -> Iterator[None]:
    """Servers that start here have their data in memory if there is enough: they sync each change of a template."""
    free = min(psutil.virtual_memory().available, psutil.disk_usage(str(MEMORY)).free) if MEMORY.is_dir() else 0
    with pytest.MonkeyPatch.context() as patch:
        if free > _LEAST_BYTES:
            patch.setattr(tempfile, "tempdir", str(MEMORY))
        yield


@contextmanager
def held(file: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file: alone, or together with others that hold it ``shared``."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def made(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The directory ``name`` in ``folder``, filled by ``make`` for the first worker that asks."""
    directory, part = folder / name, folder / f"{name}.part"
    with held(folder / f"{name}.lock"):
        if not directory.exists():
            part.mkdir()  # fails if making it has failed before
            make(part)
            part.rename(directory)
    return directory


class Servers:
    """In ``folder``, which the workers share, a file names the folder of each server that runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users = (folder / "servers.users").open("w")
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._own = ExitStack()

    def one(
        self, name: str, start: Callable[[], AbstractContextManager[shipper_eslocal.Cluster]]
    ) -> shipper_eslocal.Cluster:
        file = self._folder / name
        with held(file.with_suffix(".lock")):
            if file.exists():
                return shipper_eslocal.Cluster.load(Path(file.read_text()))
            with in_memory():
                started = self._own.enter_context(start())
            self._own.callback(file.unlink)
            file.write_text(str(started.root))
            return started

    def leave(self) -> None:
        """Wait until no other worker uses a server, and end those that this one started."""
        with self._users:
            fcntl.flock(self._users, fcntl.LOCK_EX)
            self._own.close()
