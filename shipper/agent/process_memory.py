"""Keep the resident memory of the agent's process small, for weeks: settings of CPython and of the C library."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of the GNU C library
_M_MMAP_THRESHOLD: Final = -3
_NEW_OBJECTS: Final = 20_000
_LARGE: Final = 128 << 10  # bytes: the library's default, which it raises to 32 MiB unless the program sets it


def small_heap() -> None:
    """Let all threads allocate from one heap, and return large blocks to the system as soon as they are free.

    Only one thread runs at a time, and each heap keeps what a large tick needed: a request of 1,000 containers takes
    2 MB. Call it before the first thread starts. C libraries other than GNU's have no such settings.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def settle() -> None:
    """Exclude everything allocated so far from garbage collection: modules and settings stay.

    Reference counts free what ticks allocate; the collector stays on for the few cycles in errors with tracebacks. It
    runs only when so many objects are new that a tick of a thousand containers does not make it run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
