"""A mount that does not respond any more, on a host that can start no thread: real FUSE, a real limit of tasks."""

import os
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
import shipper_eslocal
from booting import cgroups, own_cgroup
from fault.test_log_faults import MAIN, until

from shipper.agent import status
from shipper.base.isolate import NO_THREAD

# linux/fuse.h: operations, and the answers of version 7.31
_GETATTR, _STATFS, _INIT, _ENOSYS = 3, 17, 26, 38
_DIRECTORY = 0o40755
TICKS: Final = 5


class Mount:
    """A FUSE filesystem that answers what statvfs(3) and stat(2) ask, until it hangs."""

    def __init__(self) -> None:
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        self._stop, self._thread = os.eventfd(0), threading.Thread(target=self._serve)
        self._thread.start()

    def hang(self) -> None:
        """Answer nothing any more; calls that are made on it now cannot be interrupted."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()

    def close(self) -> None:
        """End all calls that hang, with ENOTCONN."""
        self.hang()
        os.close(self._stop)
        os.close(self.fd)

    def _serve(self) -> None:
        while self._stop not in select.select([self.fd, self._stop], [], [])[0]:
            with suppress(OSError):
                request = os.read(self.fd, 1 << 17)
                _length, operation, unique = struct.unpack_from("<IIQ", request)
                error, answer = _answer(operation)
                os.write(self.fd, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)


def _answer(operation: int) -> tuple[int, bytes]:
    """The error number and the body."""
    if operation == _INIT:
        return 0, struct.pack("<IIIIHHIIHHI7I", 7, 31, 1 << 16, 0, 0, 0, 1 << 16, 1, 0, 0, 0, *[0] * 7)
    if operation == _GETATTR:  # valid for ever: only statvfs(3) asks again
        return 0, struct.pack("<QII6QIIIIIIIIII", 1 << 30, 0, 0, 1, *[0] * 5, 0, 0, 0, _DIRECTORY, 2, 0, 0, 0, 4096, 0)
    if operation == _STATFS:
        return 0, struct.pack("<QQQQQIIII6I", 1000, 500, 400, 100, 50, 4096, 255, 4096, 0, *[0] * 6)
    return _ENOSYS, b""


@contextmanager
def agent(
    url: str, namespace: str, spool: Path, point: Path, enter: str
) -> Iterator[tuple[subprocess.Popen[bytes], Mount]]:
    """An agent whose pid 1 has the mount, in namespaces of its own: nobody else can hang in it."""
    environment = {
        **os.environ,
        "SHIPPER_HOST_VERIFY": "false",
        "SHIPPER_HOST_NAME": f"host-{namespace}",
        "SHIPPER_INDEX_NAMESPACE": namespace,
        "SHIPPER_COLLECT_DATASETS": "host,filesystem,agent",
        "SHIPPER_ELASTICSEARCH_HOSTS": url,
        "SHIPPER_SPOOL_FLUSH": "5s",
    }
    options = "fd=0,rootmode=40755,user_id=0,group_id=0,allow_other"
    script = f'{enter} mount -i -t fuse.test -o {options} test "$0" && exec "$@" </dev/null'
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    shipper = [sys.executable, "-c", MAIN, "run", "--period", "1s", "--spool", str(spool)]
    mount = Mount()
    words = [*apart, "sh", "-c", script, str(point), *shipper]
    with subprocess.Popen(words, stdin=mount.fd, env=environment) as process:
        try:
            yield process, mount
        finally:
            mount.close()
            process.kill()


@pytest.mark.root
def test_a_mount_hangs_while_no_thread_can_be_started(
    es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path
) -> None:
    """The thread that asks the mounts hangs and gets no successor. Ticks, delivery and TERM need no new thread."""
    point, spool = tmp_path / "mount", tmp_path / "spool"
    point.mkdir()
    with own_cgroup() as (name, enter):
        tasks = next(path for path in cgroups(name) if (path / "pids.max").exists())
        with agent(es.url, namespace, spool, point, enter) as (process, mount):
            until(lambda: documents(spool, "stored") >= TICKS * 3)
            (tasks / "pids.max").write_text("1")  # of the tasks there are, those that end leave no room either
            mount.hang()
            until(lambda: any(NO_THREAD in text for text in status.read(str(spool))["problems"]))
            stored = documents(spool, "stored")
            until(lambda: documents(spool, "stored") >= stored + TICKS * 3)
            assert str(point) in stuck(es, namespace)
            (tasks / "pids.max").write_text("max")
            until(lambda: not status.read(str(spool))["problems"])
            (agent_pid,) = (tasks / "cgroup.procs").read_text().split()
            os.kill(int(agent_pid), signal.SIGTERM)
            assert process.wait(20) == 0
    content = status.read(str(spool))
    assert content["missed"] == 0
    assert content["documents"]["collected"] == content["documents"]["stored"]


def documents(spool: Path, name: str) -> int:
    return int((status.read(str(spool)) or {"documents": {}})["documents"].get(name, 0))


def stuck(es: shipper_eslocal.Cluster, namespace: str) -> set[str]:
    """The mounts that did not respond, by the documents on the server."""
    index = f"metrics-shipper.filesystem-{namespace}"
    es.request("POST", f"/{index}/_refresh")
    query = {"query": {"term": {"system.filesystem.stuck": True}}, "size": 1000}
    hits = es.request("POST", f"/{index}/_search", query)["hits"]["hits"]
    return {hit["_source"]["system"]["filesystem"]["mount_point"] for hit in hits}
