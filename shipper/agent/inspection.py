"""Check the server once while the agent runs: after the first delivery, in the background."""

import threading
import time
from contextlib import suppress
from typing import Final

from shipper.base import log, messages
from shipper.base.errors import UserError
from shipper.deliver.ledger import DeliveryState
from shipper.settings.config import Config

_NEXT_LOOK_S: Final = 1.0


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
    """Every finding that is wrong; empty if the server cannot be asked."""
    from shipper.base.findings import Level  # noqa: PLC0415
    from shipper.deliver import client  # noqa: PLC0415
    from shipper.server import checks  # noqa: PLC0415 – not before something was delivered

    try:
        with client.connect(config) as connection:
            return [finding.text for finding in checks.examine(connection, config) if finding.level is Level.WRONG]
    except UserError:
        return []
