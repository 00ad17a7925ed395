"""Each command block of the documentation is run by a test, or says in a comment why none can run it."""

import re

import pytest
from markdown_it import MarkdownIt
from readme import REPOSITORY, blocks

PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "units/*.md",
        "dashboards/*.md",
        "mappings/*.md",
        "bench/*.md",
        "tests/fault/*.md",
    )
    for path in REPOSITORY.glob(pattern)
)
REASONS = {
    "needs Butane",
    "needs Elastic Cloud",
    "needs Nomad",
    "needs a Grafana or Kibana server",
    "needs a Kubernetes cluster",
    "needs fleet",
    "needs podman 4.4",
    "example names, parsed by the tests",  # tests/unit/commands/test_manners.py
    "starts the tests themselves",
}
ALL_RUN = {"dashboards/queries.md"}  # by tests/es/test_queries.py
LANGUAGES = {"sh", "toml", "json", "python", "esql", "mermaid", "text", "{toctree}"}
_SOURCES = "\n".join(path.read_text() for path in REPOSITORY.glob("tests/**/test_*.py"))
ASKED = set(re.findall(r"""commands\(\s*"([^"]+)", "([^"]+)"\)""", _SOURCES))
SCRIPTS = set(re.findall(r"""script\(\s*"([^"]+)"\)""", _SOURCES))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_commands_is_run_or_says_why_not(page: str) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block
        if block.language != "sh" or page in ALL_RUN:
            continue
        run = bool(block.name) and (page in SCRIPTS or (page, block.name) in ASKED)
        assert run or block.mark.partition("not run: ")[2] in REASONS, f"{page}: no test runs this block:\n{block.text}"


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_hidden_from_the_tests(page: str) -> None:
    """Blocks by indentation, or inside lists, would be."""
    tokens = MarkdownIt().parse((REPOSITORY / page).read_text())
    assert [token.content for token in tokens if token.type == "code_block"] == []
    assert sum(token.type == "fence" for token in tokens) == len(blocks(page))


def test_every_reason_is_needed() -> None:
    given = {block.mark.partition("not run: ")[2] for page in PAGES for block in blocks(page)} - {""}
    assert given == REASONS


def test_pages_are_those_of_the_documentation() -> None:
    patterns = re.findall(r'"([^"]+\.md)"', (REPOSITORY / "docs/conf.py").read_text())
    built = {str(path.relative_to(REPOSITORY)) for pattern in patterns for path in REPOSITORY.glob(pattern)}
    assert built <= set(PAGES) and len(built) > 20
