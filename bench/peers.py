"""The same work done by other programs: ``python -m bench.peers --telegraf PATH --metricbeat PATH … --cgroups 100``.

Peers are programs that you have installed; only those that you name are measured. Each reads this host every second,
and, if it can, the files of the same real cgroups. It sends to ``bench.sink`` through its Elasticsearch output, if it
has one; node_exporter and cAdvisor are scraped. Each runs twice, with and without the cgroups: the difference is the
cost of the containers' samples. The shipper is measured with full and with lean documents, and also without the dataset
of cgroups, because other cgroups of the machine count for its host figure. CPU time is that of the process and its
children during the measured seconds, without the start. Needs root.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from bench import peer_settings, table
from bench.bare import command
from bench.cgroups import Account, cgroups
from bench.peer_settings import Scraped, Settings
from shipper.fields import lean

_START_S = 6.0
_CHILDREN_S = 20.0  # longer than the check of a server takes on a busy machine
_SHIPPER = "shipper"
_HOST_DATASETS = "host,disk,filesystem,network,raid,sensor,agent"


@dataclass
class Sample:
    """One peer over some seconds, with one tick per second."""

    ticks: int
    cpu_ms: float
    rss_mib: float
    documents: float
    numbers: float
    wire_bytes: float


@dataclass
class Result:
    """Costs per tick. ``container_…``: of one container's sample, in however many documents it is sent."""

    peer: str
    host_cpu_ms: float
    host_numbers: float
    container_us: float | None
    container_numbers: float | None
    container_documents: float | None
    us_per_number: float
    rss_mib: float
    wire_bytes_per_number: float | None
    times_shipper: float | None = None


@dataclass
class Sink:
    """A process of ``bench.sink``."""

    process: subprocess.Popen[str] = field(
        default_factory=lambda: subprocess.Popen(
            [sys.executable, "-m", "bench.sink", "--numbers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    port: int = 0

    def __post_init__(self) -> None:
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def counts(self) -> dict[str, int]:
        """The counts so far, by name."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counts: dict[str, int] = json.loads(self.process.stdout.readline())
        return counts

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """A running program. ``cpu_ms``: since its start."""

    def __init__(self, arguments: Sequence[str], environ: dict[str, str]) -> None:
        self._arguments = arguments
        self._process = subprocess.Popen(
            arguments, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._account = Account(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._process.poll()
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._account.close()
        if ended is not None:
            line = " ".join(self._arguments)
            raise SystemExit(f"{self._arguments[0]} exited with {ended}; run it by hand: {line}")

    def await_start(self) -> None:
        """Wait for the children that only the start needs, such as the shipper's, which checks the server once."""
        deadline = time.monotonic() + _CHILDREN_S
        while psutil.Process(self._process.pid).children() and time.monotonic() < deadline:
            time.sleep(0.1)

    def cpu_ms(self) -> float:
        """CPU time of the process and its descendants so far."""
        return self._account.ms()

    def rss_mib(self) -> float:
        """Resident memory of the process and its descendants."""
        process = psutil.Process(self._process.pid)
        return float(sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))) / (1 << 20)


def pushed(arguments: Callable[[str, Path], Sequence[str]], seconds: int) -> Sample:
    """A peer that sends its samples. ``arguments``: URL of the sink, directory for its settings → command line."""
    sink = Sink()
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as directory:
        line = arguments(f"http://127.0.0.1:{sink.port}", Path(directory))
        with Peer(line, {"HOME": directory}) as peer:
            time.sleep(_START_S)
            peer.await_start()
            before, cpu = sink.counts(), peer.cpu_ms()
            time.sleep(seconds)
            after, cpu_after, rss = sink.counts(), peer.cpu_ms(), peer.rss_mib()
    sink.close()
    if after["documents"] == before["documents"]:
        raise SystemExit(f"{line[0]} sent nothing; run it by hand: {' '.join(line)}")
    sent = {name: after[name] - before[name] for name in before}
    return Sample(seconds, cpu_after - cpu, rss, sent["documents"], sent["numbers"], sent["wire_bytes"])


def scraped(arguments: Sequence[str], url: str, seconds: int) -> Sample:
    """A peer that is scraped each second; each line of its response counts as a number."""

    def ask() -> tuple[int, int]:
        request = urllib.request.Request(url, headers={"accept-encoding": "gzip"})
        with urllib.request.urlopen(request) as answer:
            raw: bytes = answer.read()
        text = peer_settings.unzipped(raw)
        return len(raw), sum(1 for line in text.split(b"\n") if line and not line.startswith(b"#"))

    with Peer(arguments, {}) as peer:
        time.sleep(_START_S)
        ask()
        cpu = peer.cpu_ms()
        wire = numbers = 0
        for _ in range(seconds):
            size, lines = ask()
            wire, numbers = wire + size, numbers + lines
            time.sleep(1)
        cpu_after, rss = peer.cpu_ms(), peer.rss_mib()
    return Sample(seconds, cpu_after - cpu, rss, seconds, numbers, wire)


def shipper(url: str, directory: Path, datasets: str, detail: str) -> list[str]:
    """The command line of the agent."""
    run = ["run", "--period", "1s", "--spool", str(directory / "spool"), "--host-verify", "false"]
    run += ["--elasticsearch-hosts", url, "--collect-datasets", datasets, "--collect-detail", detail]
    return command(*run)


def compare(peer: str, sample: Callable[[str], Sample], count: int, *, reads_cgroups: bool) -> Result:
    """Run ``sample`` without and with cgroups. Its argument: the cgroups' parent; empty for none."""
    host = sample("")
    per_tick = host.cpu_ms / host.ticks
    result = Result(
        peer,
        per_tick,
        host.numbers / host.ticks,
        None,
        None,
        None,
        host.cpu_ms * 1000 / max(host.numbers, 1),
        host.rss_mib,
        host.wire_bytes / max(host.numbers, 1),
    )
    if reads_cgroups and count:
        with cgroups(count) as parent:
            busy = sample(parent)
        result.container_us = (busy.cpu_ms / busy.ticks - per_tick) / count * 1000
        result.container_numbers = (busy.numbers / busy.ticks - host.numbers / host.ticks) / count
        result.container_documents = (busy.documents / busy.ticks - host.documents / host.ticks) / count
        result.us_per_number = busy.cpu_ms * 1000 / busy.numbers
        result.rss_mib = busy.rss_mib
        result.wire_bytes_per_number = busy.wire_bytes / busy.numbers
    return result


def _ours(count: int, seconds: int) -> Iterator[Result]:
    """The shipper with full and lean documents, and both without the dataset of cgroups."""
    for detail in (lean.FULL, lean.LEAN):
        for datasets in (f"{_HOST_DATASETS},cgroup", _HOST_DATASETS):

            def sample(_parent: str, detail: str = detail, datasets: str = datasets) -> Sample:
                return pushed(lambda url, directory: shipper(url, directory, datasets, detail), seconds)

            alone = datasets == _HOST_DATASETS
            name = f"{_SHIPPER}, {detail}{', host only' if alone else ''}"
            yield compare(name, sample, count, reads_cgroups=not alone)


def _theirs(settings: Settings | Scraped, path: str, seconds: int, parent: str) -> Sample:
    if isinstance(settings, Scraped):
        return scraped(settings.arguments(path, parent), settings.url, seconds)
    return pushed(lambda url, directory: settings.write(path, url, directory, parent), seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in (*peer_settings.PUSHED, *peer_settings.SCRAPED):
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="PATH")
    parser.add_argument("--cgroups", type=int, default=100, help="containers (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="seconds to measure in each run (%(default)s)")
    args = parser.parse_args(arguments)
    results = list(_ours(args.cgroups, args.seconds))
    for name, settings in (peer_settings.PUSHED | peer_settings.SCRAPED).items():
        path = getattr(args, name)
        if path:
            try:
                sample = partial(_theirs, settings, path, args.seconds)
                results.append(compare(name, sample, args.cgroups, reads_cgroups=settings.reads_cgroups))
            except SystemExit as why:  # go on with the other peers
                print(why, file=sys.stderr)
    for result in results[1:]:  # the first is the shipper with full documents
        if result.container_us and results[0].container_us:
            result.times_shipper = result.container_us / results[0].container_us
    rows = [asdict(result) for result in results]
    table.show(f"per tick; {args.cgroups} containers", rows)
    table.line("peers", {"cgroups": args.cgroups, "results": rows})


if __name__ == "__main__":
    main()
