"""One tick: all collectors once, their readings made into documents. No network, no disk but the kernel's files."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from shipper import __version__
from shipper.agent import Agent, Report
from shipper.collect import COLLECTORS
from shipper.collect.contract import Collect, Collector
from shipper.collect.identity import ENTITY
from shipper.config import Config
from shipper.document import Writer
from shipper.isolate import Crew, Outcome
from shipper.kibana import PERIOD
from shipper.rates import Reading, Value, rates
from shipper.registry import AGENT, DATASETS, HOST, Dataset
from shipper.source import Problem, Reader, Root
from shipper.spool import Entry
from shipper.templates import dated_index, stream

_NS_PER_S: Final = 1_000_000_000
_NEVER: Final = -(1 << 62)
_AGENT_COUNTERS: Final = tuple(one for one in DATASETS[AGENT].fields if one.rate)


@dataclass
class _Job:
    """A collector at work: its reader, and what it read last."""

    collector: Collector
    reader: Reader
    collect: Collect
    before: dict[str, Reading] = field(default_factory=dict)
    last_ns: int = _NEVER

    def due(self, now_ns: int, period_s: int) -> bool:
        pause_ns = (max(self.collector.pause_s, period_s) - period_s / 2) * _NS_PER_S
        return not self.collector.pause_s or now_ns - self.last_ns >= pause_ns

    def run(self) -> tuple[list[Reading], list[Problem]]:
        return list(self.collect()), self.reader.take_problems()


@dataclass(frozen=True)
class Identity:
    """What every document says of the host."""

    name: str
    id: str
    labels: Mapping[str, str]

    def envelope(self, dataset: Dataset, tick_ms: int) -> dict[str, Value]:
        values: dict[str, Value] = {
            "@timestamp": timestamp(tick_ms),
            "host.name": self.name,
            "host.id": self.id,
            "event.module": dataset.module,
            "event.dataset": f"shipper.{dataset.name}",
        }
        return values | ({"labels": dict(self.labels)} if self.labels else {})


def timestamp(tick_ms: int) -> str:
    """``2026-11-23T18:00:00.000Z``."""
    return datetime.fromtimestamp(tick_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Ticker:
    """Makes the documents of each tick; remembers the readings before for the rates."""

    def __init__(self, config: Config, root: Root, identity: Identity, agent: Agent) -> None:
        self._config = config
        self._identity = identity
        self._agent = agent
        self._agent_before: Reading | None = None
        self._root = root
        self._crew: Crew[tuple[list[Reading], list[Problem]]] = Crew(config.collect.deadline_s)
        wanted = set(config.collect.datasets)
        self._jobs = [_job(one, root, config) for one in COLLECTORS if one.dataset in wanted]
        self._writers = {name: Writer(DATASETS[name].fields) for name in wanted}

    def prime(self) -> None:
        """Read the counters once, so that the first tick has rates; also of the collectors that pause between ticks."""
        self._read(Report(0))
        for job in self._jobs:
            job.last_ns = _NEVER

    def tick(self, tick_ms: int, report: Report) -> list[Entry]:
        """All documents of the tick, the agent's last; what went wrong is noted in ``report``."""
        readings = self._read(report)
        values = [(dataset, one) for dataset, found in self._values(readings, report) for one in found]
        self._name_cgroups(values)
        entries = [self._entry(dataset, tick_ms, one, report) for dataset, one in values]
        if AGENT in self._writers:
            entries.append(self._entry(AGENT, tick_ms, self._agent_values(report), report))
        return entries

    def _read(self, report: Report) -> list[tuple[_Job, list[Reading]]]:
        """Readings of all collectors that are due, with rates merged into copies of their values."""
        now_ns = self._root.now_ns()
        due = {job.collector.name: job for job in self._jobs if job.due(now_ns, self._config.collect.period_s)}
        outcomes = self._crew.run([(name, job.run) for name, job in due.items()])
        result = []
        for name, outcome in outcomes.items():
            job = due.get(name)
            readings = _note(name, outcome, report)
            if job is not None and readings is not None:
                job.last_ns = now_ns
                result.append((job, [_with_rates(job, reading) for reading in readings]))
                job.before = {reading.entity: reading for reading in readings}
        return result

    def _values(
        self, read: Iterable[tuple[_Job, list[Reading]]], report: Report
    ) -> Iterator[tuple[str, list[dict[str, Value]]]]:
        """Values of the documents by dataset: the host's collectors in one, the others one per entity."""
        host: dict[str, Value] = {}
        host_jobs = []
        for job, readings in read:
            if job.collector.dataset == HOST:
                for reading in readings:
                    host |= reading.values
                host_jobs.append(job)
                continue
            for reading in readings:
                _derive(job, reading.values, report)
            yield job.collector.dataset, [reading.values for reading in readings]
        for job in host_jobs:
            _derive(job, host, report)
        if host:
            yield HOST, [{"agent.version": __version__, PERIOD.name: self._config.collect.period_s * 1000, **host}]

    def _name_cgroups(self, values: Iterable[tuple[str, dict[str, Value]]]) -> None:
        """Cgroups' names become unique in the fleet, and processes learn the name of theirs."""
        names: dict[Value, Value] = {}
        processes = []
        for dataset, one in values:
            if ENTITY.name in one:
                names[one["cgroup.path"]] = one[ENTITY.name] = f"{one[ENTITY.name]}@{self._identity.name}"
            elif dataset == "process":
                processes.append(one)
        for one in processes:
            if one.get("cgroup.path") in names:
                one[ENTITY.name] = names[one["cgroup.path"]]

    def _agent_values(self, report: Report) -> dict[str, Value]:
        reading = Reading("", self._root.now_ns(), self._agent.values(report))
        values = reading.values | rates(reading, self._agent_before, _AGENT_COUNTERS)
        self._agent_before = reading
        return values

    def _entry(self, name: str, tick_ms: int, values: dict[str, Value], report: Report) -> Entry:
        dataset, writer = DATASETS[name], self._writers[name]
        document = self._identity.envelope(dataset, tick_ms) | values
        try:
            line = writer.write(document)
        except KeyError as unknown:
            report.failed[f"dataset {name}"] = f"field {unknown} is not declared"
            document = writer.known(document)
            line = writer.write(document)
        return Entry(self._action(dataset, tick_ms, document), line)

    def _action(self, dataset: Dataset, tick_ms: int, document: Mapping[str, Value]) -> bytes:
        """In a data stream the server makes the id of dimensions and time; for a dated index it is made here."""
        if self._config.index.layout == "datastream":
            return b'{"create":{"_index":"%b"}}' % stream(dataset.name, self._config.index.namespace).encode()
        key = json.dumps([dataset.name, tick_ms, *(document.get(name) for name in dataset.dimensions)])
        id_ = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:32]
        return b'{"create":{"_index":"%b","_id":"%b"}}' % (dated_index(dataset.name, tick_ms).encode(), id_.encode())


def _job(collector: Collector, root: Root, config: Config) -> _Job:
    reader = Reader(root)
    return _Job(collector, reader, collector.start(reader, config))


def _note(name: str, outcome: Outcome[tuple[list[Reading], list[Problem]]], report: Report) -> list[Reading] | None:
    """Enter the outcome in the report; the readings, if there are any."""
    if outcome.stuck:
        report.stuck.append(name)
    elif outcome.error:
        report.failed[name] = outcome.error
    elif outcome.value:
        readings, problems = outcome.value
        report.durations_us[name] = outcome.duration_ns // 1000
        known = {problem for _, problem in report.problems}  # two collectors may read one file
        report.problems += [(name, problem) for problem in dict.fromkeys(problems) if problem not in known]
        return readings
    return None


def _with_rates(job: _Job, reading: Reading) -> Reading:
    found = rates(reading, job.before.get(reading.entity), job.collector.counters)
    return Reading(reading.entity, reading.at_ns, {**reading.values, **found}, reading.identity)


def _derive(job: _Job, values: dict[str, Value], report: Report) -> None:
    try:
        values |= job.collector.derive(values)
    except Exception as error:  # noqa: BLE001 – as in isolate: the document goes out without these fields
        report.failed[job.collector.name] = f"{type(error).__name__}: {error}"
