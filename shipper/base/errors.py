"""Errors that the user can fix. The message is one line for a terminal or a log; the class gives the exit status."""

from collections.abc import Mapping
from typing import ClassVar, Final

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
EXIT_CODES: Final[Mapping[int, str]] = {
    0: "success",
    1: "failed, or check found a problem",
    2: "the command line or the configuration is invalid",
    3: "the host root does not show the host",
    4: "Elasticsearch cannot be reached, or rejects the request",
    INTERRUPTED: "interrupted",
    PIPE_CLOSED: "the reader closed the output",
}


class UserError(Exception):
    """Something outside the program failed."""

    exit_code: ClassVar[int] = 1


class ConfigError(UserError):
    """The command line or the configuration is invalid; the message names the place and what is allowed."""

    exit_code = 2


class HostViewError(UserError):
    """The host root does not show the host."""

    exit_code = 3


class ServerError(UserError):
    """Elasticsearch cannot be reached or rejects the request; ``status`` is the HTTP status, if there was one."""

    exit_code = 4

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Unavailable(Exception):  # noqa: N818 – a state, not a fault
    """A request failed as a whole, although the server may have executed it. The message is for the log.

    ``retry_after_s``: how long the server asks clients to wait. ``nodes``: how many servers could be asked.
    """

    def __init__(self, message: str = "", *, retry_after_s: float = 0.0, nodes: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.nodes = nodes


class TooLarge(Unavailable):
    """HTTP 413: the server rejects a body of this size."""


class BadRequest(Unavailable):
    """HTTP 400: Elasticsearch itself cannot parse this body."""
