"""One tick: all collectors once, their readings made into documents. No network, no disk but the kernel's files."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from shipper import __version__
from shipper.agent.self_metrics import Agent, Report
from shipper.base.isolate import Crew, Outcome
from shipper.base.tick_times import timestamp
from shipper.collect import COLLECTORS
from shipper.collect.cgroup.identity import ENTITY
from shipper.collect.contract import Collect, Collector
from shipper.deliver.document import Writer
from shipper.deliver.segment import Entry
from shipper.fields.aliases import PERIOD
from shipper.fields.dataset import AGENT, HOST
from shipper.fields.field import host_label
from shipper.fields.rates import Reading, Value, kept, rates
from shipper.kernel.source import Problem, Reader, Root
from shipper.schema.datasets import DATASETS, Dataset
from shipper.schema.stream_names import dated_index, stream
from shipper.settings.config import Config

_NS_PER_S: Final = 1_000_000_000
_LOOK_AGAIN_NS: Final = 300 * _NS_PER_S
_NEVER: Final = -(1 << 62)
_AGENT_COUNTERS: Final = tuple(one for one in DATASETS[AGENT].fields if one.rate)


# There may be thousands of these: each is written before the next is read, so that never more than one is in memory as
# values, which take ten times the room of its text
_MANY: Final = "cgroup"

Write = Callable[[dict[str, Value], dict[str, str]], Entry]
"""Values of one document → its entry; faults are noted in the second."""


@dataclass(slots=True)
class _Turn:
    """What one turn of a collector gave: readings, or where there are many the documents made of them."""

    readings: list[Reading] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


@dataclass
class _Job:
    """A collector at work: its reader, and of what it read last the counters.

    It is started by its first turn, so that a start that raises or hangs costs what a turn that does costs.
    """

    collector: Collector
    reader: Reader
    config: Config
    collect: Collect | None = None
    before: dict[str, Reading] = field(default_factory=dict)
    last_ns: int = _NEVER
    turn_ns: int = _NEVER
    looked_ns: int = _NEVER
    absent: dict[str, str] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    def due(self, now_ns: int, period_s: int) -> bool:
        pause_ns = (max(self.collector.pause_s, period_s) - period_s / 2) * _NS_PER_S
        return not self.collector.pause_s or now_ns - self.last_ns >= pause_ns

    def run(self, write: Write | None) -> _Turn:
        """All readings with their rates; as documents where ``write`` is given."""
        if self.collect is None:
            self.collect = self.collector.start(self.reader, self.config)
        turn = _Turn()
        before, counters = {}, self.collector.counters
        now_ns = self.reader.now_ns()
        late, self.turn_ns = now_ns - self.turn_ns > 1.5 * self.config.collect.period_s * _NS_PER_S, now_ns
        for reading in self.collect():
            found = rates(reading, self.before.get(reading.entity), counters)
            before[reading.entity] = kept(reading, counters)
            if late:
                self._stretch(reading)
            if write is None:
                turn.readings.append(Reading(reading.entity, reading.at_ns, {**reading.values, **found}))
            else:
                reading.values.update(found)
                self.derive(reading.values, turn.faults)
                turn.entries.append(write(reading.values, turn.faults))
        self.before = before
        self._tell(turn)
        return turn

    def _stretch(self, reading: Reading) -> None:
        """After missed ticks a reading's period is the whole of them: what was added since is divided by it."""
        former, period_ms = self.before.get(reading.entity), reading.values.get(PERIOD.name)
        if former is None or not isinstance(period_ms, int):
            return
        periods = round((reading.at_ns - former.at_ns) / (period_ms * 1_000_000))
        if periods > 1:
            reading.values[PERIOD.name] = periods * period_ms

    def _tell(self, turn: _Turn) -> None:
        """Problems that are new; one that was there the turn before, and what is absent for good, is told as absent."""
        now_ns = self.reader.now_ns()
        if now_ns - self.looked_ns >= _LOOK_AGAIN_NS:
            self.looked_ns = now_ns
            self.absent = self.collector.absent(self.reader)
            self.reader.denied.clear()
        found = self.reader.take_problems()
        turn.problems = [problem for problem in found if problem.file not in self.known]
        standing = {problem.file: problem.reason for problem in found if problem.file in self.known}
        turn.absent = {**self.absent, **self.reader.lacks, **self.reader.denied, **standing}
        self.known = frozenset(problem.file for problem in found)

    def derive(self, values: dict[str, Value], faults: dict[str, str]) -> None:
        try:
            values |= self.collector.derive(values)
        except Exception as error:  # noqa: BLE001 – as in isolate: the document goes out without these fields
            faults[self.collector.name] = f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Identity:
    """What every document says of the host."""

    name: str
    id: str
    labels: Mapping[str, str]
    label_fields: tuple[str, ...] = ()

    def envelope(self, dataset: Dataset, tick_ms: int) -> dict[str, Value]:
        values: dict[str, Value] = {
            "@timestamp": timestamp(tick_ms),
            "host.name": self.name,
            "host.id": self.id,
            "event.module": dataset.module,
            "event.dataset": f"shipper.{dataset.name}",
        }
        own = {f"host.labels.{key}": self.labels[key] for key in self.label_fields if key in self.labels}
        return values | own | ({"labels": dict(self.labels)} if self.labels else {})


class Ticker:
    """Makes the documents of each tick; remembers the counters before for the rates."""

    def __init__(self, config: Config, root: Root, identity: Identity, agent: Agent) -> None:
        if not agent.keeps:
            config = replace(config, spool=replace(config.spool, directory=""))
        self._config = config
        self._identity = identity
        self._agent = agent
        self._agent_before: Reading | None = None
        self._root = root
        self._names: dict[Value, Value] = {}
        self._crew: Crew[_Turn] = Crew(config.collect.deadline_s)
        wanted = set(config.collect.datasets)
        self._jobs = [_job(one, root, config) for one in COLLECTORS if one.dataset in wanted]
        own = [host_label(key) for key in config.index.label_fields]
        self._writers = {name: Writer((*DATASETS[name].fields, *own)) for name in wanted}

    def prime(self) -> None:
        """Read the counters once, so that the first tick has rates; also of the collectors that pause between ticks."""
        self._turns(Report(0), lambda _dataset: None)
        for job in self._jobs:
            job.last_ns, job.known = _NEVER, frozenset()

    def tick(self, tick_ms: int, report: Report) -> list[Entry]:
        """All documents of the tick, the agent's last; what went wrong is noted in ``report``."""
        names: dict[Value, Value] = {}
        turns = self._turns(report, lambda dataset: self._write_cgroup(tick_ms, names) if dataset == _MANY else None)
        entries: list[Entry] = []
        for dataset, values in self._values(turns, report):
            path = values.get("cgroup.path", "")
            if name := names.get(path) or self._names.get(path):  # what was killed may be gone by now
                values[ENTITY.name] = name
            entries.append(self._writer(dataset, tick_ms)(values, report.failed))
        self._names = names
        entries += [entry for _, turn in turns for entry in turn.entries]
        if AGENT in self._writers:
            entries.append(self._writer(AGENT, tick_ms)(self._agent_values(report), report.failed))
        return entries

    def _turns(self, report: Report, write: Callable[[str], Write | None]) -> list[tuple[_Job, _Turn]]:
        """A turn of each collector that is due; ``write`` tells by dataset how documents are made there and then."""
        now_ns = self._root.now_ns()
        due = {job.collector.name: job for job in self._jobs if job.due(now_ns, self._config.collect.period_s)}
        calls = [(name, partial(job.run, write(job.collector.dataset))) for name, job in due.items()]
        result = []
        for name, outcome in self._crew.run(calls).items():
            job = due.get(name)
            turn = _note(name, outcome, report)
            if job is not None and turn is not None:
                job.last_ns = now_ns
                result.append((job, turn))
        return result

    def _values(self, turns: Iterable[tuple[_Job, _Turn]], report: Report) -> Iterator[tuple[str, dict[str, Value]]]:
        """Values of the documents not yet made, with their dataset: the host's collectors in one, the others each."""
        host: dict[str, Value] = {}
        host_jobs = []
        for job, turn in turns:
            if job.collector.dataset == HOST:
                for reading in turn.readings:
                    host |= reading.values
                host_jobs.append(job)
                continue
            for reading in turn.readings:
                job.derive(reading.values, report.failed)
                yield job.collector.dataset, reading.values
        for job in host_jobs:
            job.derive(host, report.failed)
        if host:
            yield HOST, {"agent.version": __version__, PERIOD.name: self._config.collect.period_s * 1000, **host}

    def _agent_values(self, report: Report) -> dict[str, Value]:
        reading = Reading("", self._root.now_ns(), self._agent.values(report))
        values = reading.values | rates(reading, self._agent_before, _AGENT_COUNTERS)
        self._agent_before = reading
        return values

    def _write_cgroup(self, tick_ms: int, names: dict[Value, Value]) -> Write:
        """Cgroups' names become unique in the fleet; ``names`` gets them by path, for the processes."""
        write = self._writer(_MANY, tick_ms)

        def named(values: dict[str, Value], faults: dict[str, str]) -> Entry:
            if ENTITY.name in values:
                names[values["cgroup.path"]] = values[ENTITY.name] = f"{values[ENTITY.name]}@{self._identity.name}"
            return write(values, faults)

        return named

    def _writer(self, name: str, tick_ms: int) -> Write:
        dataset, writer = DATASETS[name], self._writers[name]
        envelope = self._identity.envelope(dataset, tick_ms)
        action = self._action(dataset, tick_ms)

        def write(values: dict[str, Value], faults: dict[str, str]) -> Entry:
            document = {**envelope, **values}
            try:
                line = writer.write(document)
            except KeyError as unknown:
                faults[f"dataset {name}"] = f"field {unknown} is not declared"
                document = writer.known(document)
                line = writer.write(document)
            return Entry(action(document), line)

        return write

    def _action(self, dataset: Dataset, tick_ms: int) -> Callable[[Mapping[str, Value]], bytes]:
        """In a data stream the server makes the id of dimensions and time; for a dated index it is made here."""
        if self._config.index.layout == "datastream":
            same = b'{"create":{"_index":"%b"}}' % stream(dataset.name, self._config.index.namespace).encode()
            return lambda _document: same
        index = dated_index(dataset.name, tick_ms).encode()

        def action(document: Mapping[str, Value]) -> bytes:
            key = json.dumps([dataset.name, tick_ms, *(document.get(name) for name in dataset.dimensions)])
            id_ = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:32]
            return b'{"create":{"_index":"%b","_id":"%b"}}' % (index, id_.encode())

        return action


def _job(collector: Collector, root: Root, config: Config) -> _Job:
    return _Job(collector, Reader(root), config)


def _note(name: str, outcome: Outcome[_Turn], report: Report) -> _Turn | None:
    """Enter the outcome in the report; the turn, if it came to its end."""
    if outcome.stuck:
        report.stuck.append(name)
    elif outcome.error:
        report.failed[name] = outcome.error
    elif outcome.value:
        turn = outcome.value
        report.durations_us[name] = outcome.duration_ns // 1000
        report.failed |= turn.faults
        report.absent |= turn.absent
        known = {problem for _, problem in report.problems}  # two collectors may read one file
        report.problems += [(name, problem) for problem in dict.fromkeys(turn.problems) if problem not in known]
        return turn
    return None
