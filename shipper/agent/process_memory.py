"""How the agent's process keeps its memory small, for weeks: what CPython and the C library would do by themselves."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of the GNU C library


def one_arena() -> None:
    """All threads take memory from one heap: one runs at a time anyway, and each heap keeps what a large tick needed.

    Call it before the first thread. C libraries other than GNU's have no such setting.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """Everything so far is here to stay: the garbage collector need not go through modules and settings again.

    Reference counts free what ticks make; it is left on for the few cycles in errors with their tracebacks.
    """
    gc.collect()
    gc.freeze()
