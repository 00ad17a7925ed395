"""The shipper as it is on a node: with only the packages of requirements/run.txt.

A library may import optional packages that it finds: among the packages for development the agent would measure larger
than on a node.
"""

import importlib.metadata
import re
import sys
from collections.abc import Container
from pathlib import Path

_LOCKED = Path(__file__).parent.parent / "requirements" / "run.txt"
_RUN = (
    "import sys; hidden, module = sys.argv[1:3]; del sys.argv[1:3]; "
    "sys.modules.update(dict.fromkeys(hidden.split(','))); "  # None: an import of it fails
    "import importlib; sys.exit(importlib.import_module(module).main())"
)


def hidden() -> list[str]:
    """Top-level modules of installed distributions that nodes do not have."""
    locked = {match[1].lower() for match in re.finditer(r"(?m)^([A-Za-z0-9._-]+)==", _LOCKED.read_text())}
    owners = importlib.metadata.packages_distributions()
    needed = {"shipper", "bench"}
    return sorted(
        name
        for name, owned in owners.items()
        if name not in needed
        and not name.startswith("_")
        and not locked & {distribution.lower().replace("_", "-") for distribution in owned}
    )


def command(*arguments: str, module: str = "shipper.cli", visible: Container[str] = ()) -> list[str]:
    """The command line of ``shipper ARGUMENT…``, or of another module's ``main``, with only the packages of a node.

    ``visible``: further modules that it finds.
    """
    concealed = [name for name in hidden() if name not in visible]
    return [sys.executable, "-c", _RUN, ",".join(concealed), module, *arguments]
