"""deb and rpm, by nfpm (https://nfpm.goreleaser.com): the locked wheels, the unit, manual page and completions."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from email.utils import formatdate
from importlib import resources
from pathlib import Path
from typing import Any, Final

import shtab
from argparse_manpage.manpage import Manpage

from shipper import cli
from shipper.base.tick_times import timestamp
from shipper.deploy import units
from shipper.deploy.image import build, oci
from shipper.schema import reference
from shipper.settings.config import DEFAULT_FILE

NAME: Final = "metrics-shipper"
SITE: Final = f"usr/lib/{NAME}"
PROGRAM: Final = "/usr/bin/shipper"
_MAINTAINER: Final = "metrics-shipper maintainers <maintainers@metrics-shipper.invalid>"
_LAUNCHER: Final = f"""#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{SITE}")
from shipper.cli import main

raise SystemExit(main())
"""
_CHANGES: Final = """{name} ({version}) stable; urgency=medium

  * CHANGELOG.md.gz beside this file has the changes.

 -- {maintainer}  {date}
"""
# For lintian: what is meant as it is
_MEANT: Final = """# The wheel of psutil is packed as it was published
{name}: unstripped-binary-or-object [{site}/psutil/*.so]
# An upgrade restarts the agent, in the same way for deb and rpm
{name}: maintainer-script-calls-systemctl [*]
# The project has no mail address
{name}: bogus-mail-host Maintainer maintainers@metrics-shipper.invalid
"""
_USER: Final = 'u shipper - "Host and container metrics" /var/lib/shipper\n'
_UNIT: Final = "usr/lib/systemd/system/shipper-host.service"
_ABOUT: Final = """host and container metrics for Elasticsearch
One agent per host reads the kernel's files and sends a document per host,
container and service to Elasticsearch."""
_COPYRIGHT: Final = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2026 the authors of metrics-shipper
License: Apache-2.0
 On Debian systems the licence is in /usr/share/common-licenses/Apache-2.0.
 The licences of the Python packages in /{site} are in their dist-info folders.
"""
# For development, or with the name of the build directory in them
_NOT_IN_PACKAGES: Final = (
    *("shipper_eslocal", "shipper/deploy/image", "shipper/release", "bin", "**/tests"),
    *("metrics_shipper-*/direct_url.json", "metrics_shipper-*/RECORD"),
)


def tree(root: Path, machine: str, version: str, epoch: int) -> None:
    """Write into ``root`` all files of the packages for ``machine``."""
    build.install(root / SITE, machine)
    prune(root / SITE)
    for name, content in texts(version, epoch).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.startswith("usr/bin/") else 0o644)
    for path in root.rglob("*"):  # nfpm takes some times from the files
        os.utime(path, (epoch, epoch))


def prune(site: Path) -> None:
    """Remove what nobody needs from a folder of installed packages."""
    for pattern in _NOT_IN_PACKAGES:
        for path in site.glob(pattern):
            build.remove(path)


def texts(version: str, epoch: int) -> dict[str, bytes]:
    """The files that are the same on every machine."""
    host = units.files()["systemd/shipper-host.service"]
    user = resources.files(__package__).joinpath("user.conf").read_text(encoding="utf-8")
    about = {"name": NAME, "version": version, "maintainer": _MAINTAINER, "site": SITE}
    changes = _CHANGES.format(**about, date=formatdate(epoch)).encode()
    all_changes = (build.REPOSITORY / "CHANGELOG.md").read_bytes()
    parser = cli.whole_parser()
    return {
        PROGRAM.lstrip("/"): _LAUNCHER.encode(),
        _UNIT: units.render(host, program=PROGRAM).encode(),
        f"{_UNIT}.d/user.conf": user.replace("@capabilities@", units.FACTS["capabilities"]).encode(),
        f"usr/lib/sysusers.d/{NAME}.conf": _USER.encode(),
        DEFAULT_FILE.lstrip("/"): reference.sample().encode(),
        "usr/share/man/man1/shipper.1.gz": gzip.compress(manual(version, epoch).encode(), mtime=0),
        f"usr/share/man/man1/{NAME}.1.gz": gzip.compress(b".so man1/shipper.1\n", mtime=0),
        "usr/share/bash-completion/completions/shipper": shtab.complete(parser, "bash").encode(),
        "usr/share/zsh/vendor-completions/_shipper": shtab.complete(parser, "zsh").encode(),
        "usr/share/fish/vendor_completions.d/shipper.fish": shtab.complete(parser, "fish").encode(),
        f"usr/share/doc/{NAME}/copyright": _COPYRIGHT.format(site=SITE).encode(),
        f"usr/share/doc/{NAME}/changelog.gz": gzip.compress(changes, mtime=0),
        f"usr/share/doc/{NAME}/CHANGELOG.md.gz": gzip.compress(all_changes, mtime=0),
        f"usr/share/lintian/overrides/{NAME}": _MEANT.format(**about).encode(),
    }


def manual(version: str, epoch: int) -> str:
    """shipper(1), from the same parser as --help."""
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    about = {"project_name": NAME, "version": version, "description": "host and container metrics for Elasticsearch"}
    return str(Manpage(cli.whole_parser(), _data=about))


def pack(root: Path, directory: Path, machine: str, version: str, epoch: int) -> Iterator[Path]:
    """Write the deb and the rpm with the files below ``root``."""
    settings = directory / f"nfpm-{machine}.json"
    settings.write_text(json.dumps(_settings(root, machine, version, epoch)))
    try:
        for kind in ("deb", "rpm"):
            words: list[str | Path] = [Path(sys.executable).with_name("nfpm"), "package", "--config", settings]
            words += ["--packager", kind, "--target", "."]
            environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
            # nfpm looks for the target of a symbolic link in the current directory
            done = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True, check=True)
            yield directory / done.stdout.strip().rpartition("created package: ")[2]
    finally:
        settings.unlink()


def _settings(root: Path, machine: str, version: str, epoch: int) -> dict[str, Any]:
    here = resources.files(__package__)
    scripts = {name: str(here.joinpath(f"{name}.sh")) for name in ("postinstall", "preremove", "postremove")}
    return {
        "name": NAME,
        "arch": oci.ARCHITECTURES[machine],
        "platform": "linux",
        "version": version,
        "section": "admin",
        "priority": "optional",
        "maintainer": _MAINTAINER,
        "description": _ABOUT,
        "license": "Apache-2.0",
        "mtime": timestamp(epoch * 1000),
        "overrides": {
            "deb": {"depends": ["libc6 (>= 2.28)", "python3 (>= 3.11)", "systemd (>= 247)"]},
            "rpm": {"depends": ["glibc >= 2.28", "python3 >= 3.11", "systemd >= 247"]},
        },
        "scripts": scripts,
        "contents": [
            {"src": f"{root}{DEFAULT_FILE}", "dst": DEFAULT_FILE, "type": "config|noreplace"},
            {"src": f"{root}/usr/", "dst": "/usr", "type": "tree"},
            {"src": "shipper", "dst": f"/usr/bin/{NAME}", "type": "symlink"},
        ],
    }
