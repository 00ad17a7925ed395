"""Sends people the alerts that begin and end, with the library apprise: mail, chat, telephone."""

from pathlib import Path
from typing import Final

import apprise

from shipper.base.errors import ConfigError, UserError
from shipper.view.alerts.watch import Round, lines

_TITLE: Final = "Shipper: {} began, {} ended"


class People:
    """Sends each round in which something changes; ``urls`` are those of https://github.com/caronc/apprise/wiki."""

    def __init__(self, urls: list[str]) -> None:
        self._apprise = apprise.Apprise()
        for number, url in enumerate(urls, 1):
            if not self._apprise.add(url):  # the URL may hold a password
                raise ConfigError(f"address {number} of the notify file is not one that apprise knows")
        self._trouble = ""

    def __call__(self, one: Round) -> None:
        """Raises UserError if a notification could not be sent."""
        known, self._trouble = self._trouble, one.trouble
        text = [line for line in lines(one) if not (known and line.startswith("unknown: "))]
        title = _TITLE.format(len(one.began), len(one.ended))
        if text and not self._apprise.notify(title=title, body="\n".join(text)):
            raise UserError("not all notifications could be sent; try the addresses of the notify file with `apprise`")


def read(file: Path) -> list[str]:
    """One address per line; empty lines and lines that begin with # are ignored. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or 'not text'}") from None
    found = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise ConfigError(f"{file}: has no address")
    return found
