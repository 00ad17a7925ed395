"""Commands of units/README.md, so that what is documented is what is tested."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "units/README.md"


def commands(name: str) -> str:
    """The shell lines of the block that ``<!-- test: NAME -->`` marks."""
    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(rf"^<!-- test: {name} -->\n((?:    .*\n)+)", text, re.MULTILINE)
    return "".join(line[4:] + "\n" for line in block.splitlines())
