"""The client: where secrets come from, that none shows, and one clear line for each way a server can fail."""

import gzip
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from shipper import client
from shipper.config import Bulk, Config, Elasticsearch, load
from shipper.errors import ConfigError, ServerError

SECRET = "hunter2hunter2"


def one_request(connection: socket.socket) -> bytes:
    data = b""
    while more := connection.recv(1 << 20):
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            break
        if not data.startswith((b"GET", b"POST")):
            break
    return data


@contextmanager
def answering(raw: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads one request and answers ``raw`` (None: nothing). Yields its address and what it read."""
    read: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                read.append(one_request(connection))
                if raw is None:
                    finished.wait(30)
                else:
                    connection.sendall(raw)

        finished = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", read
        finished.set()
        thread.join(30)


def reply(status: str, body: bytes = b"{}", product: str = "X-elastic-product: Elasticsearch\r\n") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{product}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def failure(url: str) -> str:
    config = Config(elasticsearch=Elasticsearch(hosts=(url,), timeout_s=1))
    with client.connect(config, {}) as connection, pytest.raises(ServerError) as caught:
        client.call(connection, "GET", "/x")
    assert "\n" not in str(caught.value)
    return str(caught.value)


FAILURES = {
    "wrong credentials": (reply("401 Unauthorized"), "GET /x: 401: no or wrong credentials"),
    "no right": (
        reply("403 Forbidden", b'{"error":{"reason":"action [x] is\\n unauthorized"}}'),
        "GET /x: 403: these credentials do not have the right: action [x] is unauthorized",
    ),
    "too many": (reply("429 Too Many", b'{"error":"slow down"}'), "GET /x: 429: too many requests: slow down"),
    "another product": (reply("200 OK", product=""), "URL: the server is not Elasticsearch"),
    "cut off": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}",
        "URL: the connection was closed before the answer was complete",
    ),
    "nothing": (b"", "URL: the connection was closed before the answer was complete"),
    "no JSON": (reply("200 OK", b"<html>"), "URL: the answer is not JSON"),
    "silence": (None, "URL: no answer in time"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_is_one_line(name: str) -> None:
    raw, expected = FAILURES[name]
    with answering(raw) as (address, _):
        assert failure(f"http://{address}") == expected.replace("URL", f"http://{address}")


def test_failure_to_connect_is_one_line() -> None:
    assert failure("http://127.0.0.1:1") == "http://127.0.0.1:1: connection refused"
    assert failure("http://nosuch.invalid:9200") == "http://nosuch.invalid:9200: the host name cannot be resolved"
    with answering(b"HTTP/1.0 400 Bad Request\r\n\r\n") as (address, _):
        assert (
            failure(f"https://{address}")
            == f"https://{address}: TLS: the server does not speak TLS at this port; use http://"
        )


@pytest.mark.parametrize("level", [0, 1, 9])
def test_body_is_compressed_at_the_level_asked_for(level: int) -> None:
    body = b'{"create":{}}\n{"a":1}\n' * 100
    with answering(reply("200 OK")) as (address, read):
        config = Config(elasticsearch=Elasticsearch(hosts=(f"http://{address}",)), bulk=Bulk(compression=level))
        with client.connect(config, {}) as connection:
            headers = {"content-type": "application/x-ndjson", "accept": "application/json"}
            connection.perform_request("POST", "/_bulk", headers=headers, body=body)
    head, _, sent = read[0].partition(b"\r\n\r\n")
    assert (b"content-encoding: gzip" in head.lower()) == bool(level)
    assert (gzip.decompress(sent) if level else sent) == body
    assert not level or sent == gzip.compress(body, level, mtime=0)


def authorization(elasticsearch: Elasticsearch, environ: dict[str, str]) -> str:
    with answering(reply("200 OK")) as (address, read):
        config = Config(elasticsearch=replace(elasticsearch, hosts=(f"http://{address}",)))
        with client.connect(config, environ) as connection:
            client.call(connection, "GET", "/")
    lines = read[0].decode().split("\r\n")
    return next((line.partition(": ")[2] for line in lines if line.lower().startswith("authorization:")), "")


def test_secrets_come_from_file_variable_or_credential(tmp_path: Path) -> None:
    file, credential = tmp_path / "key", tmp_path / "elasticsearch-api-key"
    for path in (file, credential):
        path.touch(0o600)
    file.write_text("id:file\n")
    credential.write_text("encoded-credential\n")
    directory = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    variable = {"SHIPPER_ELASTICSEARCH_API_KEY": "encoded-variable"}
    assert authorization(Elasticsearch(), {}) == ""
    assert authorization(Elasticsearch(), directory) == "ApiKey encoded-credential"
    assert authorization(Elasticsearch(), {**directory, **variable}) == "ApiKey encoded-variable"
    assert authorization(Elasticsearch(api_key_file=str(file)), {**directory, **variable}) == "ApiKey aWQ6ZmlsZQ=="
    password = {"SHIPPER_ELASTICSEARCH_PASSWORD": "p"}
    assert authorization(Elasticsearch(username="u"), password) == "Basic dTpw"


def test_secret_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    two_lines = tmp_path / "two"
    two_lines.write_text("a\nb")
    for wanted, expected in (
        (
            Elasticsearch(api_key_file="/nonexistent/k"),
            "elasticsearch.api_key_file /nonexistent/k: No such file or directory",
        ),
        (
            Elasticsearch(api_key_file=str(two_lines)),
            f"elasticsearch.api_key_file {two_lines}: must be one line of text",
        ),
        (
            Elasticsearch(username="u"),
            "elasticsearch.username is set, but neither elasticsearch.password_file nor SHIPPER_ELASTICSEARCH_PASSWORD",
        ),
        (
            Elasticsearch(hosts=("https://h:1",), ca_file="/nonexistent/ca"),
            "elasticsearch.ca_file /nonexistent/ca: No such file or directory",
        ),
        (
            Elasticsearch(hosts=("https://h:1",), ca_file=str(two_lines)),
            f"elasticsearch.ca_file {two_lines}: not a PEM file",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            client.connect(Config(elasticsearch=wanted), {})
        assert str(caught.value) == expected


def test_secret_shows_neither_in_log_nor_in_errors(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    environ = {"SHIPPER_ELASTICSEARCH_PASSWORD": SECRET}
    config = load(None, environ, {"elasticsearch.username": "u", "elasticsearch.timeout": "1s"})
    with answering(reply("401 Unauthorized", b'{"error":{"reason":"hunter2hunter2 is wrong"}}')) as (address, _):
        config = replace(config, elasticsearch=replace(config.elasticsearch, hosts=(f"http://{address}",)))
        with client.connect(config, environ) as connection, pytest.raises(ServerError) as caught:
            client.call(connection, "GET", "/")
        assert SECRET not in repr(connection)
    assert SECRET not in f"{caught.value}{caplog.text}{config}"


def test_secret_that_everyone_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    file.chmod(0o644)
    client.connect(Config(elasticsearch=Elasticsearch(api_key_file=str(file))), {}).close()
    assert caplog.messages == [f"{file} can be read by everyone on this host: chmod 600"]


def test_switching_verification_off_is_warned_of_at_every_start(caplog: pytest.LogCaptureFixture) -> None:
    wanted = Elasticsearch(hosts=("https://h:1",), verify=False)
    for _ in range(2):
        client.connect(Config(elasticsearch=wanted), {}).close()
    expected = "elasticsearch.verify is false: anyone on the way can read and change what is sent"
    assert caplog.messages == [expected] * 2
