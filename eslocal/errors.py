"""The one exception of this package."""


class Error(Exception):
    """What went wrong and what to do about it, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
