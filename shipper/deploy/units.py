"""The files that run the shipper on every host: units, manifests and jobs, all made from one set of facts.

A file's template is in deploy/templates/; ``@name@`` in it is replaced by a fact, or by a template that several files
share.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from shipper import __version__
from shipper.settings.config import Spool

IMAGE: Final = f"shipper:{__version__}"
_MIB_MAX: Final = 256  # memory limit: 50 MiB at a thousand containers, and a reserve for the index of a backlog
_CAPABILITIES: Final = ("DAC_READ_SEARCH", "SYS_PTRACE")
_WITH_KERNEL_LOG: Final = (*_CAPABILITIES, "SYSLOG")  # to read /dev/kmsg, in each way that can pass the device
_PLACE: Final = re.compile(r"@([a-z_0-9]+)@")

# Exit statuses of the shipper and of shipper-nspawn after which a restart does not help: the unit stays failed. After
# any other status, and after a signal, it is restarted without limit
STAY_DOWN: Final[Mapping[int, str]] = {
    2: "the command line or the configuration is invalid",
    3: "the host root does not show the host",
    64: "the command line of shipper-nspawn cannot be used",
    65: "not an image, or one of another SHA-256",
    77: "not root",
    78: "the settings of shipper-nspawn cannot be used",
}

FACTS: Final[Mapping[str, str]] = {
    "description": "Shipper: host and container metrics for Elasticsearch",
    "script": "/opt/bin/shipper-nspawn",
    "host_root": "/media/root",
    "state": "/var/lib/shipper",
    "credential": "elasticsearch-api-key",
    "key": "/etc/shipper/api-key",
    "stop_s": str(Spool().flush_s + 20),  # a flush, and one last request
    "stay_down": " ".join(map(str, STAY_DOWN)),
    "watchdog": "3min",
    "memory_high": f"{_MIB_MAX * 3 // 4}M",
    "memory_max": f"{_MIB_MAX}M",
    "memory_max_k8s": f"{_MIB_MAX}Mi",
    "memory_max_podman": f"{_MIB_MAX}m",
    "memory_mib": str(_MIB_MAX),
    "tasks": "64",
    "files": "65536",
    "capabilities": " ".join(f"CAP_{name}" for name in _WITH_KERNEL_LOG),
    "capabilities_k8s": ", ".join(_CAPABILITIES),
    "capabilities_nomad": ", ".join(f'"{name.lower()}"' for name in _WITH_KERNEL_LOG),
}


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file of units/. ``target``: its path on a host; empty if it is for a cluster's own tools."""

    path: str
    template: str
    target: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def mode(self) -> int:
        return 0o755 if self.template == "shipper-nspawn" else 0o644


@dataclass(frozen=True, slots=True)
class Way:
    """One way to deploy; ``after``: commands to run after the installation."""

    name: str
    help: str
    files: tuple[UnitFile, ...]
    after: tuple[str, ...] = ()


_SYSTEMD: Final = "/etc/systemd/system"
_START: Final = ("systemctl daemon-reload", "systemctl enable --now shipper.service")
_GLOBAL: Final = "Global=true"

WAYS: Final = (
    Way(
        "nspawn",
        "systemd, in a systemd-nspawn container",
        (
            UnitFile("nspawn/shipper-nspawn", "shipper-nspawn", FACTS["script"]),
            UnitFile("systemd/shipper.service", "shipper.service", f"{_SYSTEMD}/shipper.service"),
        ),
        _START,
    ),
    Way(
        "host",
        "systemd, without a container",
        (UnitFile("systemd/shipper-host.service", "shipper-host.service", f"{_SYSTEMD}/shipper-host.service"),),
        ("systemctl daemon-reload", "systemctl enable --now shipper-host.service"),
    ),
    Way(
        "quadlet",
        "podman 4.4 or newer, under systemd",
        (UnitFile("quadlet/shipper.container", "shipper.container", "/etc/containers/systemd/shipper.container"),),
        ("systemctl daemon-reload", "systemctl start shipper.service"),
    ),
    Way(
        "fleet",
        "fleet: everywhere, everywhere with metadata, or one numbered instance a host as in 2014",
        (
            UnitFile("fleet/shipper.service", "fleet.service", "", (("fleet", _GLOBAL),)),
            UnitFile("fleet/shipper-worker.service", "fleet.service", "",
                 (("fleet", f'{_GLOBAL}\nMachineMetadata="role=worker" "disk=ssd"'),)),
            UnitFile("fleet/shipper@.service", "fleet.service", "", (("fleet", "Conflicts=shipper@*.service"),)),
        ),
    ),
    Way("kubernetes", "Kubernetes, as a DaemonSet", (UnitFile("kubernetes/shipper.yaml", "kubernetes.yaml"),)),
    Way("nomad", "Nomad, as a system job", (UnitFile("nomad/shipper.nomad.hcl", "nomad.hcl"),)),
    Way(
        "ignition",
        "Flatcar and Fedora CoreOS, at first boot",
        (UnitFile("ignition/flatcar.bu", "flatcar.bu"), UnitFile("ignition/fcos.bu", "fcos.bu")),
    ),
    Way(
        "alerts",
        "systemd, on the one machine that judges the alert rules",
        (UnitFile("alerts/shipper-alerts.service", "shipper-alerts.service", f"{_SYSTEMD}/shipper-alerts.service"),),
        ("systemctl daemon-reload", "systemctl enable --now shipper-alerts.service"),
    ),
)  # fmt: skip


def files() -> dict[str, UnitFile]:
    """All files, by path below units/."""
    return {file.path: file for way in WAYS for file in way.files}


def render(file: UnitFile, image: str = IMAGE) -> str:
    """The text of a file for hosts that run ``image``."""
    return _fill(_template(file.template), {**FACTS, **dict(file.facts), "image": image})


def _fill(text: str, facts: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: facts.get(match[1]) or _fill(_template(match[1]).rstrip("\n"), facts), text)


def _template(name: str) -> str:
    return resources.files("shipper.deploy").joinpath("templates", name).read_text(encoding="utf-8")
