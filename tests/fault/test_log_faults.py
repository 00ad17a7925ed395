"""A log that takes nothing costs its lines and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from fault.line import filled
from fault.proxy import Proxy

from shipper.agent import status

LIMIT_S = 60.0
MAIN = "import sys; from shipper.cli import main; sys.exit(main())"


@contextmanager
def agent(url: str, namespace: str, spool: Path, stderr: Any) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "SHIPPER_HOST_VERIFY": "false",
        "SHIPPER_HOST_NAME": f"host-{namespace}",
        "SHIPPER_INDEX_NAMESPACE": namespace,
        "SHIPPER_COLLECT_DATASETS": "host,agent",
        "SHIPPER_ELASTICSEARCH_HOSTS": url,
        "SHIPPER_SPOOL_FLUSH": "5s",
    }
    words = [sys.executable, "-c", MAIN, "run", "--period", "1s", "--spool", str(spool)]
    process = subprocess.Popen(words, stderr=stderr, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def seen(spool: Path, name: str) -> int:
    with suppress(OSError):
        return int((status.read(str(spool)) or {"documents": {}})["documents"].get(name, 0))
    return 0


@contextmanager
def full() -> Iterator[int]:
    fd = os.open("/dev/full", os.O_WRONLY)
    yield fd
    os.close(fd)


@contextmanager
def closed_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def reader_that_stands_still() -> Iterator[int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("log", [full, closed_pipe, reader_that_stands_still])
def test_delivery_goes_on_without_a_log(
    es: shipper_eslocal.Cluster, between: Proxy, namespace: str, tmp_path: Path, log: Any
) -> None:
    """The server is away for a while, which is worth a line, and then back."""
    spool = tmp_path / "spool"
    between.down()
    with log() as stderr, agent(between.url, namespace, spool, stderr) as process:
        until(lambda: seen(spool, "spooled") >= 6)
        between.up()
        until(lambda: seen(spool, "stored") >= 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    content = status.read(str(spool))
    assert content["documents"]["collected"] == content["documents"]["stored"]


@pytest.mark.root
def test_spool_and_log_on_one_full_disk(
    es: shipper_eslocal.Cluster, between: Proxy, namespace: str, small_disk: Path
) -> None:
    between.down()
    with (small_disk / "log").open("wb") as log, agent(between.url, namespace, small_disk / "spool", log) as process:
        until(lambda: seen(small_disk / "spool", "spooled") >= 2)
        until(lambda: filled(small_disk / "filler") and bool(status.read(str(small_disk / "spool")).get("disk")))
        assert process.poll() is None
        between.up()
        until(lambda: seen(small_disk / "spool", "stored") >= 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
