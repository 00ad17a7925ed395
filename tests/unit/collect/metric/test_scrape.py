"""Endpoints over HTTP, TLS and unix sockets; what is wrong with one is told in words, without secrets."""

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from shipper_eslocal.secure import make_certificates

from shipper.collect.metric.scrape import Endpoint
from shipper.kernel.source import Reader, Root
from shipper.settings.sources import Scrape

TEXT = b"# TYPE jobs counter\njobs_total 3\nup 1\n"
TOKEN = "s3cret-t0ken"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/private" and self.headers["authorization"] != f"Bearer {TOKEN}":
            self.send_error(401)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/metrics")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            threading.Event().wait(5)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x 1\n" * 1000 if self.path == "/long" else TEXT)

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "client"


class Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def port() -> Iterator[int]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_address[1]


def scraped(root: str = "/", **options: Any) -> dict[str, float]:
    batch = Endpoint(Scrape(name="s", **options), Reader(Root(root))).read()
    return {one.name: one.value for one in batch.samples}


def test_an_endpoint_is_read(port: int) -> None:
    assert scraped(url=f"http://127.0.0.1:{port}") == {"jobs_total": 3, "up": 1}


def test_a_unix_socket_below_the_host_root(tmp_path: Path) -> None:
    with serving(Unix(str(tmp_path / "s.sock"), Handler)):
        assert scraped(str(tmp_path), url="http://localhost/metrics", socket="/s.sock") == {"jobs_total": 3, "up": 1}


def test_tls_is_verified_and_a_token_is_sent(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "node.crt", tmp_path / "node.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        url = f"https://127.0.0.1:{server.server_address[1]}/private"
        token = {"bearer_token_file": str(tmp_path / "token")}
        assert scraped(url=url, ca_file=str(tmp_path / "ca.crt"), **token)["up"] == 1
        with pytest.raises(ssl.SSLCertVerificationError):
            scraped(url=url, **token)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "/private": ({}, "the endpoint answers 401 Unauthorized"),
    "/moved": ({}, "the endpoint answers 302 Found"),
    "/long": ({"max_bytes": 2000}, "the answer is longer than max_bytes = 2000"),
    "/slow": ({"deadline_s": 1}, "timed out"),
}


@pytest.mark.parametrize("path", FAULTS)
def test_a_fault_is_told_in_words(path: str, port: int) -> None:
    options, message = FAULTS[path]
    with pytest.raises(OSError, match=message):
        scraped(url=f"http://127.0.0.1:{port}{path}", **options)


def test_a_token_that_is_none_is_not_told(port: int, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\r\nx-evil: 1")
    with pytest.raises(OSError) as caught:
        scraped(url=f"http://127.0.0.1:{port}", bearer_token_file=str(tmp_path / "token"))
    assert str(caught.value) == f"bearer_token_file {tmp_path}/token: not a token"


def test_the_numbers_belong_to_the_cgroup_of_the_listener(port: int) -> None:
    """This process listens, so it is found in its own cgroup."""
    batch = Endpoint(Scrape(name="s", url=f"http://127.0.0.1:{port}"), Reader(Root("/"))).read()
    paths = {line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    assert batch.unit == max(paths, key=len).rstrip("/")
