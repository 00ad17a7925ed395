"""Command blocks of the documentation, so that what is documented is what is tested."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "units/README.md"
_BLOCK = re.compile(r"^(?:<!-- (?P<mark>.*) -->\n)?```(?P<language>\S*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """``mark``: ``test: NAME``, ``not run: REASON`` or nothing, from the HTML comment in the line above."""

    mark: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """Of the test that runs it."""
        return self.mark.partition("test: ")[2]


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, a path below the repository."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [Block(one["mark"] or "", one["language"], one["text"]) for one in _BLOCK.finditer(text)]


def commands(page: str, name: str) -> str:
    """The lines of the block that ``<!-- test: NAME -->`` marks."""
    (found,) = (block.text for block in blocks(page) if block.name == name)
    return found


def script(page: str) -> dict[str, str]:
    """All blocks of a page that a test runs, by name, in their order."""
    return {block.name: block.text for block in blocks(page) if block.name}
