"""Check the server once while the agent runs: after the first delivery, in a process of its own.

The answers grow with the cluster: each backing index has mappings of hundreds of fields. What a process has once used
for them it keeps, so the check runs in a child that ends, and the agent stays as small as before.
"""

import copyreg
import ctypes
import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from shipper.base import log, messages
from shipper.deliver.ledger import DeliveryState
from shipper.settings.config import Config

_NEXT_LOOK_S: Final = 1.0
_MOST_S: Final = 300  # then a child whose server hangs ends itself
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_CHILD: Final = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from shipper.agent.inspection import main; main(pickle.load(sys.stdin.buffer))"
)


def start(config: Config, state: DeliveryState, out: log.Log) -> None:
    """Check in the background; findings that are wrong go to ``state.findings``."""
    with suppress(RuntimeError):  # no thread can be started: the agent runs without the check
        threading.Thread(target=_inspect, args=(config, state, out), name="inspection", daemon=True).start()


def _inspect(config: Config, state: DeliveryState, out: log.Log) -> None:
    while not state.reachable:
        time.sleep(_NEXT_LOOK_S)
    state.findings = wrong(config)
    for text in state.findings:
        out.line(messages.SERVER_FINDING, text=text)


def wrong(config: Config) -> list[str]:
    """Every finding that is wrong; empty if the server cannot be asked, or if no process can be started."""
    copyreg.pickle(MappingProxyType, lambda proxy: (_proxy, (dict(proxy),)))
    question = pickle.dumps(sys.path) + pickle.dumps(config)
    words = [sys.executable, "-I", "-c", _CHILD]
    with suppress(OSError, subprocess.CalledProcessError, ValueError):
        # close_fds: all descriptors are close-on-exec already, and to close 20,000 one by one would hold up a tick
        child = subprocess.run(
            words, input=question, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, close_fds=False
        )
        findings: list[str] = json.loads(child.stdout)
        return findings
    return []


def _proxy(entries: dict[str, Any]) -> MappingProxyType[str, Any]:
    """``MappingProxyType``, which cannot be found by the name that its instances give."""
    return MappingProxyType(entries)


def main(config: Config) -> None:
    """Print the findings that are wrong as a JSON list. Raises UserError if the server cannot be asked."""
    from shipper.base.findings import Level  # noqa: PLC0415
    from shipper.deliver import client  # noqa: PLC0415
    from shipper.server import checks  # noqa: PLC0415

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.alarm(_MOST_S)
    with client.connect(config) as connection:
        findings = [finding.text for finding in checks.examine(connection, config) if finding.level is Level.WRONG]
        sys.stdout.write(json.dumps(findings))
