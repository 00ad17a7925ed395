"""adjtimex(2), which Python does not have."""

import ctypes
import os
from typing import ClassVar


class Timex(ctypes.Structure):
    """``struct timex`` of <sys/timex.h>, 64 bit."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        *((name, ctypes.c_long) for name in ("constant", "precision", "tolerance", "seconds", "microseconds", "tick")),
        ("rest", ctypes.c_long * 8),  # of pulses per second
        ("padding", ctypes.c_int * 12),
    ]


_LIBC = ctypes.CDLL(None, use_errno=True)


def adjtimex() -> tuple[int, Timex]:
    """State of the kernel's clock (TIME_OK …), and its parameters. Changes nothing. Raises OSError."""
    timex = Timex()
    state = _LIBC.adjtimex(ctypes.byref(timex))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return state, timex
