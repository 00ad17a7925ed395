"""Files that belong to a user of the host: looked at by a worker with a deadline, for a home may lie on a dead server.

What a user can place there is taken as hostile: see ``Reader.read_owned`` for owner and size.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from shipper.base.isolate import Crew
from shipper.kernel.source import Reader

T = TypeVar("T")

LARGEST: Final = 1 << 20  # bytes of one file; as JSON it takes up to 30 times as much memory for a moment
_DEADLINE_S: Final = 0.25
_BUDGET: Final = 4  # deadlines that may be missed in one tick; the collector's own is not far
_MOST_STUCK: Final = 16  # users left alone; each costs a thread until its file system answers
_UID: Final = re.compile(r"/user-(\d{1,10})\.slice/")


def owner(path: str) -> int | None:
    """Id of the user in whose slice the cgroup ``path`` is."""
    match = _UID.search(path)
    return int(match[1]) if match else None


class Foreign:
    """Asks for users' files. A user whose files do not answer is left alone until they do."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._crew: Crew[Any] = Crew(_DEADLINE_S)
        self._missed = 0
        self._stuck: set[int] = set()

    def begin(self) -> None:
        """A tick begins."""
        self._missed = 0

    def ask(self, uid: int, call: Callable[[], T], default: T) -> T:
        """``call()``, or ``default`` where it fails, does not answer in time, or may not be made in this tick."""
        is_known_stuck = uid in self._stuck
        if self._missed >= _BUDGET or (len(self._stuck) >= _MOST_STUCK and not is_known_stuck):
            return default
        outcome = self._crew.run([(str(uid), call)])[str(uid)]
        name = f"files of user {uid}"
        if outcome.stuck:
            self._missed += not is_known_stuck
            self._stuck.add(uid)
            self._reader.problem(name, f"no answer within {_DEADLINE_S:g} s; the user's containers are not named")
            return default
        self._stuck.discard(uid)
        if outcome.error:
            self._reader.problem(name, outcome.error)
            return default
        return outcome.value if outcome.value is not None else default
