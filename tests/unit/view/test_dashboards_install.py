"""``shipper dashboards install`` against servers that hold what they are given, and the files for provisioning."""

import json
import re
from pathlib import Path

import pytest
import yaml
from sites import running

from shipper.cli import main
from shipper.view.dashboards.boards import BOARDS, EXPLORER

ROOT = Path(__file__).parents[3]
UIDS = {board.uid for board in BOARDS}
IN_GRAFANA = {*UIDS, EXPLORER.uid}
TOKEN = "s3cret-of-the-test"


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


def test_into_grafana_again_and_again(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running(f"Bearer {TOKEN}") as site:
        for times in range(2):
            assert main(["dashboards", "install", "--grafana", f"{site.url}/", "--token-file", token]) == 0
            *lines, hint = capsys.readouterr().out.splitlines()
            assert len(lines) == len(IN_GRAFANA)
            assert all(line.startswith("unchanged: ") for line in lines) == bool(times)
            assert "no Elasticsearch data source yet" in hint
        assert set(site.dashboards) == IN_GRAFANA
        assert [len(versions) for versions in site.dashboards.values()] == [1] * len(IN_GRAFANA)
        assert list(site.folders) == ["shipper"]
        site.datasources = [{"type": "elasticsearch"}]
        assert main(["dashboards", "install", "--grafana", site.url, "--token-file", token]) == 0
        assert len(capsys.readouterr().out.splitlines()) == len(IN_GRAFANA)


def test_into_grafana_replaces_only_what_differs(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    install = ["--token-file", token]
    with running(f"Bearer {TOKEN}") as site:
        site.datasources = None  # an editor may not list them
        assert main(["dashboards", "install", "--grafana", site.url, *install]) == 0
        site.dashboards["shipper-host"].append({**site.dashboards["shipper-host"][-1], "title": "Mine"})
        site.homes["shipper-agents"] = "elsewhere"
        capsys.readouterr()
        assert main(["dashboards", "install", "--grafana", site.url, *install]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split("/")[-2] for line in lines if not line.startswith("unchanged")} == {
            "shipper-host",
            "shipper-agents",
        }
        assert site.dashboards["shipper-host"][-1]["title"] == "Host"
        assert site.homes["shipper-agents"] == "shipper"


def test_files_for_an_import_by_hand_ask_for_the_data_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboards", "export", "--directory", str(tmp_path / "share")]) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {file.stem for file in files} == IN_GRAFANA
    for file in files:
        text = file.read_text()
        board = json.loads(text)
        (asked,) = board["__inputs"]
        assert (asked["type"], asked["pluginId"]) == ("datasource", "elasticsearch")
        assert {"grafana", "elasticsearch", "timeseries"} <= {one["id"] for one in board["__requires"]}
        # The import replaces the input's name everywhere; all else follows from the variable
        imported = json.loads(text.replace(f"${{{asked['name']}}}", "chosen"))
        assert imported["templating"]["list"][0]["current"]["value"] == "chosen"
        sources = set(re.findall(r'"type": "elasticsearch",\s+"uid": "(.*?)"', text))
        assert sources == {"${datasource}"}


def test_into_kibana_with_one_data_view(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running(f"ApiKey {TOKEN}") as site:
        for _ in range(2):
            assert main(["dashboards", "install", "--kibana", site.url, "--token-file", token]) == 0
        assert {id_ for _, type_, id_ in site.objects if type_ == "dashboard"} == UIDS
        views = [one for (_, type_, _), one in site.objects.items() if type_ == "index-pattern"]
        assert [one["attributes"]["title"] for one in views] == ["metrics-shipper.*"]
        where = ["--space", "ops", "--namespace", "prod"]
        assert main(["dashboards", "install", "--kibana", site.url, "--token-file", token, *where]) == 0
        assert (
            site.objects["/s/ops", "index-pattern", "shipper-metrics"]["attributes"]["title"]
            == "metrics-shipper.*-prod"
        )
        assert f"{site.url}/s/ops/app/dashboards#/view/shipper-host" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["--grafana", "--kibana"])
def test_a_wrong_token_is_one_line_without_the_token(kind: str, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running("Bearer another") as site:
        assert main(["dashboards", "install", kind, site.url, "--token-file", token]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"shipper: http://127\S+: HTTP 401: the token is invalid\n", error)
    assert TOKEN not in error


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as site:
        url = site.url
    assert main(["dashboards", "install", "--grafana", url]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_command_lines_that_make_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:9"
    assert main(["dashboards", "install"]) == 2
    assert main(["dashboards", "install", "--directory", str(tmp_path)]) == 2
    assert main(["dashboards", "export", "--grafana", url]) == 2
    assert main(["dashboards", "install", "--grafana", url, "--space", "ops"]) == 2
    assert main(["dashboards", "install", "--kibana", url, "--token-file", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_provisioning_files_are_what_grafana_reads() -> None:
    folder = ROOT / "dashboards/grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/shipper.yaml").read_text())["datasources"][0]
    assert source["type"] == "elasticsearch"
    assert source["jsonData"] == {"index": "metrics-shipper.*", "timeField": "@timestamp"}
    provider = yaml.safe_load((folder / "dashboards/shipper.yaml").read_text())["providers"][0]
    assert provider["type"] == "file"
    assert provider["folderUid"] == "shipper"


def test_compose_mounts_what_is_there_and_listens_on_this_machine_only() -> None:
    file = ROOT / "dashboards/compose/compose.yaml"
    made = yaml.safe_load(file.read_text())
    for name, service in made["services"].items():
        assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert set(service.get("depends_on", {})) <= set(made["services"])
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            assert source in made["volumes"] or (file.parent / source).exists(), source
            assert source in made["volumes"] or rest.endswith(":ro")
    provider = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/dashboards/shipper.yaml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert any(f":{path}:ro" in volume for volume in made["services"]["grafana"]["volumes"])


def test_the_readme_shows_each_picture_and_all_are_small() -> None:
    folder = ROOT / "dashboards"
    shown = set(re.findall(r"\]\(images/(.*?)\)", (folder / "README.md").read_text()))
    files = list((folder / "images").iterdir())
    assert {file.name for file in files} == shown == {f"{uid.removeprefix('shipper-')}.png" for uid in UIDS}
    assert max(file.stat().st_size for file in files) < 250_000
