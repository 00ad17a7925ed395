"""A real Prometheus Alertmanager, of Debian's package, on loopback."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

READY_S = 30
_CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Its address."""
    (directory / "alertmanager.yml").write_text(_CONFIG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = [
        "prometheus-alertmanager", f"--config.file={directory}/alertmanager.yml", f"--storage.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (directory / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            _wait(url, directory / "log")
            yield url
        finally:
            process.terminate()


def _wait(url: str, log: Path) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            if urllib3.request("GET", f"{url}/-/ready", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
