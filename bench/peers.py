"""The same work by others, side by side: ``python -m bench.peers --telegraf PATH --metricbeat PATH … --cgroups 100``.

Peers are programs that you have installed; only those named are measured. Each reads this host every second, and the
files of the same real cgroups where it can read cgroups, and sends to ``bench.sink`` by its own Elasticsearch output
where it has one; node_exporter is scraped. Each runs twice, with and without the cgroups: the difference is what one
container's sample costs. CPU is that of the process and its children over the seconds measured, after a start that is
not counted. Needs root.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from bench import peer_settings, table
from bench.bare import command
from bench.cgroups import Account, cgroups

_START_S = 6.0
_SHIPPER = "shipper"


@dataclass
class Sample:
    """One peer over some seconds, a tick each."""

    ticks: int
    cpu_ms: float
    rss_mib: float
    documents: float
    numbers: float
    wire_bytes: float


@dataclass
class Result:
    """Per tick. ``container``: of one container's sample, whatever number of documents it is sent as."""

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
    """``bench.sink``, and what it counted."""

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
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, int] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """A program at work. ``cpu_ms`` since it was started."""

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
            by_hand = " ".join(self._arguments)
            raise SystemExit(f"{self._arguments[0]} ended with {ended}: run it by hand: {by_hand}")

    def cpu_ms(self) -> float:
        return self._account.ms()

    def rss_mib(self) -> float:
        process = psutil.Process(self._process.pid)
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / (1 << 20)


def pushed(arguments: Callable[[str, Path], Sequence[str]], seconds: int) -> Sample:
    """A peer that sends to the address given to ``arguments``, with settings in the directory."""
    sink = Sink()
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as directory:
        line = arguments(f"http://127.0.0.1:{sink.port}", Path(directory))
        with Peer(line, {"HOME": directory}) as peer:
            time.sleep(_START_S)
            before, cpu = sink.counts(), peer.cpu_ms()
            time.sleep(seconds)
            after, cpu_after, rss = sink.counts(), peer.cpu_ms(), peer.rss_mib()
    sink.close()
    if after["documents"] == before["documents"]:
        raise SystemExit(f"{line[0]} sent nothing: run it by hand: {' '.join(line)}")
    sent = {name: after[name] - before[name] for name in before}
    return Sample(seconds, cpu_after - cpu, rss, sent["documents"], sent["numbers"], sent["wire_bytes"])


def scraped(arguments: Sequence[str], url: str, seconds: int) -> Sample:
    """A peer that is asked each second; a number is a line of its answer."""

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
            size, found = ask()
            wire, numbers = wire + size, numbers + found
            time.sleep(1)
        cpu_after, rss = peer.cpu_ms(), peer.rss_mib()
    return Sample(seconds, cpu_after - cpu, rss, seconds, numbers, wire)


def shipper(url: str, directory: Path, datasets: str) -> list[str]:
    run = ["run", "--period", "1s", "--spool", str(directory / "spool"), "--host-verify", "false"]
    run += ["--elasticsearch-hosts", url, "--collect-datasets", datasets]
    return command(*run)


def compare(peer: str, sample: Callable[[str], Sample], count: int, *, reads_cgroups: bool) -> Result:
    """``sample`` is given the cgroups' parent, empty where there are none."""
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in peer_settings.PUSHED:
        parser.add_argument(f"--{name}", metavar="PATH")
    parser.add_argument("--node-exporter", metavar="PATH")
    parser.add_argument("--cgroups", type=int, default=100, help="containers (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="measured of each run (%(default)s)")
    args = parser.parse_args(arguments)
    datasets = "host,disk,filesystem,network,raid,sensor,cgroup,agent"

    def ours(_parent: str) -> Sample:
        return pushed(lambda url, directory: shipper(url, directory, datasets), args.seconds)

    results = [compare(_SHIPPER, ours, args.cgroups, reads_cgroups=True)]
    for name, settings in peer_settings.PUSHED.items():
        path = getattr(args, name)
        if path:

            def theirs(parent: str, settings: Any = settings, path: str = path) -> Sample:
                return pushed(lambda url, directory: settings.write(path, url, directory, parent), args.seconds)

            try:
                results.append(compare(name, theirs, args.cgroups, reads_cgroups=settings.reads_cgroups))
            except SystemExit as why:  # the others are worth their figures
                print(why, file=sys.stderr)
    if args.node_exporter:
        line = [args.node_exporter, "--web.listen-address=127.0.0.1:29100"]
        url = "http://127.0.0.1:29100/metrics"
        results.append(
            compare("node_exporter", lambda _parent: scraped(line, url, args.seconds), 0, reads_cgroups=False)
        )
    for one in results[1:]:
        if one.container_us and results[0].container_us:
            one.times_shipper = one.container_us / results[0].container_us
    rows = [asdict(one) for one in results]
    table.show(f"per tick; {args.cgroups} containers", rows)
    table.line("peers", {"cgroups": args.cgroups, "results": rows})


if __name__ == "__main__":
    main()
