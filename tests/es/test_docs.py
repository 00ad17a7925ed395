"""The commands of tutorial, how-to guides and README, in the order of each page, by a shell."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import shipper_eslocal
from fleetdocs import Fleet
from fleetload import load
from readme import blocks, commands, script

PASSWORD = "a long password for tests"
Shell = Callable[..., str]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a user who has activated the virtual environment, with no configuration."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    path = f"{Path(sys.executable).parent}:{own['PATH']}"
    (tmp_path / "shipper.toml").touch()
    return {
        **own,
        "PATH": path,
        "SHIPPER_CONFIG": str(tmp_path / "shipper.toml"),
        "ESLOCAL_STATE": str(tmp_path / "state"),
    }


def configure(page: str, directory: Path, more: str = "") -> None:
    """Write the configuration that a page shows."""
    toml = "".join(block.text for block in blocks(page) if block.language == "toml")
    (directory / "shipper.toml").write_text(toml + more)


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Shell:
    """Run lines at a terminal where somebody types ``answers``; what they print."""

    def run(text: str, answers: str = "yes\n" * 9) -> str:
        (tmp_path / "lines").write_text(text)
        words = ["script", "--quiet", "--return", "--command", "bash -e lines", "/dev/null"]
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=environment,
            input=answers,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout.replace("\r", "")

    return run


@pytest.fixture
def wiped(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """Ends what a tutorial that failed has left running."""
    yield
    for file in tmp_path.glob("tutorial/*.pid"):
        subprocess.run(["kill", "-KILL", file.read_text().strip()], capture_output=True, check=False)
    words = [sys.executable, "-m", "shipper_eslocal", "wipe", "--name", "tutorial"]
    subprocess.run(words, env=environment, capture_output=True, check=False)


@pytest.mark.usefixtures("wiped")
def test_tutorial_does_what_it_says(environment: dict[str, str], tmp_path: Path) -> None:
    text = "".join(f"echo '== {name}'\n{lines}" for name, lines in script("docs/tutorial.md").items())
    text = text.replace("rm -r tutorial\n", "mv tutorial done\n")
    done = subprocess.run(
        ["bash", "-e"], input=text, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    told = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    assert "wrong" not in told["setup"]
    assert "trouble    none" in told["status"]
    hosts = {line.split()[0] for line in told["look"].splitlines() if line.startswith("node-")}
    assert hosts == {"node-1", "node-2", "node-3"}
    assert told["why"].startswith("node-2, ")
    assert "node-2 does not run" in told["lose"]
    assert re.search(r"node-2.*\[host-silent\]", told["lose"]) and "exit status 1: an alert" in told["lose"]
    assert (tmp_path / "done/report.html").stat().st_size > 100_000


@pytest.fixture
def administrator(
    secure: shipper_eslocal.Cluster, environment: dict[str, str], namespace: str, tmp_path: Path
) -> shipper_eslocal.Cluster:
    """The shell's server is the secured one, its user may do everything."""
    assert secure.password_file
    environment |= {
        "SHIPPER_ELASTICSEARCH_HOSTS": secure.url,
        "SHIPPER_ELASTICSEARCH_CA_FILE": str(secure.ca_file),
        "SHIPPER_ELASTICSEARCH_USERNAME": str(secure.username),
        "SHIPPER_ELASTICSEARCH_PASSWORD_FILE": str(secure.password_file),
        "SHIPPER_INDEX_NAMESPACE": namespace,
        "SHIPPER_SPOOL_DIRECTORY": str(tmp_path / "spool"),
    }
    return secure


@pytest.mark.usefixtures("administrator")
def test_setup_pages(shell: Shell, namespace: str, tmp_path: Path) -> None:
    templates = shell(commands("README.md", "setup"))
    assert f"metrics-shipper.host-{namespace}" in templates
    assert re.search(r"^[A-Za-z0-9_-]{10,}", templates, re.MULTILINE), "a key"
    shell(commands("units/elasticsearch.md", "setup"))
    configure("docs/how-to/retention.md", tmp_path)
    told = shell(commands("docs/how-to/retention.md", "setup"))
    assert "90d" in told
    configure("docs/how-to/migrate.md", tmp_path)
    shell(commands("docs/how-to/migrate.md", "aliases"))
    assert "unchanged" in shell(commands("docs/how-to/upgrade.md", "setup"))
    told = shell(commands("units/elasticsearch.md", "remove"), f"yes\nyes\n{namespace}\n")
    assert "removed" in told


@pytest.mark.usefixtures("administrator")
def test_dated_indices(shell: Shell, administrator: shipper_eslocal.Cluster, tmp_path: Path) -> None:
    configure("docs/how-to/dated-indices.md", tmp_path)
    administrator.request("PUT", "/shipper-host-2001.02.03")
    told = shell("".join(script("docs/how-to/dated-indices.md").values()))
    assert "shipper-host-2001.02.03" in told
    with pytest.raises(shipper_eslocal.Error, match="404"):
        administrator.request("GET", "/shipper-host-2001.02.03")


def test_secure_page_makes_a_key_that_only_ships(
    shell: Shell, administrator: shipper_eslocal.Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    del environment["SHIPPER_ELASTICSEARCH_USERNAME"], environment["SHIPPER_ELASTICSEARCH_PASSWORD_FILE"]
    (tmp_path / "elastic.password").symlink_to(str(administrator.password_file))
    elastic = commands("docs/how-to/secure.md", "roles").replace("=elastic ", f"={administrator.username} ")
    shell(elastic.replace("username elastic", f"username {administrator.username}"))
    user = {"password": PASSWORD, "roles": ["shipper_setup"]}
    administrator.request("PUT", "/_security/user/shipper-setup", user)
    (tmp_path / "setup.password").touch(0o600)
    (tmp_path / "setup.password").write_text(PASSWORD)
    shell(commands("docs/how-to/secure.md", "key"))
    assert (tmp_path / "api-key").stat().st_mode & 0o077 == 0
    told = shell("shipper check --online --elasticsearch-api-key-file api-key")
    assert "wrong" not in told


def test_pages_that_read_documents(
    es9: shipper_eslocal.Cluster, shell: Shell, environment: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    environment |= {"SHIPPER_ELASTICSEARCH_HOSTS": es9.url, "SHIPPER_INDEX_NAMESPACE": namespace}
    load([es9.url], Fleet(hosts=8, containers=6, ticks=30, period_s=10, namespace=namespace), workers=1)
    reports = commands("dashboards/README.md", "report").replace("node-", "node-00")
    for shown, minutes in (("2026-11-23T01:30", -10), ("2026-11-23T03:00", 1), ("02:10", 0)):
        reports = reports.replace(shown, time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 60 * minutes)))
    shell(reports)
    assert (tmp_path / "week.html").stat().st_size > 100_000
    told = shell("".join(script("docs/how-to/alerts.md").values()))
    assert "exit status" in told or "ok" in told.lower()
    assert (tmp_path / "alerts.json").read_text().startswith(("{", "["))
    configure("docs/how-to/command-lines.md", tmp_path)
    assert "command_line" in shell(commands("docs/how-to/command-lines.md", "once"))
    custom = "/_component_template/metrics-shipper@custom"
    before = es9.request("GET", custom)
    shell(commands("mappings/README.md", "custom").replace("http://127.0.0.1:9200", es9.url))
    assert "number_of_replicas" in str(es9.request("GET", custom))
    es9.request("PUT", custom, {"template": before["component_templates"][0]["component_template"]["template"]})


def test_manifest_names_the_registry(shell: Shell, tmp_path: Path) -> None:
    shell(commands("units/README.md", "manifest"))
    assert "image: REGISTRY/shipper:0.1.0\n" in (tmp_path / "shipper.yaml").read_text()
