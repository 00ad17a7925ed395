"""The client: where secrets come from, that none shows, and one clear line for each way a server can fail."""

import gzip
import logging
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.base.errors import ConfigError, ServerError, Unavailable
from shipper.deliver import client
from shipper.deliver.compression import compress
from shipper.settings.config import Bulk, Config, Elasticsearch, load

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
    "wrong credentials": (reply("401 Unauthorized"), "GET /x: 401: missing or wrong credentials"),
    "no right": (
        reply("403 Forbidden", b'{"error":{"reason":"action [x] is\\n unauthorized"}}'),
        "GET /x: 403: the credentials lack this privilege: action [x] is unauthorized",
    ),
    "too many": (reply("429 Too Many", b'{"error":"slow down"}'), "GET /x: 429: too many requests: slow down"),
    "another product": (reply("200 OK", product=""), "URL: the server is not Elasticsearch"),
    "cut off": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}",
        "URL: the connection was closed before the end of the response",
    ),
    "nothing": (b"", "URL: the server closed the connection without a response; use https:// if the server uses TLS"),
    "no JSON": (reply("200 OK", b"<html>"), "URL: the response is not JSON"),
    "silence": (None, "URL: the request timed out"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_is_one_line(name: str) -> None:
    raw, expected = FAILURES[name]
    with answering(raw) as (address, _):
        assert failure(f"http://{address}") == expected.replace("URL", f"http://{address}")


def test_failure_to_connect_is_one_line() -> None:
    assert failure("http://127.0.0.1:1") == "http://127.0.0.1:1: connection refused"
    assert failure("http://nosuch.invalid:9200") == "http://nosuch.invalid:9200: cannot resolve the host name"
    with answering(b"HTTP/1.0 400 Bad Request\r\n\r\n") as (address, _):
        assert (
            failure(f"https://{address}")
            == f"https://{address}: TLS: the server does not use TLS on this port; use http://"
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
    assert not level or sent == compress(body, level)


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
    assert caplog.messages == [f"{file} is readable by everyone on this host; run chmod 600"]


def test_switching_verification_off_is_warned_of_at_every_start(caplog: pytest.LogCaptureFixture) -> None:
    wanted = Elasticsearch(hosts=("https://h:1",), verify=False)
    for _ in range(2):
        client.connect(Config(elasticsearch=wanted), {}).close()
    expected = "elasticsearch.verify is false: anyone between here and the server can read and change the documents"
    assert caplog.messages == [expected] * 2


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request of each connection and lets ``answer`` do the rest."""
    with keeping(answer) as (url, _):
        yield url


HEAD = b"HTTP/1.1 200 OK\r\nX-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\n"


def byte_by_byte(connection: socket.socket) -> None:
    for byte in HEAD + b"Connection: close\r\ncontent-length: 1000\r\n\r\n" + b" " * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def body_byte_by_byte(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Connection: close\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.05)


def without_end(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b" " * (1 << 16))


def chunks_without_end(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")


def gzip_bomb(connection: socket.socket) -> None:
    bomb = gzip.compress(bytes(1 << 30), 1)
    connection.sendall(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb)


def bulk_error(url: str, timeout_s: int) -> tuple[str, float]:
    config = Config(elasticsearch=Elasticsearch(hosts=(url,), timeout_s=timeout_s))
    body = b'{"create":{"_index":"a"}}\n{}\n' * 10
    began = time.monotonic()
    with client.connect(config, {}) as connection, pytest.raises(Unavailable) as caught:
        client.bulk(connection, body, filter_path="items")
    return str(caught.value), time.monotonic() - began


@pytest.mark.parametrize("answer", [byte_by_byte, body_byte_by_byte])
def test_the_deadline_holds_for_the_request_as_a_whole(answer: Callable[[socket.socket], None]) -> None:
    with serving(answer) as url:
        message, took_s = bulk_error(url, timeout_s=2)
    assert message == f"{url}: the request timed out"
    assert 2 <= took_s < 6


@pytest.mark.parametrize("answer", [without_end, chunks_without_end, gzip_bomb])
def test_an_answer_is_given_up_when_it_is_longer_than_the_request_can_need(
    answer: Callable[[socket.socket], None],
) -> None:
    with serving(answer) as url:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        message, _ = bulk_error(url, timeout_s=60)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert message == f"{url}: the response is longer than {(64 << 10) + 10 * (4 << 10)} bytes"
    if answer is not gzip_bomb:  # which this process made itself
        assert grown < 20 << 10  # KiB


def test_a_look_up_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_args: object, **_named: object) -> list[Any]:
        released.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    message, took_s = bulk_error("http://search.example:9200", timeout_s=1)
    assert (message, took_s < 5) == ("http://search.example:9200: the request timed out", True)
    message, took_s = bulk_error("http://search.example:9200", timeout_s=1)  # while the first still hangs
    assert took_s < 1
    released.set()


def test_the_next_server_is_asked_and_the_dead_one_named(caplog: pytest.LogCaptureFixture) -> None:
    with answering(reply("200 OK", b'{"a":1}')) as (address, _):
        config = Config(elasticsearch=Elasticsearch(hosts=("http://127.0.0.1:1", f"http://{address}"), timeout_s=5))
        with client.connect(config, {}) as connection:
            pool = connection.transport.node_pool
            while pool.get().base_url != f"http://{address}":  # the next in turn is the dead one
                pass
            assert client.call(connection, "GET", "/x") == {"a": 1}
    assert "http://127.0.0.1:1: connection refused; trying the next server" in caplog.text


@contextmanager
def keeping(*answers: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers the requests of each connection in turn. Yields its address and what it read."""
    read: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        for answer in answers:
                            read.append(one_request(connection))
                            answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", read
        server.shutdown(socket.SHUT_RDWR)


def sending(raw: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(raw)


FOUND_NOTHING = sending(reply("200 OK", b'{"items":[]}'))
BODY = b'{"create":{"_index":"a"}}\n{}\n'


def test_later_requests_on_a_connection_are_the_same_as_the_first() -> None:
    with keeping(*[FOUND_NOTHING] * 3) as (url, read):
        config = Config(elasticsearch=Elasticsearch(hosts=(url,)))
        with client.connect(config, {"SHIPPER_ELASTICSEARCH_API_KEY": "key"}) as connection:
            for _ in range(3):
                assert client.call(connection, "POST", "/_bulk?a=b", BODY * 100) == {"items": []}
    lines = [sorted(request.lower().partition(b"\r\n\r\n")[0].split(b"\r\n")) for request in read]
    assert lines[0] == lines[1] == lines[2]
    assert b"authorization: apikey key" in lines[2]
    assert len({request.partition(b"\r\n\r\n")[2] for request in read}) == 1


@pytest.mark.parametrize("answer", [byte_by_byte, body_byte_by_byte, without_end, chunks_without_end, gzip_bomb])
def test_the_limits_hold_for_later_requests_too(answer: Callable[[socket.socket], None]) -> None:
    slow = answer in (byte_by_byte, body_byte_by_byte)
    with keeping(FOUND_NOTHING, answer) as (url, _):
        config = Config(elasticsearch=Elasticsearch(hosts=(url,), timeout_s=2 if slow else 60))
        with client.connect(config, {}) as connection:
            client.bulk(connection, BODY, filter_path="items")
            with pytest.raises(Unavailable) as caught:
                client.bulk(connection, BODY, filter_path="items")
    expected = "the request timed out" if slow else f"the response is longer than {(64 << 10) + (4 << 10)} bytes"
    assert str(caught.value) == f"{url}: {expected}"


CLOSED = "the connection was closed before the end of the response"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (b"", "the server closed the connection without a response; use https:// if the server uses TLS"),
        (HEAD + b"content-length: 20\r\n\r\n{}", CLOSED),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{}", CLOSED),
        (reply("503 Busy\r\nconnection: close", b'{"error":"wait"}'), "503: wait"),
        (HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(b'{"items":[1]}'), None),
        (HEAD + b'connection: close\r\ntransfer-encoding: chunked\r\n\r\nd\r\n{"items":[1]}\r\n0\r\n\r\n', None),
        (HEAD + b'connection: close\r\n\r\n{"items":[1]}', None),
    ],
)
def test_a_later_request_fails_and_succeeds_as_the_first(second: bytes, expected: str | None) -> None:
    with keeping(FOUND_NOTHING, sending(second)) as (url, _):
        config = Config(elasticsearch=Elasticsearch(hosts=(url,), timeout_s=20))
        with client.connect(config, {}) as connection:
            client.bulk(connection, BODY, filter_path="items")
            try:
                found = client.bulk(connection, BODY, filter_path="items")["items"]
            except Unavailable as error:
                found = str(error)
            assert found == ([1] if expected is None else f"{url}: {expected}")
            client.bulk(connection, BODY, filter_path="items")  # on a new connection


def test_an_unknown_authority_and_an_expired_key_say_what_to_do() -> None:
    body = b'{"error":{"reason":"unable to authenticate: api key is expired"}}'
    with answering(reply("401 Unauthorized", body)) as (address, _):
        assert "401: the API key has expired; create a new one" in failure(f"http://{address}")


def test_an_address_without_a_port_has_that_of_its_scheme() -> None:
    hosts = "https://es.example,http://es.example/es,https://[::1],http://es.example:9200"
    config = load(None, {"SHIPPER_ELASTICSEARCH_HOSTS": hosts}, {})
    with client.connect(config) as connection:
        assert set(connection.addresses) == {
            *("https://es.example:443", "http://es.example:80/es", "https://[::1]:443", "http://es.example:9200"),
        }
