"""What TLS adds to the agent's memory: ``python -m bench.tls``.

The agent ships the host's own documents to ``bench.sink``: in clear text, over TLS, and over TLS with the package
``requests`` beside it, which the client's transport imports wherever it is installed. The figure is the median.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shipper_eslocal.secure import make_certificates

from bench import table
from bench.agent import Memory
from bench.bare import command

_TICKS = 12
_DATASETS = "host,disk,filesystem,network,agent"
# requests, and what it imports
_REQUESTS = frozenset({"requests", "certifi", "charset_normalizer", "idna"})


def rss_mib(folder: Path, *, tls: bool, visible: frozenset[str] = frozenset()) -> float:
    """Resident memory of an agent in MiB. ``visible``: modules that it finds beside those of a node."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.sink", *([f"--tls={folder}"] if tls else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sink.stdin
    assert sink.stdout
    url = f"http{'s' if tls else ''}://localhost:{sink.stdout.readline().strip()}"
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as spool:
        options = ["--period", "1s", "--ticks", str(_TICKS), "--spool", spool, "--host-verify", "false"]
        options += ["--collect-datasets", _DATASETS, "--elasticsearch-hosts", url]
        options += ["--elasticsearch-ca-file", str(folder / "ca.crt")] if tls else []
        agent = subprocess.Popen(command("run", *options, visible=visible), env={**os.environ, "NO_PROXY": "*"})
        memory = Memory(agent.pid)
        status = agent.wait()
    sink.stdin.close()
    sink.wait()
    if status:
        raise SystemExit(f"the agent exited with {status}")
    return memory.mib()[0]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as directory:
        folder = Path(directory)
        make_certificates(folder)
        rows = [
            {"connection": "clear text", "RSS, MiB": rss_mib(folder, tls=False)},
            {"connection": "TLS", "RSS, MiB": rss_mib(folder, tls=True)},
            {"connection": "TLS, requests installed", "RSS, MiB": rss_mib(folder, tls=True, visible=_REQUESTS)},
        ]
    table.show("memory of the agent", rows)
    table.line("tls", {"rows": rows})


if __name__ == "__main__":
    main()
