"""`shipper status` while a real agent ships to a real server, and while its disk is full."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from fault.line import filled

from shipper.deliver import client
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index

LIMIT_S = 60.0
MAIN = "import sys; from shipper.cli import main; sys.exit(main())"


@pytest.fixture
def namespace(es: shipper_eslocal.Cluster) -> str:
    """With all templates: the agent looks for them, and says which are absent."""
    name = f"t{secrets.token_hex(4)}"
    config = Config(elasticsearch=Elasticsearch(hosts=(es.url,)), index=Index(namespace=name))
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)
    return name


@contextmanager
def agent(url: str, namespace: str, spool: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["run", "--period", "1s", "--spool", str(spool), "--elasticsearch-hosts", url]
    words += ["--index-namespace", namespace, "--host-name", f"host-{namespace}", "--host-verify", "false"]
    command = [sys.executable, "-c", MAIN, *words, "--collect-datasets", "host,agent"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def status(spool: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-c", MAIN, "status", "--spool", str(spool), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    return done.returncode, done.stdout


def until(spool: Path, met: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    end = time.monotonic() + LIMIT_S
    while True:
        found: dict[str, Any] = json.loads(status(spool, "--json")[1])
        if "documents" in found and met(found):
            return found
        assert time.monotonic() < end, f"{what}: {found}"
        time.sleep(0.1)


def test_status_tells_of_now_not_of_before_the_last_delivery(
    es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    with agent(es.url, namespace, spool) as process:
        found = until(spool, lambda one: one["documents"]["stored"] > 0 and not one["documents"]["spooled"], "all sent")
        assert found["live"] and found["ready"] and found["healthy"], found
        assert found["troubles"] == []
        assert [status(spool, option)[0] for option in ("--strict", "--ready")] == [0, 0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    code, output = status(spool, "--json")
    found = json.loads(output)
    assert (code, found["running"], found["stopped"]) == (1, False, True)
    assert found["documents"]["collected"] == found["documents"]["stored"]
    assert "0 spooled + 0 rejected + 0 dropped, when it was stopped" in status(spool)[1]


@pytest.mark.root
def test_a_full_disk_is_told_and_the_agent_stays_alive(
    es: shipper_eslocal.Cluster, namespace: str, small_disk: Path
) -> None:
    """Kubernetes asks `shipper status` for liveness: it must not kill what holds the only copy in memory."""
    spool = small_disk / "spool"
    with agent(es.url, namespace, spool) as process:
        until(spool, lambda one: one["documents"]["stored"] > 0, "delivery")
        filler = small_disk / "filler"
        full = until(spool, lambda one: filled(filler) and bool(one["disk"]), "the full disk")
        later = until(spool, lambda one: one["ticks"] >= full["ticks"] + 4, "four ticks more")
        code, output = status(spool)
        assert code == 0, output
        assert "the disk of the spool is full since" in output
        assert later["documents"]["stored"] > full["documents"]["stored"], "delivered from memory"
        assert not later["healthy"]
        assert status(spool, "--strict")[0] == 1
        filler.unlink()
        until(spool, lambda one: bool(one["healthy"]), "room again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr
        assert "spool: the disk accepts documents again" in process.stderr.read()
