"""Files of the host's users: read by a worker with a deadline, because a home may be on a server that does not respond.

These files are untrusted: ``Reader.read_owned`` checks owner and size.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from shipper.base.isolate import Crew
from shipper.kernel.source import Reader

T = TypeVar("T")

LARGEST: Final = 1 << 20  # bytes of a file; parsing its JSON takes up to 30 times as much memory
_DEADLINE_S: Final = 0.25
_BUDGET: Final = 4  # deadlines that may be missed in one tick: the collector has a deadline, too
_MOST_STUCK: Final = 16  # users whose files do not respond; each keeps a thread until they do
_UID: Final = re.compile(r"/user-(\d{1,10})\.slice/")


def owner(path: str) -> int | None:
    """Id of the user in whose slice the cgroup ``path`` is; None if it is in no user's slice."""
    match = _UID.search(path)
    return int(match[1]) if match else None


class Foreign:
    """Reads the files of users. A user whose files do not respond is skipped until they do."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._crew: Crew[Any] = Crew(_DEADLINE_S)
        self._missed = 0
        self._stuck: set[int] = set()

    def begin(self) -> None:
        """A tick begins."""
        self._missed = 0

    def ask(self, uid: int, call: Callable[[], T], default: T) -> T:
        """``call()``; ``default`` if it fails, does not respond in time, or may not be made in this tick."""
        is_known_stuck = uid in self._stuck
        if self._missed >= _BUDGET or (len(self._stuck) >= _MOST_STUCK and not is_known_stuck):
            return default
        outcome = self._crew.run([(str(uid), call)])[str(uid)]
        name = f"files of user {uid}"
        if outcome.stuck:
            self._missed += not is_known_stuck
            self._stuck.add(uid)
            self._reader.problem(name, f"no answer within {_DEADLINE_S:g} s; the user's containers have no names")
            return default
        self._stuck.discard(uid)
        if outcome.error:
            self._reader.problem(name, outcome.error)
            return default
        return outcome.value if outcome.value is not None else default
