"""Notifications to systemd over its datagram socket: sd_notify(3). Without NOTIFY_SOCKET none are sent."""

import os
import socket
import time
from contextlib import suppress
from typing import Final

_US_PER_S: Final = 1_000_000
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"


def tell(*lines: str) -> None:
    """Send ``lines``, such as READY=1, to the service manager. Without one, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        path = "\0" + address[1:] if address[0] == "@" else address
        # A service manager that does not read must not block the agent
        sock.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, path)


def reloading() -> None:
    """Tell the service manager that a reload has begun; the process sends READY=1 when it is done."""
    tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def status(text: str) -> str:
    """The line for ``systemctl status``."""
    return "STATUS=" + " ".join(text.split())


def watchdog_s() -> float:
    """The watchdog timeout in seconds; 0 if systemd expects no notification from this process."""
    limit, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    return int(limit) / _US_PER_S if limit.isdecimal() and pid in {"", str(os.getpid())} else 0.0
