"""Servers that the workers of one test run share: the first that asks starts one, and ends it when no other is left."""

import fcntl
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import shipper_eslocal


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
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if file.exists():
                return shipper_eslocal.Cluster.load(Path(file.read_text()))
            started = self._own.enter_context(start())
            self._own.callback(file.unlink)
            file.write_text(str(started.root))
            return started

    def leave(self) -> None:
        """Wait until no other worker uses a server, and end those that this one started."""
        with self._users:
            fcntl.flock(self._users, fcntl.LOCK_EX)
            self._own.close()
