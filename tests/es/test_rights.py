"""Roles and keys on a real server: each of the three people can do their own work and no more."""

from collections.abc import Callable
from pathlib import Path

import pytest
import shipper_eslocal

from shipper import cli
from shipper.server import keys

PASSWORD = "a long password for tests"
User = Callable[[str, str], list[str]]


@pytest.fixture
def admin(secure: shipper_eslocal.Cluster) -> list[str]:
    return [
        *("--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(secure.ca_file)),
        *("--elasticsearch-username", str(secure.username), "--elasticsearch-password-file", str(secure.password_file)),
    ]


@pytest.fixture
def user(secure: shipper_eslocal.Cluster, admin: list[str], tmp_path: Path) -> User:
    """Options of a user who has one role."""

    def made(name: str, role: str) -> list[str]:
        secure.request("PUT", f"/_security/user/{name}", {"password": PASSWORD, "roles": [role]})
        file = tmp_path / name
        file.touch(0o600)
        file.write_text(PASSWORD)
        return [*admin[:4], "--elasticsearch-username", name, "--elasticsearch-password-file", str(file)]

    return made


def live_keys(secure: shipper_eslocal.Cluster, namespace: str) -> list[str]:
    answer = secure.request("GET", "/_security/api_key")
    return [one["name"] for one in answer["api_keys"] if not one["invalidated"] and namespace in one["name"]]


@pytest.fixture
def roles(admin: list[str]) -> None:
    assert cli.main(["setup", "--create-roles", "--yes", *admin]) == 0


@pytest.mark.usefixtures("roles")
def test_the_role_for_setup_is_enough_for_all_of_it(
    secure: shipper_eslocal.Cluster, user: User, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--index-namespace", namespace, *user(f"sets-up-{namespace}", "shipper_setup")]
    assert cli.main(["setup", *words]) == 0
    stream = f"metrics-shipper.host-{namespace}"
    secure.request("POST", f"/{stream}/_doc?op_type=create", {"@timestamp": 0, "host": {"name": "a", "id": "b"}})
    assert cli.main(["setup", "--yes", "--index-replicas", "0", *words]) == 0
    capsys.readouterr()
    assert cli.main(["check", "--online", "--index-replicas", "0", "--spool", str(tmp_path), *words]) == 0
    shown = capsys.readouterr().out
    assert "ok     data streams as configured: 1" in shown.splitlines()
    assert "not checked" not in shown.replace("clock not checked", "")
    assert cli.main(["setup", "--create-key", *words]) == 0
    assert live_keys(secure, namespace) == [f"shipper metrics-shipper.*-{namespace}"]
    capsys.readouterr()
    assert cli.main(["setup", "--remove", "--yes", *words]) == 0
    shown = capsys.readouterr().out
    assert f"revoked    1 API keys shipper metrics-shipper.*-{namespace}" in shown.splitlines()
    assert live_keys(secure, namespace) == []
    # The server keeps what a data stream of its needs
    left = secure.request("GET", f"/_index_template/metrics-shipper.*-{namespace}")["index_templates"]
    assert [one["name"] for one in left] == [stream]
    assert f"kept       index template {stream}: " in shown


@pytest.mark.usefixtures("roles")
def test_a_key_that_could_not_ship_is_not_made(
    secure: shipper_eslocal.Cluster, user: User, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secure.request("PUT", "/_security/role/only-keys", {"cluster": ["manage_own_api_key"]})
    powerless = user("powerless", "only-keys")
    capsys.readouterr()
    assert cli.main(["setup", "--create-key", "--index-namespace", namespace, *powerless]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no key was created: user powerless lacks auto_configure on metrics-shipper.*-" in shown.err
    assert live_keys(secure, namespace) == []


@pytest.mark.usefixtures("roles")
def test_a_key_touches_no_template(
    secure: shipper_eslocal.Cluster, user: User, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--index-namespace", namespace, *user("makes-keys", "shipper_setup")]
    assert cli.main(["setup", "--index-retention-days", "90", *words]) == 0
    before = secure.request("GET", "/_index_template/metrics-shipper.*")
    capsys.readouterr()
    assert cli.main(["setup", "--create-key", *words]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert secure.request("GET", "/_index_template/metrics-shipper.*") == before
    assert cli.main(["setup", "--remove", "--yes", *words]) == 0


@pytest.mark.usefixtures("roles")
def test_agent_and_reader_may_do_their_own_work_alone(
    secure: shipper_eslocal.Cluster, admin: list[str], user: User, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["setup", "--index-namespace", namespace, *admin]) == 0
    agent, reader = user("agent", "shipper_agent"), user("reader", "shipper_reader")
    assert cli.main(["setup", "--index-namespace", namespace, "--yes", *agent]) == 4
    assert cli.main(["setup", "--index-namespace", namespace, "--yes", *reader]) == 4
    run = ["run", "--ticks", "1", "--period", "1s", "--host-verify", "false", "--index-namespace", namespace]
    spool = ["--spool", str(secure.root / f"spool-{namespace}")]
    assert cli.main([*run, *agent, *spool]) == 0
    secure.request("POST", f"/metrics-shipper.*-{namespace}/_refresh")
    capsys.readouterr()
    assert cli.main(["top", "--index-namespace", namespace, *reader]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert cli.main(["top", "--index-namespace", namespace, *agent]) == 4


@pytest.mark.usefixtures("roles")
def test_a_role_that_somebody_changed_is_kept(
    secure: shipper_eslocal.Cluster, admin: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {**keys.ROLES["shipper_reader"], "cluster": ["monitor"]}
    secure.request("PUT", "/_security/role/shipper_reader", changed)
    capsys.readouterr()
    assert cli.main(["setup", "--create-roles", *admin]) == 1
    assert "role shipper_reader: " in capsys.readouterr().out
    assert secure.request("GET", "/_security/role/shipper_reader")["shipper_reader"]["cluster"] == ["monitor"]
    assert cli.main(["setup", "--create-roles", "--yes", *admin]) == 0
    assert secure.request("GET", "/_security/role/shipper_reader")["shipper_reader"]["cluster"] == []
