"""The check of the server runs in a child, which never outlives the agent."""

import os
import select
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from shipper.agent import inspection
from shipper.collect import OPTIONS
from shipper.settings import config

_ASK = """
import sys
from shipper.agent import inspection
from shipper.collect import OPTIONS
from shipper.settings import config
inspection.wrong(config.load(None, {}, {"elasticsearch.hosts": sys.argv[1]}, OPTIONS))
"""


def test_a_server_that_cannot_be_asked_has_no_findings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    unreachable = config.load(None, {}, {"elasticsearch.hosts": f"http://127.0.0.1:{port}"}, OPTIONS)
    assert inspection.wrong(replace(unreachable, host=replace(unreachable.host, labels={"rack": "r\udcff1"}))) == []


def test_the_child_ends_with_the_agent() -> None:
    """Its server accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        agent = subprocess.Popen([sys.executable, "-c", _ASK, address])
        asked, _ = server.accept()
        with asked:
            children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
            child = os.pidfd_open(int(*children))
            agent.kill()
            agent.wait()
            assert select.select([child], [], [], 10)[0]
            os.close(child)
