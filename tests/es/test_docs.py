"""The commands of docs/tutorial.md, in their order, by a shell."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import shipper_eslocal
from readme import REPOSITORY

TUTORIAL = REPOSITORY / "docs/tutorial.md"


def blocks() -> dict[str, str]:
    """Marked blocks by name; a blank line ends one."""
    found = re.findall(r"^<!-- test: (\w+) -->\n((?:    .*\n)+)", TUTORIAL.read_text(), re.MULTILINE)
    return {name: "".join(line[4:] + "\n" for line in text.splitlines()) for name, text in found}


@pytest.fixture
def shell(es9: shipper_eslocal.Cluster, namespace: str, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    environment |= {"SHIPPER_ELASTICSEARCH_HOSTS": es9.url, "SHIPPER_INDEX_NAMESPACE": namespace}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with subprocess.Popen(
        ["bash", "-e"],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as started:
        try:
            yield started
        finally:
            for file in tmp_path.glob("tutorial/*.pid"):
                subprocess.run(["kill", "-KILL", file.read_text().strip()], capture_output=True, check=False)


def test_tutorial_does_what_it_says(shell: "subprocess.Popen[str]", tmp_path: Path) -> None:
    script = "".join(f"echo '== {name}'\n{text}" for name, text in blocks().items())
    output, _ = shell.communicate(script, timeout=250)
    assert shell.returncode == 0, output
    told = dict(part.split("\n", 1) for part in output.split("== ")[1:])
    assert "wrong" not in told["setup"]
    assert "trouble    none" in told["status"]
    hosts = {line.split()[0] for line in told["look"].splitlines() if line.startswith("node-")}
    assert hosts == {"node-1", "node-2", "node-3"}
    assert told["why"].startswith("node-2, ")
    assert "node-2 does not run" in told["lose"]
    assert re.search(r"node-2.*\[host-silent\]", told["lose"]) and "exit status 1: an alert" in told["lose"]
    assert (tmp_path / "tutorial/report.html").stat().st_size > 100_000
