"""All alert rules, by subject."""

from typing import Final

from shipper.view.alerts.model import Rule, verify
from shipper.view.alerts.rules import container, devices, host, shipper

# Heading in the docs → rules
SUBJECTS: Final[dict[str, tuple[Rule, ...]]] = {
    "Hosts": host.RULES,
    "Filesystems, disks, interfaces, sensors": devices.RULES,
    "Containers and services": container.RULES,
    "The shipper": shipper.RULES,
}
RULES: Final[tuple[Rule, ...]] = tuple(verify(rule) for rules in SUBJECTS.values() for rule in rules)
