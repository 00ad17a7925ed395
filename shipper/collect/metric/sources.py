"""The configured sources, each with its own thread, bounds and problems.

A tick starts the readings that are due, and waits a moment for them. What is late comes with the next tick: a slow
endpoint delays no other document. The time of a reading counts for the rates, whenever its documents go out.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from shipper.base.isolate import Errand, Outcome
from shipper.collect.metric.bounds import Bounds, Series
from shipper.collect.metric.documents import Documents
from shipper.collect.metric.samples import Batch
from shipper.collect.metric.textfile import Textfiles
from shipper.fields.rates import Reading, Value
from shipper.kernel.every import Every
from shipper.kernel.source import Reader
from shipper.settings.config import Config
from shipper.settings.sources import Exec, Scrape, Source, Statsd, Textfile

_WAIT_S: Final = 0.25  # of one tick for all sources
_NS_PER_S: Final = 1_000_000_000

_Gathered = tuple[Batch, list[Series]]


class Sources:
    """All sources of the configuration."""

    def __init__(self, reader: Reader, config: Config) -> None:
        self._sources = [_Running(source, reader, config) for source in config.metrics]
        self._first = True

    def readings(self) -> Iterator[Reading]:
        """The readings of all sources that have something new.

        No document is made of what the first turn gives: what is read rarely is kept for the second one.
        """
        first, self._first = self._first, False
        end = time.monotonic() + _WAIT_S
        for source in self._sources:
            source.begin()
        for source in self._sources:
            yield from source.readings(end, first=first)


class _Running:
    """One source."""

    def __init__(self, source: Source, reader: Reader, config: Config) -> None:
        self._source, self._reader = source, reader
        self._place = f"metrics {source.name}"
        self._read = _read(source, reader)
        self._bounds = Bounds(source)
        self._documents = Documents(reader, source.name, source.unit)
        self._errand: Errand[_Gathered] = Errand(self._place)
        self._period_s = getattr(source, "period_s", 0)
        self._every = Every(self._period_s, config.collect.period_s / 2)
        self._held: Outcome[_Gathered] | None = None
        self._began_ns = 0

    def begin(self) -> None:
        """Start a reading, if it is time and the one before has ended."""
        now_ns = self._reader.now_ns()
        if not self._errand.busy and self._every.due(now_ns):
            self._began_ns = now_ns
            self._errand.begin(self._gathered)

    def _gathered(self) -> _Gathered:
        try:
            batch = self._read()
        except OSError as error:
            place = f"{error.filename}: " if isinstance(error.filename, str) else ""
            raise OSError(f"{place}{error.strerror or error}") from None
        return batch, self._bounds.gather(batch.samples, batch.at_ns)

    def readings(self, end: float, *, first: bool) -> Iterator[Reading]:
        """The readings of the source, if it has ended by then (time.monotonic)."""
        outcome, self._held = self._held or self._errand.take(max(0.0, end - time.monotonic())), None
        if outcome is None:
            self._note_delay()
        elif outcome.value is None:
            self._reader.problem(self._place, outcome.error.removeprefix("OSError: "))
        elif first and self._period_s:
            self._held = outcome
        else:
            yield from self._documented(outcome, *outcome.value)

    def _note_delay(self) -> None:
        late_ns = self._reader.now_ns() - self._began_ns
        if self._errand.busy and late_ns > self._source.deadline_s * _NS_PER_S:
            self._reader.problem(self._place, f"no answer in {self._source.deadline_s} s")

    def _documented(self, outcome: Outcome[_Gathered], batch: Batch, gathered: list[Series]) -> Iterator[Reading]:
        for part, reason in batch.problems.items():
            self._reader.problem(f"{self._place}: {part}", reason)
        if self._bounds.problem:
            self._reader.problem(self._place, self._bounds.problem)
        about: dict[str, Value] = {
            "metricset.duration.us": outcome.duration_ns // 1000,
            "metricset.samples.count": self._bounds.samples,
            "metricset.label_sets.count": len(gathered),
            "metricset.dropped.count": self._bounds.dropped + batch.dropped,
            **batch.values,
        }
        yield from self._documents.readings(gathered, about, batch.at_ns, batch.unit)


def _read(source: Source, reader: Reader) -> Callable[[], Batch]:
    """The function that reads ``source``."""
    if isinstance(source, Textfile):
        return Textfiles(source, reader.root).read
    if isinstance(source, Statsd):
        from shipper.collect.metric import statsd  # noqa: PLC0415 – each type loads only its own

        return statsd.Server(source, reader.root).read
    if isinstance(source, Scrape):
        from shipper.collect.metric import scrape  # noqa: PLC0415

        return scrape.Endpoint(source, reader).read
    if isinstance(source, Exec):
        from shipper.collect.metric import command  # noqa: PLC0415

        return command.Command(source, reader.root).read
    raise TypeError(source)
