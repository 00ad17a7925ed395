"""Replace files atomically. After a call returns, the file has its new contents; after an error, its old ones."""

import os

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


def write_durably(path: str, *parts: bytes) -> None:
    """Replace ``path`` atomically by a file with ``parts``, synced to disk when this returns. Raises OSError."""
    fd = os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, *parts)
    finally:
        os.close(fd)
    os.replace(path + NEW, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_all(fd: int, *parts: bytes) -> None:
    """Write ``parts`` and sync once. Raises OSError."""
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(fd, view) :]
    os.fsync(fd)


def remove(path: str) -> None:
    """Unlink ``path`` if it exists. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def no_links(path: str, flags: int) -> int:
    """An ``opener`` for ``open`` that follows no symbolic link and does not block on a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
