"""The client against a real server with TLS, passwords and API keys."""

import hashlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import shipper_eslocal

from shipper import cli
from shipper.base.errors import ServerError
from shipper.deliver import client
from shipper.schema.templates import TEMPLATE_VERSION
from shipper.settings.config import Config, Elasticsearch


@pytest.fixture
def admin(secure: shipper_eslocal.Cluster) -> Elasticsearch:
    return Elasticsearch(
        hosts=(secure.url,),
        username=str(secure.username),
        password_file=str(secure.password_file),
        ca_file=str(secure.ca_file),
    )


def nodes(wanted: Elasticsearch) -> int:
    with client.connect(Config(elasticsearch=wanted), {}) as connection:
        return len(client.call(connection, "GET", "/_nodes")["nodes"])


def refusal(wanted: Elasticsearch) -> str:
    with pytest.raises(ServerError) as caught:
        nodes(wanted)
    return str(caught.value)


def fingerprint(secure: shipper_eslocal.Cluster) -> str:
    host, port = secure.url.removeprefix("https://").split(":")
    certificate = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))
    return hashlib.sha256(certificate).hexdigest().upper()


def test_server_is_trusted_by_its_authority_or_fingerprint(
    admin: Elasticsearch, secure: shipper_eslocal.Cluster
) -> None:
    assert nodes(admin) == 1
    assert nodes(replace(admin, ca_file="", verify=False)) == 1
    assert nodes(replace(admin, ca_file="", ca_fingerprint=fingerprint(secure))) == 1


def test_server_of_another_authority_is_refused(admin: Elasticsearch, secure: shipper_eslocal.Cluster) -> None:
    unknown = refusal(replace(admin, ca_file=""))
    assert unknown.startswith(f"{secure.url}: TLS: the server's certificate is not trusted: ")
    assert refusal(replace(admin, ca_file="", ca_fingerprint="00" * 32)).startswith(f"{secure.url}: TLS: ")


def test_wrong_credentials_are_one_line(admin: Elasticsearch, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.touch(0o600)
    wrong.write_text("hunter2")
    assert refusal(replace(admin, password_file=str(wrong))) == "GET /_nodes: 401: missing or wrong credentials"
    assert refusal(replace(admin, username="")) == "GET /_nodes: 401: missing or wrong credentials"


def test_key_that_may_only_ship(
    admin: Elasticsearch,
    secure: shipper_eslocal.Cluster,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["metrics-shipper.*"]
    rights = {"shipper": {"index": [{"names": names, "privileges": ["create_doc", "auto_configure"]}]}}
    made = secure.request("POST", "/_security/api_key", {"name": "shipper", "role_descriptors": rights})
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(f"{made['id']}:{made['api_key']}\n")
    tls = ["--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(admin.ca_file)]
    tls += ["--index-namespace", namespace]
    as_key = [*tls, "--elasticsearch-api-key-file", str(key)]
    as_admin = [*tls, "--elasticsearch-username", admin.username, "--elasticsearch-password-file", admin.password_file]

    assert cli.main(["setup", *as_key]) == 4
    assert "403: the credentials lack this privilege" in capsys.readouterr().err
    assert cli.main(["setup", *as_admin]) == 0
    capsys.readouterr()
    wanted = ["check", "--online", "--host-name", "a", "--spool", str(tmp_path)]
    assert cli.main([*wanted, *as_admin]) == 0
    assert f"ok     templates of version {TEMPLATE_VERSION} are installed" in capsys.readouterr().out.splitlines()
    code = cli.main([*wanted, *as_key])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert (
        f"ok     Elasticsearch of unknown version (the credentials do not allow asking) at {secure.url}"
        in shown.splitlines()
    )
    assert "ok     these credentials may create documents" in shown.splitlines()
    assert any(line.startswith("note   templates not checked: ") for line in shown.splitlines())
    assert cli.main([*wanted, *as_key, "--index-layout", "dated"]) == 4
    assert "wrong  privileges are missing: " in capsys.readouterr().out
    assert made["api_key"] not in shown


def test_set_up_without_the_right_to_know_the_server(
    admin: Elasticsearch,
    secure: shipper_eslocal.Cluster,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is taken for a full one, until it refuses a setting by name."""
    rights = {"setup": {"cluster": ["manage_index_templates"]}}
    made = secure.request("POST", "/_security/api_key", {"name": "setup", "role_descriptors": rights})
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(made["encoded"])
    tls = ["--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(admin.ca_file)]
    tls += ["--index-namespace", namespace]
    code = cli.main(["setup", *tls, "--elasticsearch-api-key-file", str(key)])
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert code == 0, shown
    assert lines[0] == "server     Elasticsearch of unknown version (the credentials do not allow asking)"
    assert "left out   look_back_time: the server rejects it" in lines
    assert f"created    index template metrics-shipper.host-{namespace}" in lines
    assert lines[-1].startswith("not yet    data streams: the first document creates them (GET /_resolve/index/")


@contextmanager
def tinyproxy(directory: Path, password: str) -> Iterator[str]:
    """The address of a proxy on loopback that asks for a password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = directory / "proxy.conf"
    settings.write_text(f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nBasicAuth someone {password}\n")
    with subprocess.Popen(["tinyproxy", "-d", "-c", settings], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert any(b"accepting connections" in line.lower() for line in process.stdout)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.needs("tinyproxy")
def test_server_behind_a_proxy(
    admin: Elasticsearch, secure: shipper_eslocal.Cluster, es9: shipper_eslocal.Cluster, tmp_path: Path
) -> None:
    with tinyproxy(tmp_path, "hunter2") as address:
        through = replace(admin, proxy=f"http://someone:hunter2@{address}")  # as one of the variables may say
        assert nodes(through) == 1
        assert nodes(Elasticsearch(hosts=(es9.url,), proxy=through.proxy)) == 1
        assert refusal(replace(admin, proxy=f"http://{address}")) == (
            f"{secure.url}: proxy: Tunnel connection failed: 407 Proxy Authentication Required"
        )
    assert refusal(through) == f"{secure.url}: proxy: connection refused"
