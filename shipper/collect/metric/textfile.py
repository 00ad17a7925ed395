"""Text files of other programs, as those of node_exporter's textfile collector: ``*.prom`` in a directory.

A program replaces its file with rename(2). Each number has the label ``textfile``, the name of the file, and each file
the number ``textfile_age_seconds``, because a program that no longer runs leaves its last numbers behind. A rate is the
growth between two versions of a file.
https://github.com/prometheus/node_exporter#textfile-collector
"""

import errno
import os
from collections.abc import Iterator
from typing import Final

from shipper.collect.metric.exposition import Exposition
from shipper.collect.metric.samples import Batch, Sample
from shipper.kernel.source import Root
from shipper.settings.sources import Textfile

_ENDING: Final = ".prom"
_MOST_FILES: Final = 1000
_LABEL: Final = "textfile"
_AGE: Final = "textfile_age_seconds"
_DAMAGED: Final = "metricset.damaged.count"


class Textfiles:
    """The files of one directory below the host root."""

    def __init__(self, source: Textfile, root: Root) -> None:
        self._source, self._root = source, root
        self._versions: dict[str, tuple[tuple[int, int], int]] = {}
        self._damaged = 0

    def read(self) -> Batch:
        """The samples of all files. Raises OSError if the directory cannot be read."""
        names = sorted(name for name in self._root.names(self._source.directory, _MOST_FILES) if name.endswith(_ENDING))
        self._versions = {name: version for name, version in self._versions.items() if name in names}
        batch = Batch((), self._root.now_ns())
        batch.samples = self._samples(names, batch)
        return batch

    def _samples(self, names: list[str], batch: Batch) -> Iterator[Sample]:
        left = self._source.max_bytes
        for name in names:
            path = f"{self._source.directory}/{name}"
            try:
                status = self._root.stat(path)
                # A link would lead users of the host to files that only this process may read
                text = self._root.read_owned(path, None, left, os.O_NOFOLLOW)
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as error:
                link = error.errno == errno.ELOOP
                batch.problems[path] = "a symbolic link" if link else error.strerror or type(error).__name__
                continue
            left -= len(text)
            labels = ((_LABEL, name),)
            age_ns = self._root.wall_ns() - status.st_mtime_ns
            yield Sample(_AGE, labels, age_ns / 1e9)
            at_ns = self._made_ns(name, (status.st_ino, status.st_mtime_ns), age_ns)
            exposition = Exposition(text)
            for sample in exposition:
                yield sample._replace(labels=(*sample.labels, *labels), at_ns=at_ns)
            self._note(path, exposition, batch)

    def _note(self, path: str, exposition: Exposition, batch: Batch) -> None:
        self._damaged += exposition.damaged
        batch.values[_DAMAGED] = self._damaged
        if exposition.damaged:
            batch.problems[path] = f"{exposition.damaged} damaged lines, such as {exposition.example}"

    def _made_ns(self, name: str, version: tuple[int, int], age_ns: int) -> int:
        """When the file was made, on the clock of the rates: the same for as long as the file is the same."""
        known = self._versions.get(name)
        if known is None or known[0] != version:
            known = self._versions[name] = version, self._root.now_ns() - age_ns
        return known[1]
