"""``make release``: everything that people install, in dist/, with checksums, a bill of materials and provenance.

The same commit and the same Debian packages give the same bytes. Nothing is published from here; ``--sign`` is for a CI
job with an identity: sigstore signs the provenance without a key that somebody has to keep.
"""

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shipper import __version__
from shipper.deploy.image import build, oci
from shipper.release import packages, papers

MACHINES = tuple(oci.ARCHITECTURES)


def main() -> None:
    """Build all of it, or for one machine only."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=build.REPOSITORY / "dist", help="default: dist/")
    parser.add_argument("--machine", action="append", choices=MACHINES, help=f"only these (default: {MACHINES})")
    parser.add_argument("--no-image", action="store_true", help="without images, which need mmdebstrap")
    parser.add_argument("--sign", action="store_true", help="sign the provenance as this CI job (sigstore)")
    args = parser.parse_args()
    directory = args.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for path in release(directory, args.machine or MACHINES, images=not args.no_image):
        print(path.name, flush=True)  # noqa: T201
        made.append(path)
    told = papers.write(directory, made, build.source_date_epoch())
    print("\n".join(path.name for path in told))  # noqa: T201
    if args.sign:
        statement = directory / papers.PROVENANCE
        build.run(sys.executable, "-m", "sigstore", "sign", statement)


def release(directory: Path, machines: tuple[str, ...], *, images: bool) -> Iterator[Path]:
    """Each file as soon as it is made."""
    epoch = build.source_date_epoch()
    build.tell("wheel and sdist")
    yield from distributions(directory, epoch)
    for machine in machines:
        build.tell(f"deb and rpm for {machine}")
        with tempfile.TemporaryDirectory(prefix="shipper-package-") as name:
            packages.tree(Path(name), machine, __version__, epoch)
            yield from packages.pack(Path(name), directory, machine, __version__, epoch)
        build.tell(f"zipapp for {machine}")
        yield zipapp(directory, machine, epoch)
        if images:
            yield image(directory, machine)


def distributions(directory: Path, epoch: int) -> Iterator[Path]:
    """The wheel, and the sdist with one time for all of its files."""
    with tempfile.TemporaryDirectory(prefix="shipper-source-") as name:
        source, made = Path(name, "source"), Path(name, "made")
        build.copy_sources(source)
        words: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", "--outdir", made, source]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONWARNINGS": "ignore"}
        subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)
        (wheel,) = made.glob("*.whl")
        (sdist,) = made.glob("*.tar.gz")
        yield Path(shutil.copy(wheel, directory))
        yield plain(sdist, directory / sdist.name, epoch)


def plain(archive: Path, target: Path, epoch: int) -> Path:
    """``archive`` again, sorted and without owners and times of this machine."""
    packed = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for entry in sorted(old, key=lambda entry: entry.name):
            entry.pax_headers = {}
            new.addfile(build.anonymous(entry, epoch), old.extractfile(entry))
    with gzip.GzipFile("", "wb", 9, target.open("wb"), mtime=0) as file:
        file.write(packed.getvalue())
    return target


def zipapp(directory: Path, machine: str, epoch: int) -> Path:
    """One file for hosts that have only Python; it unpacks itself into ~/.shiv when it is first run."""
    target = directory / f"shipper-{__version__}-{machine}.pyz"
    with tempfile.TemporaryDirectory(prefix="shipper-zipapp-") as name:
        build.install(Path(name), machine)
        packages.prune(Path(name))
        words: list[str | Path] = [Path(sys.executable).with_name("shiv"), "--site-packages", name, "--reproducible"]
        words += ["--entry-point", "shipper.cli:main", "--python", "/usr/bin/env python3", "--compressed"]
        build.run(*words, "--output-file", target, SOURCE_DATE_EPOCH=str(epoch))
    return target


def image(directory: Path, machine: str) -> Path:
    """The image for container engines."""
    with tempfile.TemporaryDirectory(prefix="shipper-image-") as name:
        _, archive = build.build(Path(name), machine)
        target = directory / f"shipper-{__version__}-{oci.ARCHITECTURES[machine]}-oci.tar"
        return Path(shutil.move(archive, target))


if __name__ == "__main__":
    main()
