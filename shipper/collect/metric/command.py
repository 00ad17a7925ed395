"""Commands that print numbers: the Prometheus text format or OpenMetrics, or JSON.

    {"queue": {"length": 3}, "healthy": true}                                            gauges queue.length and healthy
    [{"name": "jobs", "value": 7, "labels": {"queue": "a"}, "type": "counter"}]

A command is started without a shell, as the configured user, with an empty environment but for PATH and LANG, in a session
of its own that ends with it. ``_LIMITED`` sets the limits before the command begins, so that they hold from its first
instruction; its alarm ends the command if this process is gone.
"""

import json
import math
import os
import pwd
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any, Final

from shipper.base.text import visible
from shipper.collect.metric.exposition import Exposition
from shipper.collect.metric.samples import Batch, Sample
from shipper.kernel.source import Root
from shipper.settings.sources import Exec

_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_CHUNK: Final = 1 << 16
_MOST_ERRORS: Final = 200
_DEEPEST: Final = 8
_LIMITED: Final = """\
import os, resource, signal, sys
memory, seconds, uid, gid, user, *command = sys.argv[1:]
for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(limit, (int(most), int(most)))
if uid:
    os.initgroups(user, int(gid))
    os.setgid(int(gid))
    os.setuid(int(uid))
signal.alarm(int(seconds) + 1)
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"{command[0]}: {error.strerror}")
"""


class Command:
    """One command."""

    def __init__(self, source: Exec, root: Root) -> None:
        self._source, self._root = source, root
        self._damaged = 0

    def read(self) -> Batch:
        """The samples that the command prints. Raises OSError if it fails or exceeds a limit."""
        text = self._output()
        batch = Batch((), self._root.now_ns())
        batch.samples = self._samples(text, batch)
        return batch

    def _samples(self, text: bytes, batch: Batch) -> Iterator[Sample]:
        if text.lstrip()[:1] in (b"{", b"["):
            try:
                yield from from_json(text)
            except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
                batch.problems["output"] = f"not the JSON of docs/own-metrics.md: {error!r}"
            return
        exposition = Exposition(text)
        yield from exposition
        self._damaged += exposition.damaged
        batch.values["metricset.damaged.count"] = self._damaged
        if exposition.damaged:
            batch.problems["output"] = f"{exposition.damaged} damaged lines, such as {exposition.example}"

    def _output(self) -> bytes:
        source = self._source
        limits = [str(source.max_memory), str(source.deadline_s), *_identity(source.user), *source.command]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LIMITED, *limits],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        try:
            output, errors = self._printed(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also what it left in the background
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        if process.returncode:
            raise OSError(_failure(process.returncode, errors))
        return output

    def _printed(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """Output and errors, when the command has ended. Raises OSError if it exceeds a limit."""
        end = time.monotonic() + self._source.deadline_s
        output, errors = bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            for pipe, text in ((process.stdout, output), (process.stderr, errors)):
                assert pipe
                selector.register(pipe, selectors.EVENT_READ, text)
            while selector.get_map():
                ready = selector.select(max(0.0, end - time.monotonic()))
                if not ready:
                    raise TimeoutError(f"the command takes longer than {self._source.deadline_s} s")
                for key, _ in ready:
                    _take(selector, key.fileobj, key.data)
                del errors[_MOST_ERRORS:]
                if len(output) > self._source.max_bytes:
                    raise OSError(f"the command prints more than max_bytes = {self._source.max_bytes}")
        try:
            process.wait(max(0.01, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the command takes longer than {self._source.deadline_s} s") from None
        return bytes(output), bytes(errors)


def _take(selector: selectors.BaseSelector, pipe: IO[bytes] | Any, text: bytearray) -> None:
    chunk = os.read(pipe.fileno(), _CHUNK)
    text += chunk
    if not chunk:
        selector.unregister(pipe)


def _identity(user: str) -> tuple[str, str, str]:
    """Uid, gid and name to change to, empty to change nothing. Raises OSError."""
    if not user:
        if os.geteuid() == 0:
            raise OSError("user must be set, because the shipper runs as root")
        return "", "", ""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise OSError(f"user {user}: no such user here") from None
    return ("", "", "") if found.pw_uid == os.geteuid() else (str(found.pw_uid), str(found.pw_gid), user)


def _failure(status: int, errors: bytes) -> str:
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    first = visible(errors.decode("utf-8", "replace").strip().partition("\n")[0])
    return f"the command ended with {how}{': ' if first else ''}{first}"


def from_json(text: bytes) -> Iterator[Sample]:
    """Samples of an object, or of a list of ``{"name", "value", "labels", "type"}``. Raises for other JSON."""
    content = json.loads(text)
    if isinstance(content, list):
        for one in content:
            labels = tuple((name, str(value)) for name, value in one.get("labels", {}).items())
            counter = one.get("type") == "counter"
            yield from (
                sample._replace(labels=labels, counter=counter) for sample in _flat(str(one["name"]), one["value"])
            )
    else:
        yield from _flat("", content)


def _flat(name: str, value: object, depth: int = 0) -> Iterator[Sample]:
    if isinstance(value, Mapping) and depth < _DEEPEST:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else key, inner, depth + 1)
    elif isinstance(value, int | float) and abs(value) < 1 << 1023 and math.isfinite(value):
        yield Sample(name, (), float(value))
