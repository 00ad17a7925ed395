"""Keep the resident memory of the agent's process small, for weeks: settings of CPython and of the C library."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of the GNU C library


def one_arena() -> None:
    """Let all threads allocate from one heap: only one runs at a time, and each heap keeps what a large tick needed.

    Call it before the first thread starts. C libraries other than GNU's have no such setting.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """Exclude everything allocated so far from garbage collection: modules and settings stay.

    Reference counts free what ticks allocate; the collector stays on for the few cycles in errors with tracebacks.
    """
    gc.collect()
    gc.freeze()
