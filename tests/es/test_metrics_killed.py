"""kill -9 amid all types of sources and a flood of label values: the guarantees hold for own metrics too."""

import getpass
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import shipper_eslocal

from shipper.deliver import client
from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index

LIMIT_S = 120
FLOOD = 20_000  # label values before each kill
MOST_MIB = 16
SOURCES = """
[[metrics]]
type = "textfile"
name = "text"
directory = "{directory}"
[[metrics]]
type = "exec"
name = "command"
user = "{user}"
period = "1s"
command = ["printf", "# TYPE runs counter\\nruns 3\\n"]
[[metrics]]
type = "statsd"
name = "statsd"
listen = ""
socket = "{directory}/s.sock"
[[metrics]]
type = "scrape"
name = "away"
url = "http://127.0.0.1:1"
period = "1s"
"""


def configuration(es: shipper_eslocal.Cluster, namespace: str, directory: Path) -> Path:
    file = directory / "shipper.toml"
    sections: dict[str, dict[str, Any]] = {
        "elasticsearch": {"hosts": es.urls},
        "index": {"namespace": namespace, "replicas": 0},
        "collect": {"period": "1s", "datasets": ["metric", "agent", "host"]},
        "bulk": {"max_bytes": "256KiB"},  # a request of the usual 4 MiB takes more memory than the flood
        "spool": {"directory": str(directory / "spool"), "flush": "60s"},
        "host": {"name": f"host-{namespace}", "verify": False},
    }
    lines = [
        line
        for name, options in sections.items()
        for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in options.items()))
    ]
    text = SOURCES.replace("\\", "\\\\").format(directory=directory, user=getpass.getuser())
    file.write_text("\n".join(lines) + text)
    return file


@contextmanager
def flood(path: Path) -> Iterator[Callable[[], int]]:
    """A client that sends counters with a new label value each, as fast as it can; a function tells how many."""
    numbers, stop = itertools.count(), threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            while not stop.is_set():
                try:
                    one.sendto(b"clicks:1|c|#user:%d" % next(numbers), str(path))
                    sent += 1
                except OSError:  # no agent
                    time.sleep(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield lambda: sent
    finally:
        stop.set()
        thread.join()


def wait(condition: Callable[[int], bool], least: int) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition(least):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_kills_and_a_flood_lose_and_double_nothing(
    es9: shipper_eslocal.Cluster, namespace: str, tmp_path: Path
) -> None:
    config = Config(elasticsearch=Elasticsearch(hosts=tuple(es9.urls)), index=Index(namespace=namespace, replicas=0))
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)
    (tmp_path / "a.prom").write_text("# TYPE jobs counter\njobs_total 5\n")
    command = [sys.executable, "-m", "shipper", "run", "--config", str(configuration(es9, namespace, tmp_path))]
    status = tmp_path / "spool/status.json"
    with flood(tmp_path / "s.sock") as sent:
        for killed in (True, True, False):
            status.unlink(missing_ok=True)
            before = sent()
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as agent:
                wait(lambda least: status.exists() and stored(status) > least, 0)
                wait(lambda least: sent() > least, before + FLOOD)
                if not killed:
                    wait(lambda least: stored(status) > least, stored(status) + 2000)
                agent.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
                agent.wait(LIMIT_S)
    spool = Spool(str(tmp_path / "spool"), 1 << 30)
    ledger = Ledger.load(spool)
    spool.close()
    counts = ledger.counts
    assert (ledger.spooled, counts.rejected, counts.dropped, counts.late) == (0, 0, 0, 0)
    assert found(es9, namespace) == counts.collected == counts.stored
    agents, hosts = (found(es9, namespace, dataset) for dataset in ("agent", "host"))
    assert agents - 1 == hosts >= 3  # a tick a life at least; the last document says goodbye
    check_documents(es9, namespace)


def stored(status: Path) -> int:
    """Documents that the agent has stored, by its status."""
    content = json.loads(status.read_text())
    return int(content["documents"]["stored"])


def found(es: shipper_eslocal.Cluster, namespace: str, dataset: str = "*") -> int:
    es.request("POST", f"/metrics-shipper.{dataset}-{namespace}/_refresh")
    return int(es.request("GET", f"/metrics-shipper.{dataset}-{namespace}/_count")["count"])


_LABEL_SETS = {"max": {"field": "metricset.label_sets.count"}}


def check_documents(es: shipper_eslocal.Cluster, namespace: str) -> None:
    """All sources are there, the limit held, the flood was counted, and the agent stayed small."""
    aggregations = {
        "sources": {"terms": {"field": "metricset.name"}, "aggs": {"most": _LABEL_SETS}},
        "dropped": {"max": {"field": "metricset.dropped.count"}},
        "failed": {"terms": {"field": "agent.problems.files", "size": 100}},
        "least": {"min": {"field": "agent.memory.rss.bytes"}},
        "most": {"max": {"field": "agent.memory.rss.bytes"}},
    }
    answer = es.request("POST", f"/metrics-shipper.*-{namespace}/_search", {"size": 0, "aggs": aggregations})
    given = answer["aggregations"]
    assert {one["key"] for one in given["sources"]["buckets"]} == {"text", "command", "statsd"}
    assert max(one["most"]["value"] for one in given["sources"]["buckets"]) == 1000
    assert given["dropped"]["value"] > FLOOD / 2
    problems = [one["key"] for one in given["failed"]["buckets"]]
    assert any(one.startswith("metrics away: Connection refused") for one in problems)
    assert any("beyond max_series" in one for one in problems)
    assert (given["most"]["value"] - given["least"]["value"]) / (1 << 20) < MOST_MIB
