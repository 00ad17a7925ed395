"""Download only the needed members of zips in the Maven repository: few large HTTP ranges, several in parallel."""

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar
from zipfile import ZIP_STORED

import jgo
import remotezip
import requests

from shipper_eslocal.errors import Error
from shipper_eslocal.manifest import File, as_installed

LOCAL_HEADER = 30  # bytes before the name in a zip's local header, APPNOTE 4.3.7
SLACK = 1024  # the local header's extra field may be longer than the directory says
GAP = 64 * 1024  # bytes: reading and discarding so many is cheaper than another request
PIECE = 4 * 1024 * 1024  # most bytes of a request, unless a single member is larger
ATTEMPTS = 4
TIMEOUT = (10, 30)  # s to connect, s between two bytes

Result = TypeVar("Result")

_sessions = threading.local()


@dataclass(frozen=True)
class Member:
    """A file to install, and its position in the artifact: bytes ``start`` to ``stop``."""

    file: File
    start: int
    stop: int
    compressed: int | None = None
    """Bytes of compressed data in a zip; None if the file is not in a zip."""
    stored: bool = False

    def cut(self, data: bytes, origin: int) -> bytes:
        """The file's content, from ``data`` that begins at byte ``origin`` of the artifact."""
        raw = data[self.start - origin : self.stop - origin]
        if self.compressed is None:
            return raw
        name, extra = (int.from_bytes(raw[at : at + 2], "little") for at in (26, 28))
        body = raw[LOCAL_HEADER + name + extra :][: self.compressed]
        return body if self.stored else zlib.decompress(body, -zlib.MAX_WBITS)


@dataclass(frozen=True)
class Piece:
    """Adjacent members that one request fetches."""

    url: str
    members: list[Member]

    @property
    def start(self) -> int:
        """First byte."""
        return self.members[0].start

    @property
    def stop(self) -> int:
        """Byte after the last one."""
        return max(member.stop for member in self.members)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


def address(artifact: str) -> str:
    """URL of an artifact; `artifact` is its path in the Maven repository."""
    base: str = jgo.MAVEN_CENTRAL_URL  # type: ignore[attr-defined]  # re-exported without saying so
    return f"{base.rstrip('/')}/{artifact}"


def plan(files: Sequence[File]) -> list[Piece]:
    """The requests that fetch `files`. Reads the zips' directories over the network. Raises Error."""
    pieces: list[Piece] = []
    for (artifact, whole), group in groupby(files, key=lambda file: (file.artifact, file.member is None)):
        url, wanted = address(artifact), list(group)
        if whole:
            pieces += (Piece(url, [Member(file, 0, file.size)]) for file in wanted)
        else:
            pieces += (Piece(url, members) for members in _merged(_located(url, wanted)))
    return pieces


def _located(url: str, files: Sequence[File]) -> list[Member]:
    def directory() -> dict[str, tuple[int, int, int]]:
        with remotezip.RemoteZip(url, timeout=TIMEOUT) as archive:
            return {
                info.filename: (info.header_offset, info.compress_size, info.compress_type)
                for info in archive.infolist()
            }

    known = _retried(directory, url)
    members = []
    for file in files:
        name = file.member or ""
        if name not in known:
            raise Error(f"{url} contains no {name}; the manifest belongs to another artifact")
        offset, size, method = known[name]
        stop = offset + LOCAL_HEADER + len(name.encode()) + SLACK + size
        members.append(Member(file, offset, stop, size, method == ZIP_STORED))
    return sorted(members, key=lambda member: member.start)


def _merged(members: list[Member]) -> Iterator[list[Member]]:
    run: list[Member] = []
    for member in members:
        if run and (member.start - run[-1].stop > GAP or member.stop - run[0].start > PIECE):
            yield run
            run = []
        run.append(member)
    if run:
        yield run


def fetch(piece: Piece, root: Path, advance: Callable[[int], None]) -> None:
    """Fetch one piece, check its files and write them below `root`. `advance` gets the bytes read. Raises Error."""

    def attempt() -> list[bytes]:
        data = _range(piece, advance)
        contents = []
        for member in piece.members:
            content = as_installed(member.file.path, member.cut(data, piece.start))
            if not member.file.fits(content):
                raise ValueError(f"checksum of {member.file.path} is wrong")
            contents.append(content)
        return contents

    for member, content in zip(piece.members, _retried(attempt, piece.url), strict=True):
        place(root / member.file.path, content)


def place(target: Path, content: bytes) -> None:
    """Write a file atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    part.replace(target)


def _range(piece: Piece, advance: Callable[[int], None]) -> bytes:
    if not hasattr(_sessions, "session"):
        _sessions.session = requests.Session()
    headers = {"Range": f"bytes={piece.start}-{piece.stop - 1}", "Accept-Encoding": "identity"}
    data = bytearray()
    with _sessions.session.get(piece.url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
        reply.raise_for_status()
        if reply.status_code != requests.codes.partial and piece.start:
            raise Error(f"{piece.url} is not served in ranges; use a repository mirror that supports range requests")
        try:
            for block in reply.iter_content(256 * 1024):
                data += block
                advance(len(block))
        except BaseException:
            advance(-len(data))
            raise
    return bytes(data)


def _retried(attempt: Callable[[], Result], url: str) -> Result:
    for left in reversed(range(ATTEMPTS)):
        try:
            return attempt()
        except (requests.RequestException, remotezip.RemoteZipError, ValueError, zlib.error) as failure:
            if not left:
                raise Error(_advice(failure, url)) from failure
    raise AssertionError


def _advice(failure: Exception, url: str) -> str:
    if isinstance(failure, (ValueError, zlib.error)):
        return f"damaged download from {url} ({failure}), {ATTEMPTS} times; try without a proxy or mirror"
    return (
        f"cannot download {url} ({type(failure).__name__}); connect this machine to the network, "
        "or copy a filled cache folder from another machine and set ESLOCAL_CACHE"
    )
