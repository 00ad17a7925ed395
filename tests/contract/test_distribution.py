"""Every text installs this project by its name on PyPI, where "shipper" is another project."""

import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
DEBIAN_12 = "3.11.2"  # its Python
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = WHOLE["project"]


def texts() -> dict[str, str]:
    """Files of the repository that people read or that are run."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    files = [name for name in listed if name.endswith((".md", ".py", ".toml", ".sh", "Dockerfile", "Makefile"))]
    return {name: (ROOT / name).read_text() for name in files if (ROOT / name).exists()}


def test_every_text_installs_this_project() -> None:
    found = {
        (name, installed)
        for name, text in texts().items()
        for installed in re.findall(r"""(?:pip|pipx|uv tool) install '?([A-Za-z0-9_-]+)\[""", text)
    }
    assert found
    assert not {(name, installed) for name, installed in found if installed != PROJECT["name"]}


def test_the_command_has_a_second_name_that_is_the_projects() -> None:
    assert PROJECT["scripts"]["shipper"] == PROJECT["scripts"][PROJECT["name"]]


def test_every_package_is_in_the_distribution() -> None:
    """An editable installation has them all."""
    there = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in ROOT.glob("shipper/**/__init__.py")}
    assert there <= set(WHOLE["tool"]["setuptools"]["packages"])
    assert len(there) > 20


def test_every_locked_package_takes_the_python_of_debian_12() -> None:
    """The machine of the tests may have a newer one."""
    key = "Requires-Python"
    wanted = {one.name: one.metadata[key] for one in distributions() if key in one.metadata}
    assert len(wanted) > 50
    assert {name: python for name, python in wanted.items() if DEBIAN_12 not in SpecifierSet(python)} == {}
