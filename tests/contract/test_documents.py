"""The documents lead to what is there: links, headings and the files that they name."""

import re
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[2]
FOLDERS: Final = ("bench", "dashboards", "docs", "mappings", "tests", "units")
DOCUMENTS: Final = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for paths in (REPOSITORY.glob("*.md"), *((REPOSITORY / folder).rglob("*.md") for folder in FOLDERS))
    for path in paths
    if "node_modules" not in path.parts
)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
# A path from the root of the repository; words in capitals are the reader's to fill in
FILE: Final = re.compile(
    r"`((?:\.ci|bench|dashboards|docs|eslocal|mappings|requirements|shipper|tests|units)/[^`\s<>…*]+)`"
)
MADE_BY_READER: Final = ("units/secrets/api-key",)


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name: str) -> None:
    document = REPOSITORY / name
    dead = []
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name: str) -> None:
    named = FILE.findall((REPOSITORY / name).read_text(encoding="utf-8"))
    fixed = [path for path in named if not re.search(r"\b[A-Z]{4,}\b", path) or path.endswith("README.md")]
    assert [path for path in fixed if not (REPOSITORY / path).exists() and path not in MADE_BY_READER] == []


def test_every_decision_is_listed() -> None:
    folder = REPOSITORY / "docs/decisions"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
