"""Descriptions of systemd services, from the unit files below the host root (systemd.unit(5)); no D-Bus.

Drop-ins are not read. The unit file of a service inside a container or machine is in that container, so only services
directly below slices have a description.
"""

import re
from stat import S_ISREG
from typing import Final

from shipper.collect.cgroup.identity import unescape
from shipper.collect.cgroup.runtime.containers import text
from shipper.fields.field import attribute
from shipper.kernel.source import Reader

FIELD: Final = attribute("cgroup.description", "Description of the systemd unit", "the unit file, Description=")

_SYSTEM: Final = (
    "etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient", "etc/systemd/system",
    "run/systemd/system", "run/systemd/generator", "usr/local/lib/systemd/system", "usr/lib/systemd/system",
    "lib/systemd/system", "run/systemd/generator.late",
)  # fmt: skip
_USER: Final = ("etc/systemd/user", "run/systemd/user", "usr/local/lib/systemd/user", "usr/lib/systemd/user")
_OF_SYSTEM: Final = re.compile(r"(/[^/]+\.slice)*/[^/]+\.service")
_OF_USER: Final = re.compile(r"/user\.slice/user-\d+\.slice/user@\d+\.service(/[^/]+\.slice)*/[^/]+\.service")
_LARGEST: Final = 1 << 18


def description(reader: Reader, path: str) -> tuple[str, str]:
    """Unit file and description of the service whose cgroup is ``path``; both empty if there is none."""
    directories = _SYSTEM if _OF_SYSTEM.fullmatch(path) else _USER if _OF_USER.fullmatch(path) else ()
    # systemd (cg_escape) puts an underscore before names that could be those of kernel files
    unit = path.rpartition("/")[2].removeprefix("_")
    prefix, at, instance = unit.removesuffix(".service").partition("@")
    for name in (unit, f"{prefix}@.service") if at else (unit,):
        for directory in directories:
            file = f"{directory}/{name}"
            data = _read(reader, file)
            if data:
                return file, _expanded(_described(data), prefix, instance)
    return "", ""


def _read(reader: Reader, file: str) -> bytes:
    """Contents; empty if the file is absent, masked (a link to dev/null) or too large for a unit."""
    stat = reader.attempt(file, lambda: reader.root.stat(file))
    if stat is None or not S_ISREG(stat.st_mode) or stat.st_size > _LARGEST:
        return b""
    return reader.read_once(file) or b""


def _described(data: bytes) -> str:
    """The last ``Description=`` of section ``[Unit]``."""
    section, description = "", ""
    for raw in data.decode("utf-8", "replace").splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line
        elif section == "[Unit]" and line.startswith("Description"):
            key, equals, value = line.partition("=")
            description = value.strip() if equals and key.strip() == "Description" else description
    return text(description)


def _expanded(described: str, prefix: str, instance: str) -> str:
    """With the specifiers that the description of a template is likely to use replaced."""
    known = {"%i": instance, "%I": unescape(instance.replace("-", "/")), "%p": prefix, "%%": "%"}
    return text(re.sub(r"%[iIp%]", lambda match: known[match[0]], described))
