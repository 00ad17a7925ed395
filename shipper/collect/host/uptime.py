"""Uptime, operating system and kernel: ``proc/uptime`` (``1043.27 2011.60``: uptime and idle time of all CPUs in s) and files.

Operating system and kernel change with a reboot or an upgrade: they are read once a minute and are in every host document.
Inside a container another file is mounted over ``proc/sys/kernel/random/boot_id``, hence the one below the host root.

The boot id is stored in the spool directory, so that the first document after a boot can be marked. The uptime cannot
show this, because the shipper may start minutes after the kernel.
"""

import os
from collections.abc import Iterable
from contextlib import suppress

from shipper.base.durable import replace
from shipper.base.isolate import Aside
from shipper.collect.contract import Collect, Collector, Output, host_reading
from shipper.fields.dataset import HOST
from shipper.fields.field import Type, attribute, gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel import namespace
from shipper.kernel.every import Every
from shipper.kernel.parse import LARGEST, ParseError, decimal, name, shown, whole, word
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_UPTIME = "proc/uptime"
_KERNEL = "proc/sys/kernel"
_RELEASES = ("etc/os-release", "usr/lib/os-release")
_EVERY_S = 60
STATE = "boot-id"
_DISK_S = 0.25
_JUST_MS = 600_000  # a first run within ten minutes after a boot counts as the first one after this boot
# https://www.freedesktop.org/software/systemd/man/latest/os-release.html
_WANTED = {
    "NAME": "host.os.name",
    "VERSION_ID": "host.os.version",
    "PRETTY_NAME": "host.os.full",
    "ID": "host.os.platform",
}
# As Elastic's agents call the families
_FAMILIES = {
    "debian": "debian", "ubuntu": "debian", "fedora": "redhat", "rhel": "redhat", "centos": "redhat", "suse": "suse",
    "arch": "arch", "alpine": "alpine", "gentoo": "gentoo", "flatcar": "flatcar", "coreos": "coreos",
}  # fmt: skip

FIELDS = (
    gauge("system.uptime.duration.ms", "ms", "Time since boot, including suspend", f"{_UPTIME} 1st"),
    attribute("host.boot.id", "Changes with every boot", f"{_KERNEL}/random/boot_id"),
    attribute(
        "system.boot.first",
        "True in the first document after a boot; else absent",
        f"{_KERNEL}/random/boot_id",
        Type.BOOLEAN,
    ),
    attribute("host.os.name", "Name of the operating system", "etc/os-release NAME"),
    attribute("host.os.full", "Name and version of the operating system, for display", "etc/os-release PRETTY_NAME"),
    attribute("host.os.version", "Version of the operating system", "etc/os-release VERSION_ID"),
    attribute("host.os.platform", "Short name of the operating system, such as debian or flatcar", "etc/os-release ID"),
    attribute("host.os.family", "Family of the operating system: debian, redhat, suse", "etc/os-release ID, ID_LIKE"),
    attribute("host.os.kernel", "Version of the kernel", f"{_KERNEL}/osrelease"),
    attribute("host.os.type", "Always linux"),
    attribute("host.architecture", "Architecture of the machine: x86_64, aarch64", f"{_KERNEL}/arch, else uname(2)"),
)


def parse(text: bytes) -> dict[str, Value]:
    """Uptime in ms. Raises ParseError."""
    words = whole(text).split()
    if len(words) != 2:  # noqa: PLR2004
        raise ParseError("not two numbers")
    up_ms = round(decimal(words[0]) * 1000)
    if up_ms > LARGEST:
        raise ParseError(f"not a time: {shown(text)}")
    return {"system.uptime.duration.ms": up_ms}


def os_release(text: bytes) -> dict[str, Value]:
    """Fields from ``KEY=value`` lines in shell quoting (outer quotes and backslashes only). Raises ParseError."""
    table: dict[str, str] = {}
    for line in name(text).split("\n"):
        key, equals, value = line.strip().partition("=")
        if equals and key.isidentifier():
            table[key] = value.strip().strip("\"'").replace("\\", "")
    values: dict[str, Value] = {field: table[key] for key, field in _WANTED.items() if table.get(key)}
    if not values:
        raise ParseError("no NAME, VERSION_ID or ID")
    systems = [table.get("ID", ""), *table.get("ID_LIKE", "").split()]
    family = next((_FAMILIES[system] for system in systems if system in _FAMILIES), None)
    return {**values, "host.os.family": family} if family else values


def host(reader: Reader) -> dict[str, Value]:
    """Operating system, kernel and architecture, as far as they can be read."""
    values: dict[str, Value] = {"host.os.type": "linux", "host.architecture": os.uname().machine}
    for file, field in (
        ("random/boot_id", "host.boot.id"),
        ("osrelease", "host.os.kernel"),
        ("arch", "host.architecture"),
    ):
        path = f"{_KERNEL}/{file}"
        data = reader.read_once(path)
        value = None if data is None else reader.parsed(path, data, word)
        if value:
            values[field] = value
    for path in _RELEASES:
        data = reader.read_once(path)
        if data is not None:
            values |= reader.parsed(path, data, os_release) or {}
            break
    return values


class Boots:
    """Remembers the boot id of the last documents in ``directory``. Without a directory no document is marked as first."""

    def __init__(self, directory: str) -> None:
        self._file = os.path.join(directory, STATE) if directory else ""
        self._disk = Aside("boot-id")
        self._seen = self._stored = self._restored()

    def first(self, boot: Value | None, up_ms: Value | None) -> bool:
        """Whether this is the first document of ``boot``. Without an earlier run: whether the host has just booted."""
        if not self._file or not isinstance(boot, str):
            return False
        if self._seen == boot:
            self._store()  # only now: the first document is in the spool
            return False
        new = isinstance(up_ms, int) and up_ms < _JUST_MS if not self._seen else True
        self._seen = boot
        return new

    def _restored(self) -> str:
        try:
            with open(self._file, encoding="ascii") as file:
                return file.read(64).strip()
        except (OSError, ValueError):
            return ""

    def _store(self) -> None:
        if self._stored != self._seen:
            self._stored = self._seen
            content = f"{self._seen}\n".encode()
            with suppress(OSError):  # a disk that hangs must not cost other values
                self._disk.run(lambda: replace(self._file, content), _DISK_S)


def start(reader: Reader, config: Config) -> Collect:
    """Uptime is read at every tick, the rest once a minute."""
    known: dict[str, Value] = {}
    boots = Boots(config.spool.directory)
    every = Every(_EVERY_S)
    of_host = namespace.shared(reader, "time") is not False
    if not of_host:
        reader.lacks["system.uptime"] = "this process is in its own time namespace"

    def collect() -> Iterable[Reading]:
        nonlocal known
        if every.due(reader.now_ns()):
            known = {**known, **host(reader)}
        values = {**known, **(reader.parse(_UPTIME, parse) or {} if of_host else {})}
        if boots.first(values.get("host.boot.id"), values.get("system.uptime.duration.ms")):
            values["system.boot.first"] = True
        return host_reading(reader, values)

    return collect


COLLECTOR = Collector("uptime", start, {HOST: Output(FIELDS)})
