"""OOM kills in the kernel's log: a report of several lines, the last of which names the killed process.

    memory: usage 20480kB, limit 20480kB, failcnt 72
    oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/box,task_memcg=/box/a,task=python3,pid=26959,uid=0    (Linux 5.0)
    Task in /box/a killed as a result of limit of /box                                                        (before)
    Memory cgroup out of memory: Killed process 26959 (python3) total-vm:37144kB, anon-rss:27124kB, file-rss:6532kB, …

mm/oom_kill.c and mm/memcontrol.c. With memory.oom.group several killed processes follow one report.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from shipper.kernel.parse import LARGEST

_BEGINS: Final = re.compile(r" invoked oom-killer: ")
_USAGE: Final = re.compile(r"^memory: usage (\d{1,16})kB, limit (\d{1,16})kB")
_CONSTRAINT: Final = re.compile(
    r"^oom-kill:constraint=CONSTRAINT_(\w+),.*?(?:oom_memcg=(.*?),)?(?:global_oom,)?task_memcg=(.*),task=.*,pid=(\d+),uid=\d+"
)
_TASK: Final = re.compile(r"^Task in (.*) killed as a result of limit of (.*)$")
_KILLED: Final = re.compile(
    r"Killed process (\d{1,10}),? \((.*)\),? (?:UID:? ?\d+,? )?total-vm:\d+kB, anon-rss:(\d{1,16})kB, file-rss:(\d{1,16})kB"
    r"(?:, shmem-rss:(\d{1,16})kB)?"
)
_KB: Final = 1024
_UNLIMITED: Final = 0x7FFF_FFFF_FFFF_0000


@dataclass(frozen=True, slots=True)
class Kill:
    """A killed process. ``scope`` is memcg or host; sizes are in bytes, -1 if the log does not have them."""

    pid: int = 0
    name: str = ""
    scope: str = "host"
    cgroup: str = ""  # of the process
    limited: str = ""  # the cgroup whose limit was reached
    usage: int = -1
    limit: int = -1
    anon: int = -1
    file: int = -1
    shmem: int = -1


class Kills:
    """Reads reports line by line."""

    def __init__(self) -> None:
        self._report = Kill()

    def take(self, text: str) -> Kill | None:
        """The kill, if ``text`` is the last line of a report; else None."""
        if _BEGINS.search(text):
            self._report = Kill()
        elif match := _USAGE.search(text):
            self._report = replace(self._report, usage=_bytes(match[1]), limit=_limit(match[2]))
        elif match := _CONSTRAINT.search(text):
            scope = "memcg" if match[1] == "MEMCG" else "host"
            self._report = replace(self._report, scope=scope, cgroup=match[3], limited=match[2] or "")
        elif match := _TASK.search(text):
            self._report = replace(self._report, scope="memcg", cgroup=match[1], limited=match[2])
        elif match := _KILLED.search(text):
            pid, name, anon, file, shmem = match.groups()
            scope = "memcg" if text.startswith("Memory cgroup") else self._report.scope
            killed = replace(self._report, pid=int(pid), name=name, scope=scope)
            shared = _bytes(shmem) if shmem else -1
            return replace(killed, anon=_bytes(anon), file=_bytes(file), shmem=shared)
        return None


def _bytes(kilobytes: str) -> int:
    size = int(kilobytes) * _KB
    return size if size <= LARGEST else -1


def _limit(kilobytes: str) -> int:
    size = _bytes(kilobytes)
    return -1 if size >= _UNLIMITED - _KB * _KB else size
