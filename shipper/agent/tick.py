"""One tick: runs all collectors once and makes documents of their readings. It uses no network and no disk."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from shipper import __version__
from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.base.isolate import Crew, Outcome
from shipper.base.tick_times import timestamp
from shipper.collect import COLLECTORS, plugins
from shipper.collect.contract import Collect, Collector, Output
from shipper.deliver.document import Writer
from shipper.deliver.segment import Entry
from shipper.fields import dynamic, lean
from shipper.fields.aliases import PERIOD
from shipper.fields.dataset import AGENT, METRIC
from shipper.fields.field import host_label
from shipper.fields.rates import Counters, Kept, Reading, Value
from shipper.kernel.every import Every
from shipper.kernel.source import Problem, Reader, Root
from shipper.schema.datasets import DATASETS, Dataset
from shipper.schema.stream_names import dated_index, stream
from shipper.settings.config import Config

_NS_PER_S: Final = 1_000_000_000
_LOOK_AGAIN_S: Final = 300
_NEVER: Final = -(1 << 62)
_AGENT_COUNTERS: Final = Counters(counter for counter in DATASETS[AGENT].fields if counter.rate)

Write = Callable[[dict[str, Value], dict[str, str]], Entry]
"""Values of a document → its entry; faults are added to the second argument."""
Action = Callable[[dict[str, Value]], bytes]
"""Values of a document → its bulk action."""


@dataclass(slots=True)
class _Turn:
    """The result of a turn of a collector: documents, and readings of datasets to which other collectors add, too."""

    readings: list[Reading] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


class _Job:
    """A running collector: its reader, and the counters that it read last.

    The first turn starts it, so that a start that raises or hangs is handled like a turn.
    """

    def __init__(self, collector: Collector, root: Root, config: Config) -> None:
        self.collector = collector
        self.outputs = {name: output for name, output in collector.outputs.items() if name in config.collect.datasets}
        self._reader = Reader(root)
        self._config = config
        self.collect: Collect | None = None
        self._before: dict[str, dict[str, Kept]] = {name: {} for name in self.outputs}
        self._turn_ns = _NEVER
        self._every = Every(collector.every_s, config.collect.period_s / 2)
        self._look_for_absent = Every(_LOOK_AGAIN_S)
        self._absent: dict[str, str] = {}
        self._known: frozenset[str] = frozenset()

    def due(self, now_ns: int) -> bool:
        """Whether it has a turn at this tick."""
        return not self.collector.every_s or self._every.due(now_ns)

    def retry(self) -> None:
        """Have the next turn at the next tick, because this one failed."""
        self._every.now()

    def forget_turn(self) -> None:
        """The last turn was only to read counters: the next one is due at once, and reports all problems as new."""
        self._every.now()
        self._known = frozenset()

    def run(self, write: Mapping[str, Write]) -> _Turn:
        """All readings with their rates; as documents if ``write`` has their dataset."""
        if self.collect is None:
            self.collect = self.collector.start(self._reader, self._config)
        turn = _Turn()
        latest: dict[str, dict[str, Kept]] = {name: {} for name in self.outputs}
        now_ns = self._reader.now_ns()
        late, self._turn_ns = now_ns - self._turn_ns > 1.5 * self._config.collect.period_s * _NS_PER_S, now_ns
        for reading in self.collect():
            output = self.outputs.get(reading.dataset)
            if output is None:  # its dataset is not configured
                continue
            before = self._before[reading.dataset].pop(reading.entity, None)  # frees it now, not after the turn
            grown, latest[reading.dataset][reading.entity] = output.counted.rates(reading, before)
            if late and before:
                _stretch(reading, before)
            reading.values.update(grown)
            if make := write.get(reading.dataset):
                # Each is written before the next is read: values take ten times the memory of their text
                self.derive(output, reading.values, reading.inputs, turn.faults)
                turn.entries.append(make(reading.values, turn.faults))
            else:
                turn.readings.append(reading)
        self._before = latest
        self._note_faults(turn, now_ns)
        return turn

    def _note_faults(self, turn: _Turn, now_ns: int) -> None:
        """Problems that are new. What was a problem in the turn before, and what this host does not have, is absent."""
        if self._look_for_absent.due(now_ns):
            self._absent = self.collector.absent(self._reader)
            self._reader.denied.clear()
        problems = self._reader.take_problems()
        turn.absent = {**self._absent, **self._reader.lacks, **self._reader.denied}
        if problems or self._known:
            turn.problems = [problem for problem in problems if problem.file not in self._known]
            turn.absent |= {problem.file: problem.reason for problem in problems if problem.file in self._known}
            self._known = frozenset(problem.file for problem in problems)

    def derive(
        self, output: Output, values: dict[str, Value], inputs: Mapping[str, int], faults: dict[str, str]
    ) -> None:
        """Add derived fields; an error costs only these and is added to ``faults``."""
        try:
            values |= output.derive(values, inputs)
        except Exception as error:  # noqa: BLE001 – as in isolate: the document goes out without these fields
            faults[self.collector.name] = f"{type(error).__name__}: {error}"


def _stretch(reading: Reading, before: Kept) -> None:
    """After missed ticks the period of a reading includes them, because Kibana divides growth by it."""
    period_ms = reading.values.get(PERIOD.name)
    if not isinstance(period_ms, int):
        return
    periods = round((reading.at_ns - before.at_ns) / (period_ms * 1_000_000))
    if periods > 1:
        reading.values[PERIOD.name] = periods * period_ms


@dataclass(frozen=True)
class HostIdentity:
    """What every document says about the host."""

    name: str
    id: str
    labels: Mapping[str, str]
    label_fields: tuple[str, ...] = ()

    def envelope(self, dataset: Dataset) -> dict[str, Value]:
        """The values that every document of the dataset has at every tick."""
        values: dict[str, Value] = {
            "host.name": self.name,
            "host.id": self.id,
            "event.module": dataset.module,
            "event.dataset": f"shipper.{dataset.name}",
        }
        own = {f"host.labels.{key}": self.labels[key] for key in self.label_fields if key in self.labels}
        return values | own | ({"labels": dict(self.labels)} if self.labels else {})


class Ticker:
    """Makes the documents of each tick; it keeps the previous counters for the rates."""

    def __init__(self, config: Config, root: Root, identity: HostIdentity, agent: SelfMetrics) -> None:
        if not agent.keeps:
            config = replace(config, spool=replace(config.spool, directory=""))
        self._config = config = replace(config, host=replace(config.host, name=identity.name))
        self._identity = identity
        self._agent = agent
        self._agent_before: Kept | None = None
        self._root = root
        self._crew: Crew[_Turn] = Crew(config.collect.deadline_s)
        wanted = set(config.collect.datasets)
        collectors = [one for one in COLLECTORS if wanted.intersection(one.outputs) and one.used(config)]
        self._jobs = [_Job(collector, root, config) for collector in collectors]
        outputs = Counter(dataset for collector in COLLECTORS for dataset in collector.outputs)
        self._own = [dataset for dataset in wanted if outputs[dataset] == 1]  # those of a single collector
        labels = [host_label(key) for key in config.index.label_fields]
        fields = {name: DATASETS[name].fields for name in wanted}
        self._writers = {
            name: Writer((*own, *labels), lean.left_out(own, config.collect.detail)) for name, own in fields.items()
        }
        self._constants: dict[str, Value] = {
            "agent.version": __version__,
            "agent.detail": config.collect.detail,
            PERIOD.name: config.collect.period_s * 1000,
        }

        self._envelopes = {name: self._envelope(DATASETS[name]) for name in wanted}

    def _envelope(self, dataset: Dataset) -> dict[str, Value]:
        constants = {field.name: self._constants[field.name] for field in dataset.constants}
        return {**self._identity.envelope(dataset), **constants}

    def prime(self) -> None:
        """Read all counters once, so that the first tick has rates; also those that are not read at every tick."""
        self._turns(Report(0), {})
        for job in self._jobs:
            job.forget_turn()

    def tick(self, tick_ms: int, report: Report) -> list[Entry]:
        """All documents of the tick, that of the agent last; ``report`` gets what went wrong."""
        turns = self._turns(report, {dataset: self._writer(dataset, tick_ms) for dataset in self._own})
        entries = [entry for _, turn in turns for entry in turn.entries]
        for dataset, values in self._joined(turns, report.failed):
            entries.append(self._writer(dataset, tick_ms)(values, report.failed))
        if AGENT in self._writers:
            entries.append(self._writer(AGENT, tick_ms)(self._agent_values(report), report.failed))
        return entries

    def goodbye(self, tick_ms: int, report: Report) -> list[Entry]:
        """The document that distinguishes a clean stop from an outage: the agent's, if its dataset is configured."""
        if AGENT not in self._writers:
            return []
        values = self._agent.values(report) | {"agent.stopped": True}
        return [self._writer(AGENT, tick_ms)(values, report.failed)]

    def _turns(self, report: Report, write: Mapping[str, Write]) -> list[tuple[_Job, _Turn]]:
        """A turn of each collector that is due; documents of the datasets in ``write`` are made during the turn."""
        now_ns = self._root.now_ns()
        due = {job.collector.name: job for job in self._jobs if job.due(now_ns)}
        report.failed |= plugins.FAULTS
        outcomes = self._crew.run([(name, partial(job.run, write)) for name, job in due.items()])
        turns = []
        for name, outcome in outcomes.items():
            job, turn = due.get(name), _note(name, outcome, report)
            if job and turn:
                turns.append((job, turn))
            elif job:
                job.retry()
        return turns

    def _joined(
        self, turns: Iterable[tuple[_Job, _Turn]], faults: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, Value]]]:
        """Dataset and values of the documents to which several collectors add, one per entity."""
        documents: dict[tuple[str, str], Reading] = {}
        jobs: dict[str, dict[_Job, None]] = {}
        for job, turn in turns:
            for reading in turn.readings:
                jobs.setdefault(reading.dataset, {})[job] = None
                document = documents.setdefault((reading.dataset, reading.entity), reading)
                if document is not reading:
                    document.values.update(reading.values)
                    document.inputs = {**document.inputs, **reading.inputs}
        for (dataset, _), document in documents.items():
            for job in jobs[dataset]:
                job.derive(job.outputs[dataset], document.values, document.inputs, faults)
            yield dataset, document.values

    def _agent_values(self, report: Report) -> dict[str, Value]:
        reading = Reading(AGENT, "", self._root.now_ns(), self._agent.values(report))
        grown, self._agent_before = _AGENT_COUNTERS.rates(reading, self._agent_before)
        return reading.values | grown

    def _writer(self, name: str, tick_ms: int) -> Write:
        dataset, writer = DATASETS[name], self._writers[name]
        envelope = {"@timestamp": timestamp(tick_ms), **self._envelopes[name]}
        action = self._action(dataset, tick_ms)
        if dataset.name == METRIC:
            action = _hinted(action, wanted=self._config.index.layout == "datastream")

        def write(values: dict[str, Value], faults: dict[str, str]) -> Entry:
            document = {**envelope, **values}
            act = action(document)
            try:
                line = writer.write(document)
            except KeyError as unknown:
                faults[f"dataset {name}"] = f"field {unknown} is not declared"
                document = writer.known(document)
                line = writer.write(document)
            return Entry(act, line)

        return write

    def _action(self, dataset: Dataset, tick_ms: int) -> Action:
        """The bulk action of a document; for a dated index it has an id, which a data stream makes itself."""
        if self._config.index.layout == "datastream":
            same = b'{"create":{"_index":"%b"}}' % stream(dataset.name, self._config.index.namespace).encode()
            return lambda _document: same
        index = dated_index(dataset.name, tick_ms).encode()

        def action(document: dict[str, Value]) -> bytes:
            key = json.dumps([dataset.name, tick_ms, *(document.get(name) for name in dataset.dimensions)])
            id_ = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:32]
            return b'{"create":{"_index":"%b","_id":"%b"}}' % (index, id_.encode())

        return action


def _hinted(action: Action, *, wanted: bool) -> Action:
    """``action`` with the dynamic templates of leaves, which ``document`` has until then."""

    def hinted(document: dict[str, Value]) -> bytes:
        hints = document.pop(dynamic.HINTS, None)
        if not hints or not wanted:
            return action(document)
        return b'%b,"dynamic_templates":%b}}' % (action(document)[:-2], json.dumps(hints).encode())

    return hinted


def _note(name: str, outcome: Outcome[_Turn], report: Report) -> _Turn | None:
    """Add the outcome to the report. Returns the turn, if it ended."""
    if outcome.stuck:
        report.stuck.append(name)
    elif outcome.error:
        report.failed[name] = outcome.error
    elif outcome.value:
        turn = outcome.value
        report.durations_us[name] = outcome.duration_ns // 1000
        report.failed |= turn.faults
        report.absent |= turn.absent
        if turn.problems:
            known = {problem for _, problem in report.problems}  # two collectors may read one file
            report.problems += [(name, problem) for problem in turn.problems if problem not in known]
        return turn
    return None
