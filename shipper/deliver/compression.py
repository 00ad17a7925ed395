"""gzip of request bodies: by isal, the extra ``fast``, where it is installed, otherwise by zlib.

isal's level 1 makes bodies of about the size that zlib makes at level 3 (bench/README.md). Higher levels ask for
smaller bodies, which only zlib makes.
"""

import zlib
from typing import Final

try:
    from isal import isal_zlib
except ImportError:
    isal_zlib = None  # type: ignore[assignment]

_AS_GZIP: Final = 31  # wbits: the largest window, with gzip's header and trailer
_ISAL_LEVEL: Final = 1
_ISAL_UP_TO: Final = 3


def compress(data: bytes, level: int) -> bytes:
    """``data`` as gzip without a time, at zlib's ``level`` or what is about the same size."""
    if isal_zlib and level <= _ISAL_UP_TO:
        return isal_zlib.compress(data, _ISAL_LEVEL, _AS_GZIP)
    return zlib.compress(data, level, _AS_GZIP)
