"""Mounts of a process: ``proc/PID/mountinfo``.

    27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
    (id, parent, device, root in the filesystem, mount point, options, optional fields, -, type, source, options)

https://docs.kernel.org/filesystems/proc.html (3.5), mount_namespaces(7) for the optional fields.
"""

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from shipper.kernel.parse import ParseError, integer, lines, name, whole

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_FEWEST_WORDS: Final = 10
_FEWEST_AFTER_DASH: Final = 2  # type and source
_POINT: Final = 4
_DEVICE_BITS: Final = 0xFFFFFFFF


class Mount(NamedTuple):
    """One line. ``point`` is below the host root; ``device`` is its number as stat(2) gives it.

    ``options`` are those of the mount and of its filesystem, ``propagation`` the optional fields, such as ``master:1``.
    """

    point: bytes
    device: int
    root: bytes
    type: str
    source: str
    options: tuple[bytes, ...]
    propagation: tuple[bytes, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is all of the filesystem, not a bind mount of a part of it."""
        return self.root == b"/"

    @property
    def read_only(self) -> bool:
        """Whether the mount or its filesystem is read-only."""
        return b"ro" in self.options


def unescaped(text: bytes) -> bytes:
    """The kernel writes blank, tab, newline, backslash and # as three octal digits."""
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 255]), text)


def parse_line(line: bytes) -> Mount:
    """Raises ParseError."""
    words = line.split(b" ")
    if len(words) < _FEWEST_WORDS or b"-" not in words[6:]:
        raise ParseError(f"{len(words)} words")
    dash = words.index(b"-", 6)
    after = words[dash + 1 :]
    if len(after) < _FEWEST_AFTER_DASH:
        raise ParseError("type and source are missing")
    major, _, minor = words[2].partition(b":")
    point = unescaped(words[_POINT])
    if not point.startswith(b"/") or b"\0" in point:
        raise ParseError("not a path")
    own = after[_FEWEST_AFTER_DASH].split(b",") if len(after) > _FEWEST_AFTER_DASH else []
    device = os.makedev(integer(major) & _DEVICE_BITS, integer(minor) & _DEVICE_BITS)
    options = (*words[5].split(b","), *own)
    return Mount(point, device, words[3], name(after[0]), name(unescaped(after[1])), options, tuple(words[6:dash]))


def parse(text: bytes) -> list[Mount]:
    """All mounts; raises ParseError, whose ``partial`` has those of the sound lines."""
    return lines(whole(text), parse_line)


def sound(text: bytes) -> Iterator[Mount]:
    """The mounts of the sound lines; never raises."""
    for line in text.split(b"\n"):
        try:
            yield parse_line(line)
        except ParseError:
            continue


def of_type(text: bytes, kind: bytes) -> Iterator[tuple[bytes, bytes, list[bytes]]]:
    """Mount point, type and options of filesystems whose type begins with ``kind``.

    It splits only their lines, because cgroups are looked up every minute on hosts with thousands of mounts.
    """
    for line in text.split(b"\n"):
        before, dash, after = line.partition(b" - " + kind)
        words, rest = before.split(b" "), after.split(b" ")
        if dash and len(words) > _POINT and len(rest) > _FEWEST_AFTER_DASH:
            yield unescaped(words[_POINT]), kind + rest[0], rest[_FEWEST_AFTER_DASH].split(b",")
