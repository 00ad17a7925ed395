"""The name of the host: the first plausible one of these.

1. ``etc/hostname`` of the host, which a person or the installer wrote.
2. The kernel's name, which DHCP or a cloud may have set (Fedora CoreOS has no etc/hostname). The file shows the
   reader's UTS
   namespace, so a process in its own UTS namespace asks the host's systemd-hostnamed over D-Bus.
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
    """``source`` is the file or service; ``containers``: it is only the name of the container of this process."""

    name: str
    source: str
    containers: bool = False


def find(reader: Reader) -> HostName:
    """The first plausible name, else the first name; empty if there is none."""
    names = [candidate for candidate in _candidates(reader) if candidate.name not in _NO_NAMES]
    plausible = (
        candidate
        for candidate in names
        if not candidate.containers and not says_nothing(candidate.name) and not RANDOM.fullmatch(candidate.name)
    )
    return next(plausible, names[0] if names else HostName("", _FILE))


def says_nothing(name: str) -> bool:
    """Whether many hosts have this name: localhost, localhost.localdomain."""
    return name.partition(".")[0].lower() in ("localhost", "localhost4", "localhost6")


def _candidates(reader: Reader) -> Iterator[HostName]:
    yield HostName(_configured(reader), _FILE)
    kernels = HostName(first_line(reader.read_once(_KERNEL) or b""), _KERNEL)
    if namespace.shared(reader, "uts") is not False:
        yield kernels
        return
    if name := _of_hostnamed(reader):
        yield HostName(name, "org.freedesktop.hostname1")
    else:
        yield HostName(kernels.name, _KERNEL, containers=True)


def _configured(reader: Reader) -> str:
    """etc/hostname without comments (hostname(5)); empty if it cannot be read."""
    lines = (line.strip() for line in (reader.read_once(_FILE) or b"").splitlines())
    return first_line(next((line for line in lines if line and not line.startswith(b"#")), b""))


def _of_hostnamed(reader: Reader) -> str:
    """The answer of systemd-hostnamed, which the bus starts on demand; empty if there is none."""
    path = bus.socket_of(reader)
    if path is None:
        return ""
    try:
        return str(bus.get(reader.root, path, "hostname1", "Hostname"))
    except (OSError, ValueError, LookupError, StopIteration, EOFError):
        return ""
