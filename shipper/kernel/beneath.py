"""Open a path with another directory as its root: links of the host, also absolute ones, lead to files of the host.

openat2(2) with RESOLVE_IN_ROOT (Linux 5.6) does this in the kernel. If the kernel or a seccomp filter does not allow
it, a walk of one component at a time does the same. Neither follows the magic links of /proc (``proc/PID/root``).
"""

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable
from typing import Final

_OPENAT2: Final = 437  # the same number on every architecture
_RESOLVE_IN_ROOT: Final = 0x10
_NO_SYSTEM_CALL: Final = (errno.ENOSYS, errno.EPERM)  # seccomp filters answer EPERM
_MOST_LINKS: Final = 40  # the limit of the kernel
# A concurrent rename or mount anywhere makes the kernel fail on a path with ".." in it
_MOST_TRIES: Final = 32
_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_SYSCALL: Final = ctypes.CDLL(None, use_errno=True).syscall
_SYSCALL.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
_SYSCALL.restype = ctypes.c_long


# By flags, and the addresses that are passed to the kernel
_HOWS: Final[dict[int, _How]] = {}
_ADDRESSES: Final[dict[int, int]] = {}
_SIZE: Final = ctypes.sizeof(_How)


def _address(flags: int) -> int:
    how = _HOWS.setdefault(flags, _How(flags, 0, _RESOLVE_IN_ROOT))
    return _ADDRESSES.setdefault(flags, ctypes.addressof(how))


def _openat2(top: int, path: str, flags: int) -> int:
    """A descriptor; -1 and errno if it fails."""
    # "." is the directory itself, an empty path is not
    fd: int = _SYSCALL(_OPENAT2, top, os.fsencode(path) or b".", _ADDRESSES.get(flags) or _address(flags), _SIZE)
    return fd


def by_kernel(top: int, path: str, flags: int) -> int:
    """A descriptor of ``path`` below the directory ``top``. Raises OSError."""
    for _ in range(_MOST_TRIES):
        fd = _openat2(top, path, flags)
        if fd >= 0:
            return fd
        error = ctypes.get_errno()
        if error not in (errno.EAGAIN, errno.EINTR):
            raise OSError(error, os.strerror(error), path)
    return by_walk(top, path, flags)


def by_walk(top: int, path: str, flags: int) -> int:
    """As ``by_kernel``, one component at a time. Raises OSError."""
    opened = [os.dup(top)]
    try:
        parts = _parts(path)
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                if len(opened) > 1:
                    os.close(opened.pop())
                continue
            fd = os.open(part, _STEP, dir_fd=opened[-1])
            opened.append(fd)
            if stat.S_ISLNK(os.fstat(fd).st_mode) and (parts or not flags & os.O_NOFOLLOW):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink("", dir_fd=fd)
                back = opened[1:] if target.startswith("/") else [fd]
                for passed in back:
                    os.close(passed)
                    opened.remove(passed)
                parts = _parts(target) + parts
        return _reopened(opened.pop(), flags)
    finally:
        for fd in opened:
            os.close(fd)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _reopened(fd: int, flags: int) -> int:
    """The file of ``fd``, which is an O_PATH descriptor, opened with ``flags``; closes ``fd``."""
    if flags & os.O_PATH:
        return fd
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    finally:
        os.close(fd)


@functools.cache
def has_openat2() -> bool:
    """Whether the kernel and its seccomp filters let this process use openat2(2)."""
    top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _openat2(top, ".", _STEP)
        if fd >= 0:
            os.close(fd)
        return fd >= 0 or ctypes.get_errno() not in _NO_SYSTEM_CALL
    finally:
        os.close(top)


def opener() -> Callable[[int, str, int], int]:
    """``by_kernel`` if openat2(2) works, else ``by_walk``."""
    return by_kernel if has_openat2() else by_walk
