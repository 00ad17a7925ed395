"""The host's name: the first plausible one of what the host itself says.

1. ``etc/hostname`` of the host, where a person or the installer set it.
2. The kernel's name, which DHCP or a cloud may have set (Fedora CoreOS has no etc/hostname). The file is that of the
   reader's UTS namespace, so in a container with its own the host's systemd-hostnamed is asked over D-Bus.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shipper.kernel import bus, namespace
from shipper.kernel.parse import first_line
from shipper.kernel.source import Reader

_FILE: Final = "etc/hostname"
_KERNEL: Final = "proc/sys/kernel/hostname"
_NO_NAMES: Final = ("", "(none)")
RANDOM: Final = re.compile(r"[0-9a-f]{12}")  # docker's name of a container


@dataclass(frozen=True, slots=True)
class HostName:
    """``source`` is the file or service; ``containers``: it is only the name of the container around this process."""

    name: str
    source: str
    containers: bool = False


def find(reader: Reader) -> HostName:
    """The first plausible name, else the first that there is; empty if there is none."""
    found = [one for one in _candidates(reader) if one.name not in _NO_NAMES]
    plausible = (
        one for one in found if not one.containers and not says_nothing(one.name) and not RANDOM.fullmatch(one.name)
    )
    return next(plausible, found[0] if found else HostName("", _FILE))


def says_nothing(name: str) -> bool:
    """Whether every host may be called so: localhost, localhost.localdomain."""
    return name.partition(".")[0].lower() in ("localhost", "localhost4", "localhost6")


def _candidates(reader: Reader) -> Iterator[HostName]:
    yield HostName(_configured(reader), _FILE)
    kernels = HostName(first_line(reader.read_once(_KERNEL) or b""), _KERNEL)
    if namespace.shared(reader, "uts") is not False:
        yield kernels
        return
    if told := _of_hostnamed(reader):
        yield HostName(told, "org.freedesktop.hostname1")
    else:
        yield HostName(kernels.name, _KERNEL, containers=True)


def _configured(reader: Reader) -> str:
    """etc/hostname without its comments (hostname(5)); empty where it cannot be read."""
    lines = (line.strip() for line in (reader.read_once(_FILE) or b"").splitlines())
    return first_line(next((line for line in lines if line and not line.startswith(b"#")), b""))


def _of_hostnamed(reader: Reader) -> str:
    """What systemd-hostnamed, which the bus starts when it is asked, says; empty where it says nothing."""
    path = bus.socket_of(reader)
    if path is None:
        return ""
    try:
        return str(bus.get(reader.root, path, "hostname1", "Hostname"))
    except (OSError, ValueError, LookupError, StopIteration, EOFError):
        return ""
