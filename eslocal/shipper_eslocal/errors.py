"""The exception of this package."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Error(Exception):
    """A failure and the next step, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@contextmanager
def disk_advice(folder: Path, variable: str) -> Iterator[None]:
    """Turn errors of the file system into an Error. `variable`: the environment variable that moves `folder`."""
    try:
        yield
    except OSError as failure:
        if failure.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Error(f"no space left for {folder}; free 300 MB there or set {variable} to another disk") from failure
        if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Error(f"cannot write to {folder}; set {variable} to a writable folder") from failure
        raise
