"""What is wrong on the server reaches the agent document, without anybody asking."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import shipper_eslocal


def test_a_template_that_wins_over_ours_stands_in_the_agent_document(
    es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path
) -> None:
    """The stream is made by a template that somebody adds after set-up; documents are stored all the same."""
    words = ["--elasticsearch-hosts", es.url, "--index-namespace", namespace]
    subprocess.run([sys.executable, "-m", "shipper", "setup", *words], check=True, capture_output=True)
    target = f"metrics-shipper.agent-{namespace}"
    shadow = {"index_patterns": [f"metrics-shipper.*-{namespace}"], "priority": 1000, "data_stream": {}}
    es.request("PUT", f"/_index_template/ops-{namespace}", shadow)
    options = ["--period", "1s", "--spool", str(tmp_path), "--host-name", "a", "--host-verify", "false"]
    command = [sys.executable, "-m", "shipper", "run", *words, *options, "--collect-datasets", "host,agent"]
    agent = subprocess.Popen(command, env={**os.environ, "NO_COLOR": "1"}, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        found: list[str] = []
        while not found:
            assert time.monotonic() < deadline
            time.sleep(0.5)
            query = "ignore_unavailable=true&q=_exists_:agent.server.findings&size=1"
            with suppress(shipper_eslocal.Error):  # 503 while the stream's first shard starts
                hits = es.request("GET", f"/{target}/_search?{query}")["hits"]["hits"]
                found = [text for hit in hits for text in hit["_source"]["agent"]["server"]["findings"]]
    finally:
        agent.terminate()
        assert agent.stderr
        said = agent.stderr.read()
        agent.wait()
    told = [text for text in found if f"index template ops-{namespace} (priority 1000, " in text]
    assert told
    assert f"server: {told[0]}" in said
