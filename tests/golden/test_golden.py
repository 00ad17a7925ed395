"""Every captured host gives the documents that were checked when they were written: ``pytest --update-golden``."""

import json
from pathlib import Path
from typing import Any

import pytest
from captured import CapturedRoot, Documents, Ticks
from moments import HOSTS

from shipper.base.text import utf8

CAPTURED = sorted(path.name for path in HOSTS.iterdir() if (path / "0" / "moment.json").exists())


def rounded(value: Any) -> Any:
    """Seven digits and valid UTF-8, as documents have them."""
    if isinstance(value, str):
        return utf8(value)
    return float(f"{value:.7g}") if isinstance(value, float) else value


def comparable(documents: Documents) -> dict[str, Any]:
    return {
        dataset: {
            utf8(entity): {name: rounded(value) for name, value in sorted(values.items())}
            for entity, values in sorted(entities.items())
        }
        for dataset, entities in sorted(documents.items())
    }


def seen(host: str, directory: Path) -> dict[str, Any]:
    """Documents and problems at both moments."""
    root = CapturedRoot(HOSTS / host, directory)
    ticks = Ticks(root)
    result = {}
    for moment in (0, 1):
        root.show(moment)
        documents = comparable(ticks.tick())
        problems = sorted({f"{problem.file}: {problem.reason}" for problem in ticks.problems})
        result[str(moment)] = {"documents": documents, "problems": problems}
    return result


@pytest.mark.parametrize("host", CAPTURED)
def test_documents_are_those_of_the_golden_file(host: str, tmp_path: Path, update_golden: bool) -> None:
    golden = HOSTS / host / "golden.json"
    now = seen(host, tmp_path)
    if update_golden:
        golden.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert now == json.loads(golden.read_text())


@pytest.mark.parametrize("host", CAPTURED)
def test_second_moment_has_rates_and_first_has_none(host: str, tmp_path: Path) -> None:
    result = seen(host, tmp_path)
    rates_of = [
        {name for name in result[moment]["documents"]["host"][""] if name.endswith("_per_s")} for moment in ("0", "1")
    ]
    assert not rates_of[0]
    assert len(rates_of[1]) > 50


@pytest.mark.parametrize("host", CAPTURED)
def test_captured_tree_is_small(host: str) -> None:
    files = [path for moment in "01" for path in (HOSTS / host / moment).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 400_000
