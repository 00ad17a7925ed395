"""The agent's log: lines to standard error that never block the agent.

For the journal, a line begins with a priority prefix (sd-daemon(3)); otherwise with the time and a word. A cause that
persists is logged once per hour, with the number of repetitions.

A line that standard error does not accept at once (a full disk, a closed pipe, a reader that does not read) is dropped
and counted; the next line that is accepted reports the count.
"""

import os
import select
import stat
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from shipper.base import messages
from shipper.base.isolate import Aside
from shipper.base.messages import Message
from shipper.base.text import escaped

_WORDS: Final = {messages.ERROR: "error", messages.WARNING: "warning", messages.INFO: "info"}
_AGAIN_S: Final = 3600.0
_CAUSES_MOST: Final = 1000
_LINE_MOST: Final = 4000  # bytes: a pipe that is ready takes PIPE_BUF without waiting, pipe(7)
_FILE_S: Final = 0.5  # a disk that needs longer for one line counts as one that accepts none
_STDERR: Final = 2


class Log:
    """Writes lines to standard error. Control characters are escaped, because messages may quote hostile text."""

    def __init__(self, *, journal: bool | None = None) -> None:
        self._ready = _open_stderr()
        kind = os.fstat(_STDERR).st_mode
        self._journal = _is_journal(kind) if journal is None else journal
        self._file = Aside("log") if stat.S_ISREG(kind) else None
        self._told: dict[str, tuple[float, int]] = {}
        self._untold = 0
        self.dropped = 0

    def line(self, message: Message, **values: object) -> None:
        """Log ``message`` with ``values`` in its places, and its code."""
        self._put(message, message.text.format(**values))

    def _put(self, message: Message, text: str) -> None:
        if self._untold:
            told = messages.LINES_DROPPED
            if self._write(self._line(told, told.text.format(count=self._untold))):
                self._untold = 0
        if not self._write(self._line(message, text)):
            self._untold += 1
            self.dropped += 1

    def _line(self, message: Message, text: str) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        prefix = f"<{message.priority}>shipper:" if self._journal else f"{now} {_WORDS[message.priority]}: shipper:"
        line = f"{prefix} {escaped(text)}".encode("utf-8", "backslashreplace")[:_LINE_MOST]
        return line + f" [{message.code}]\n".encode()

    def _write(self, line: bytes) -> bool:
        """Whether standard error accepted the line at once."""
        try:
            if self._file:
                return self._file.run(lambda: os.write(_STDERR, line), _FILE_S) == len(line)
            return bool(self._ready.poll(0)) and os.write(_STDERR, line) == len(line)
        except OSError:
            return False

    def once(self, message: Message, cause: str, **values: object) -> None:
        """Log ``message``, unless ``cause`` was logged in the last hour; then only count it."""
        now = time.monotonic()
        last, count = self._told.get(cause, (-_AGAIN_S, 0))
        if now - last < _AGAIN_S:
            self._told[cause] = (last, count + 1)
            return
        if len(self._told) >= _CAUSES_MOST:
            self._told.clear()
        self._told[cause] = (now, 0)
        text = message.text.format(**values)
        self._put(message, f"{text} (and {count} times more since last logged)" if count else text)

    def over(self, cause: str) -> bool:
        """Whether ``cause`` had been logged. If it occurs again, it is logged again."""
        return self._told.pop(cause, None) is not None


def _open_stderr() -> select.poll:
    """Standard error, open for non-blocking writes. If it is closed, /dev/null takes its number, so that no other file
    gets it.
    """
    try:
        os.fstat(_STDERR)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != _STDERR:
            os.dup2(null, _STDERR)
            os.close(null)
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
    ready = select.poll()
    ready.register(_STDERR, select.POLLOUT)
    return ready


def _is_journal(kind: int) -> bool:
    """Whether standard error is the journal: systemd sets JOURNAL_STREAM, and a redirection changes the file."""
    return "JOURNAL_STREAM" in os.environ and not stat.S_ISREG(kind) and not os.isatty(_STDERR)
