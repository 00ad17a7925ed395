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
    "program": "/opt/shipper/bin/shipper",
    "host_root": "/media/root",
    "state": "/var/lib/shipper",
    "credential": "elasticsearch-api-key",
    "key": "/etc/shipper/api-key",
    "alerts_key": "/etc/shipper/alerts-api-key",
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
    """One way to deploy; ``after``: commands to run after the installation.

    ``unit``: the service on the host, if its files go there; ``key``: the file with the API key, without which systemd
    does not start the service.
    """

    name: str
    help: str
    files: tuple[UnitFile, ...]
    after: tuple[str, ...] = ()
    unit: str = ""
    key: str = ""

    @property
    def for_hosts(self) -> bool:
        """Whether the files go onto the host, not to the tools of a cluster."""
        return all(file.target for file in self.files)


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
        "shipper.service",
        FACTS["key"],
    ),
    Way(
        "host",
        "systemd, without a container",
        (UnitFile("systemd/shipper-host.service", "shipper-host.service", f"{_SYSTEMD}/shipper-host.service"),),
        ("systemctl daemon-reload", "systemctl enable --now shipper-host.service"),
        "shipper-host.service",
        FACTS["key"],
    ),
    Way(
        "quadlet",
        "podman 4.4 or newer, under systemd",
        (UnitFile("quadlet/shipper.container", "shipper.container", "/etc/containers/systemd/shipper.container"),),
        ("systemctl daemon-reload", "systemctl start shipper.service"),
        "shipper.service",
        FACTS["key"],
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
        ("fleetctl submit shipper.service && fleetctl start --no-block shipper.service",),
    ),
    Way(
        "kubernetes",
        "Kubernetes, as a DaemonSet",
        (UnitFile("kubernetes/shipper.yaml", "kubernetes.yaml"),),
        ("kubectl apply -f shipper.yaml",),
    ),
    Way(
        "nomad",
        "Nomad, as a system job",
        (UnitFile("nomad/shipper.nomad.hcl", "nomad.hcl"),),
        ("nomad job run shipper.nomad.hcl",),
    ),
    Way(
        "ignition",
        "Flatcar and Fedora CoreOS, at first boot",
        (UnitFile("ignition/flatcar.bu", "flatcar.bu"), UnitFile("ignition/fcos.bu", "fcos.bu")),
        ("butane --strict --files-dir . flatcar.bu > flatcar.ign",),
    ),
    Way(
        "alerts",
        "systemd, on the one machine that judges the alert rules",
        (UnitFile("alerts/shipper-alerts.service", "shipper-alerts.service", f"{_SYSTEMD}/shipper-alerts.service"),),
        ("systemctl daemon-reload", "systemctl enable --now shipper-alerts.service"),
        "shipper-alerts.service",
        FACTS["alerts_key"],
    ),
)  # fmt: skip


def files() -> dict[str, UnitFile]:
    """All files, by path below units/."""
    return {file.path: file for way in WAYS for file in way.files}


def render(file: UnitFile, image: str = IMAGE, program: str = FACTS["program"]) -> str:
    """The text of a file for hosts that run ``image``, or ``program`` without a container."""
    return _fill(_template(file.template), {**FACTS, **dict(file.facts), "image": image, "program": program})


def _fill(text: str, facts: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: facts.get(match[1]) or _fill(_template(match[1]).rstrip("\n"), facts), text)


def _template(name: str) -> str:
    return resources.files("shipper.deploy").joinpath("templates", name).read_text(encoding="utf-8")
