"""``make image``: one root filesystem with Python and the shipper, as a tar and as an OCI archive, both reproducible.

The tree consists of Debian's packages, which mmdebstrap gets from this machine's apt sources, the wheels that
requirements/run.txt locks, and the shipper itself. Where user namespaces exist, neither Docker nor root is needed.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from functools import partial
from pathlib import Path
from typing import Final

from shipper import __version__
from shipper.deploy.image import oci

REPOSITORY: Final = Path(__file__).resolve().parents[3]
SUITE: Final = "bookworm"
PYTHON: Final = "3.11"  # of that suite
# busybox: a shell and tools for people who inspect a host through the image
PACKAGES: Final = ("base-files", "busybox", f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib")
SOURCES: Final = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
HOOKS: Final = "/usr/share/mmdebstrap/hooks/merged-usr"
PLATFORMS: Final = ("manylinux_2_17", "manylinux2014", "manylinux_2_28")  # tags of wheels that Debian 12 can load
SITE: Final = "usr/lib/python3/dist-packages"
# Not needed at run time: package manager, documents, character sets, parts of Python's standard library
PRUNED: Final = (
    *("boot", "home", "media", "mnt", "opt", "srv", "tmp/*", "lib32", "libx32", "usr/lib32", "usr/libx32"),
    *("etc/alternatives", "etc/apt", "etc/cron.daily", "etc/default", "etc/dpkg", "etc/fstab", "etc/gss"),
    *("etc/issue*", "etc/logrotate.d", "etc/mime.types", "etc/netconfig", "etc/profile.d", "etc/rmt", "etc/skel"),
    *("etc/update-motd.d", "usr/games", "usr/include", "usr/libexec", "usr/local/*", "usr/src", "usr/sbin/*"),
    *("usr/bin/dpkg*", "usr/bin/mawk", "usr/bin/tar", "usr/bin/update-alternatives", "usr/lib/dpkg", "usr/lib/mime"),
    *("usr/lib/systemd", "usr/lib/terminfo", "usr/lib/tmpfiles.d", "usr/lib/*/gconv", "usr/lib/*/audit"),
    *("usr/share/*", "var/*"),
    *(f"usr/lib/python{PYTHON}/{name}" for name in ("ensurepip", "lib2to3", "pydoc_data", "pydoc.py", "turtle.py")),
    *(f"{SITE}/{name}" for name in ("bin", "*/tests")),
    *(f"{SITE}/metrics_shipper-*/{name}" for name in ("direct_url.json", "RECORD")),  # they contain the build directory
)
KEPT: Final = ("usr/share/doc",)  # the licences
# Used only for viewing dashboards and for development
NOT_ON_NODES: Final = (
    *("shipper_dashboards", "shipper_eslocal"),
    *("shipper/view/dashboards", "shipper/view/report", "shipper/deploy/image", "shipper/release"),
)
DIRECTORIES: Final = ("etc/shipper", "media/root", "tmp", "var/lib/shipper", "var/tmp", "run", "root")
FILES: Final = {
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/nonexistent\n",
    "etc/group": "root:*:0:\nnogroup:*:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    # Engines and systemd-nspawn mount the host's files over these
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/resolv.conf": "",
    "etc/hostname": "",
    "etc/machine-id": "",
    "usr/bin/shipper": "#!/usr/bin/python3\nfrom shipper.cli import main\n\nraise SystemExit(main())\n",
}
APPLETS: Final = (
    *("sh", "ash", "awk", "cat", "chmod", "cp", "cut", "date", "dd", "df", "diff", "dmesg", "du", "env", "find"),
    *("free", "grep", "head", "hostname", "id", "ip", "kill", "less", "ln", "ls", "mkdir", "mount", "mv", "nc"),
    *("nslookup", "od", "ping", "ps", "pwd", "readlink", "rm", "sed", "sleep", "sort", "stat", "tail", "tar", "top"),
    *("touch", "tr", "true", "umount", "uname", "uniq", "uptime", "vi", "watch", "wc", "wget", "which", "xargs"),
    "zcat",
)


def run(*words: str | Path, **environment: str) -> None:
    """Run a command with additional variables; exits if the command fails."""
    done = subprocess.run(list(map(str, words)), env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(f"{words[0]} failed with {done.returncode}")


def tell(step: str) -> None:
    """Name the step that begins: some take a minute."""
    print(f"{step} …", file=sys.stderr, flush=True)  # noqa: T201


def fill(root: Path, machine: str) -> None:
    """Turn the unpacked packages in ``root`` into the image's tree."""
    licences = [path for path in (root / "usr/share/doc").glob("*/copyright") if path.is_file()]
    kept = {path.relative_to(root): path.read_bytes() for path in licences}
    install(root / SITE, machine)
    for package in NOT_ON_NODES:
        remove(root / SITE / package)
    for pattern in PRUNED:
        for path in root.glob(pattern):
            remove(path)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for path, content in (kept | {Path(name): text.encode() for name, text in FILES.items()}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        remove(root / path)
        (root / path).write_bytes(content)
        (root / path).chmod(0o755 if path.parent.name == "bin" else 0o644)
    for name in APPLETS:
        (root / "usr/bin" / name).symlink_to("busybox")
    (root / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    (root / "tmp").chmod(0o1777)
    (root / "var/tmp").chmod(0o1777)
    compiled(root)


def remove(path: Path) -> None:
    """Remove a file or a tree, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def install(site: Path, machine: str) -> None:
    """Install the locked wheels for ``machine``, then the shipper, which is pure Python."""
    pip: list[str | Path] = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--root-user-action=ignore", "--no-compile", "--target", site]
    locked = REPOSITORY / "requirements/run.txt"
    wheels = [f"--platform={platform}_{machine}" for platform in PLATFORMS]
    run(
        *pip,
        "--require-hashes",
        "--only-binary=:all:",
        f"--python-version={PYTHON}",
        *wheels,
        "--no-deps",
        "-r",
        locked,
    )
    with tempfile.TemporaryDirectory(prefix="shipper-source-") as name:
        source = Path(name, "source")
        copy_sources(source)
        run(*pip, "--no-deps", "--no-build-isolation", source, PYTHONWARNINGS="ignore")


def copy_sources(target: Path) -> None:
    """Copy what the distribution is made of: setuptools writes files beside the sources."""
    target.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", *folders()):
        copy = partial(shutil.copytree, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        (copy if (REPOSITORY / name).is_dir() else shutil.copy)(REPOSITORY / name, target / name)


def folders() -> set[str]:
    """Top-level folders of the repository that hold packages of the distribution."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return {folder.partition("/")[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}


def compiled(root: Path) -> None:
    """Write bytecode, with hashes that nobody checks: the root is read-only later, and all times in it are equal."""
    same = f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON
    python = sys.executable if same else shutil.which(f"python{PYTHON}")
    if python is None:
        sys.exit(f"only Python {PYTHON} can compile the image's bytecode: apt-get install python{PYTHON}")
    words: list[str | Path] = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    run(*words, "-s", root, "-p", "/", root / "usr/lib")


def build(directory: Path, machine: str = platform.machine()) -> tuple[Path, Path]:
    """Build the tar and the OCI archive in ``directory``. The same sources and packages give the same bytes.

    ``machine``: as uname names it; the names of files for another machine than this one end in its architecture.
    """
    version, epoch = __version__, source_date_epoch()
    directory.mkdir(parents=True, exist_ok=True)
    other = "" if machine == platform.machine() else f"-{oci.ARCHITECTURES[machine]}"
    tar = directory / f"shipper-{version}{other}.tar"
    with tempfile.TemporaryDirectory(prefix="shipper-image-") as name:
        root = Path(name, "root")
        tell(f"image for {machine}: getting Debian's packages")
        unpack(Path(name, "debian.tar"), root, machine)
        tell(f"image for {machine}: installing the shipper and its locked wheels")
        fill(root, machine)
        tell(f"image for {machine}: packing")
        pack(root, tar, epoch)
    return tar, oci.archive(tar, version, epoch, machine)


def source_date_epoch() -> int:
    """The time of all that is built, in seconds since 1970."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or committed())


def unpack(tar: Path, root: Path, machine: str) -> None:
    """Unpack Debian's packages into ``root``. They are not installed, so the image needs no package manager."""
    if shutil.which("mmdebstrap") is None:
        sys.exit("mmdebstrap is missing: apt-get install mmdebstrap")
    sources = next((path for path in SOURCES if path.exists()), None)
    if sources is None:
        sys.exit(f"no apt sources: neither of {' '.join(map(str, SOURCES))}")
    root.mkdir()
    own = tar.with_name("apt.conf")  # proxies and other settings of this machine's apt
    dump = subprocess.run(["apt-config", "dump", "Acquire"], stdout=subprocess.PIPE, text=True, check=True).stdout
    own.write_text("\n".join(line for line in dump.splitlines() if "::IndexTargets" not in line))
    words = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}", f"--aptopt={own}"]
    words += [f"--architectures={oci.ARCHITECTURES[machine]}"]
    run(*words, f"--hook-dir={HOOKS}", SUITE, tar, sources)
    run("tar", "--extract", "--no-same-owner", "--exclude=./dev/*", "--file", tar, "--directory", root)


def pack(root: Path, tar: Path, epoch: int) -> None:
    """Write the tar, sorted by name, with root as owner and ``epoch`` as time of every file."""
    partial = tar.with_suffix(".part")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as file:
        for path in (root, *sorted(root.rglob("*"))):
            file.add(path, f"./{path.relative_to(root)}", recursive=False, filter=lambda entry: anonymous(entry, epoch))
    partial.rename(tar)


def anonymous(entry: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    """``entry`` without owner and time of this machine."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = epoch
    return entry


def committed() -> str:
    """Time of the last commit in seconds since 1970, for all files of the image."""
    words = ["git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct"]
    epoch = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return epoch or "1700000000"


def main() -> None:
    """Build the image; print path and SHA-256 of its two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    machines = list(oci.ARCHITECTURES)
    parser.add_argument("--machine", choices=machines, default=platform.machine(), help="default: this machine's")
    parser.add_argument("directory", nargs="?", type=Path, default=REPOSITORY / "build", help="default: build/")
    args = parser.parse_args()
    for path in build(args.directory, args.machine):
        print(f"{oci.digest(path)}  {path}")  # noqa: T201


if __name__ == "__main__":
    main()
