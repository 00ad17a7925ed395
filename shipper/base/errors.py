"""Errors that are the user's to mend: the message is one line for a terminal or log, the class gives the exit code."""

from typing import ClassVar


class UserError(Exception):
    """Something failed for a reason that lies outside the program."""

    exit_code: ClassVar[int] = 1


class ConfigError(UserError):
    """Command line or configuration are not usable; names the place and what is allowed."""

    exit_code = 2


class HostViewError(UserError):
    """What is seen below the host root is not the host."""

    exit_code = 3


class ServerError(UserError):
    """Elasticsearch cannot be reached, or refuses; then ``status`` is its HTTP status."""

    exit_code = 4

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Unavailable(Exception):  # noqa: N818 – a state, not a fault
    """A request as a whole did not succeed, though the server may have carried it out; the message is for the log.

    ``retry_after_s``: how long the server asks to be left alone. ``nodes``: how many could be asked.
    """

    def __init__(self, message: str = "", *, retry_after_s: float = 0.0, nodes: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.nodes = nodes


class TooLarge(Unavailable):
    """413: the server takes no body of this size."""


class BadRequest(Unavailable):
    """400: Elasticsearch itself cannot read this body."""
