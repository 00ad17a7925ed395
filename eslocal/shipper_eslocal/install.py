"""The cache of installed servers: downloaded once from Maven, checked at each start, repaired if damaged."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from shipper_eslocal import download, jvm, progress
from shipper_eslocal.errors import disk_advice
from shipper_eslocal.manifest import File, files

THREADS = 6


def cache_dir() -> Path:
    """`$ESLOCAL_CACHE`, else `eslocal` below `$XDG_CACHE_HOME`, else `~/.cache/eslocal`."""
    if own := os.environ.get("ESLOCAL_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "eslocal"


def ensure(version: str) -> Path:
    """Folder of a complete installation. Checks sizes at every call, and downloads only missing files.

    Raises Error without network, on a full disk and for a wrong checksum.
    """
    root = cache_dir() / version
    if not _unsound(root, version) and jvm.is_prepared(root):
        return root
    with (
        disk_advice(root.parent, "ESLOCAL_CACHE"),
        locked(root.with_name(f"{version}.lock"), f"another process is installing Elasticsearch {version}"),
    ):
        if not root.exists():
            _install(root, version)
        _heal(root, _unsound(root, version))
        if not jvm.is_prepared(root):  # a new JRE, a new launcher
            jvm.prepare(root)
    return root


def verify(version: str) -> list[str]:
    """Read every installed file, replace those with a wrong checksum, return their paths. Installs if necessary."""
    root = ensure(version)
    with (
        disk_advice(root.parent, "ESLOCAL_CACHE"),
        locked(root.with_name(f"{version}.lock"), f"another process is installing Elasticsearch {version}"),
    ):
        bad = [file for file in files(version) if not file.is_sound(root)]
        _heal(root, bad)
    return [file.path for file in bad]


def _unsound(root: Path, version: str) -> list[File]:
    return [file for file in files(version) if not file.looks_sound(root)]


def _install(root: Path, version: str) -> None:
    """Fill a folder beside the final one, reusing files of an interrupted run, and rename it."""
    partial = root.with_name(f"{version}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    _fill(partial, [file for file in files(version) if not file.is_sound(partial)], f"Elasticsearch {version}")
    partial.rename(root)


def _heal(root: Path, bad: Sequence[File]) -> None:
    """Replace single files in place, because other servers may be running from this folder."""
    if bad:
        print(f"eslocal: replacing {len(bad)} missing or damaged files below {root}", file=sys.stderr)
        _fill(root, bad, "Elasticsearch, missing files")


def _fill(root: Path, missing: Sequence[File], label: str) -> None:
    """Download files; prepare the JVM as soon as lib/ is complete, while the other files are still downloading."""
    first_of = {file.sha256: file for file in reversed(missing)}
    once = [file for file in missing if first_of[file.sha256] is file]
    pieces = download.plan(once)
    early = [piece for piece in pieces if any(_is_for_compiler(member.file) for member in piece.members)]
    late = [piece for piece in pieces if piece not in early]
    with progress.shown(label, sum(piece.size for piece in pieces)) as advance, ThreadPoolExecutor(THREADS) as pool:
        try:
            running = [pool.submit(download.fetch, piece, root, advance) for piece in (*early, *late)]
            for future in running[: len(early)]:
                future.result()
            if not jvm.is_prepared(root):
                jvm.prepare(root)
            for future in running[len(early) :]:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for file in missing:
        if first_of[file.sha256] is not file:
            _link(root / first_of[file.sha256].path, root / file.path)


def _is_for_compiler(file: File) -> bool:
    return file.path.endswith(".jar") and not file.path.startswith("modules/")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


@contextmanager
def locked(path: Path, reason: str) -> Iterator[None]:
    """Hold a lock file. If another process holds it, print `reason` on stderr and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"eslocal: {reason}, waiting", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
