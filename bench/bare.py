"""The shipper as it is on a node: with no package but those of requirements/run.txt.

A library may import what it finds beside it: among the packages of a workbench the agent would be measured larger than
it is where it runs.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

_LOCKED = Path(__file__).parent.parent / "requirements" / "run.txt"
_RUN = (
    "import sys; hidden, module = sys.argv[1:3]; del sys.argv[1:3]; "
    "sys.modules.update(dict.fromkeys(hidden.split(','))); "  # None: an import of it fails
    "import importlib; sys.exit(importlib.import_module(module).main())"
)


def hidden() -> list[str]:
    """Top-level modules of the distributions here that are not on nodes."""
    there = {match[1].lower() for match in re.finditer(r"(?m)^([A-Za-z0-9._-]+)==", _LOCKED.read_text())}
    owners = importlib.metadata.packages_distributions()
    needed = {"shipper", "bench"}
    return sorted(
        name
        for name, owned in owners.items()
        if name not in needed
        and not name.startswith("_")
        and not there & {one.lower().replace("_", "-") for one in owned}
    )


def command(*arguments: str, module: str = "shipper.cli") -> list[str]:
    """The command line of ``shipper ARGUMENT…``, or of another module's ``main``, without what nodes have not."""
    return [sys.executable, "-c", _RUN, ",".join(hidden()), module, *arguments]
