"""Replace files atomically: after a call returns, the file has its new contents; after an error, its old ones.

Only ``overwrite``, for small files that change several times per tick, is not atomic.
"""

import os
from collections.abc import Iterable

NEW = ".new"
"""Suffix of a file while it is written; a file that still has it was never completed."""


def replace(path: str, data: bytes) -> None:
    """Replace ``path`` atomically by a file with ``data``, without syncing: a crash of the host may undo it. Raises
    OSError.
    """
    fd = os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
    os.replace(path + NEW, path)


def write_durably(path: str, parts: Iterable[bytes]) -> None:
    """Replace ``path`` atomically by a file with ``parts``, synced to disk when this returns. Raises OSError."""
    fd = os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, parts)
    finally:
        os.close(fd)
    os.replace(path + NEW, path)
    _sync_directory(path)


def write_all(fd: int, parts: Iterable[bytes]) -> None:
    """Write ``parts`` and sync once. Raises OSError."""
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(fd, view) :]
    os.fsync(fd)


_BLOCK = 4096
_SPARE = 64 << 10  # bytes that a file may be longer than its contents


def overwrite(path: str, data: bytes, *, sync: bool = False) -> None:
    """Overwrite a small file in place; with ``sync`` it is on disk when this returns.

    No file is made and usually no size changes, so this is much cheaper than ``write_durably``. After a crash during a
    write, and for a reader meanwhile, the file may be a mixture of old and new contents, so they need a checksum. They
    are padded with spaces and end with a newline. Raises OSError: if the disk has no room, before anything is written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        needed = -(-(len(data) + 1) // _BLOCK) * _BLOCK
        if needed > size:
            os.posix_fallocate(fd, 0, needed)
        elif size <= needed + _SPARE:
            needed = size
        view = memoryview(data.ljust(needed - 1) + b"\n")
        while view:
            view = view[os.pwrite(fd, view, needed - len(view)) :]
        if size > needed:
            os.ftruncate(fd, needed)
        if sync:
            os.fdatasync(fd)
    finally:
        os.close(fd)
    if sync and not size:
        _sync_directory(path)


def _sync_directory(path: str) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove(path: str) -> None:
    """Unlink ``path`` if it exists. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def no_links(path: str, flags: int) -> int:
    """An ``opener`` for ``open`` that follows no symbolic link and does not block on a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
