"""Whether a container costs the same among many: ``python -m bench.scaling --cgroups 100,1000,3000``.

A tick of the dataset of cgroups, from the walk to the documents, of the benchmark's cgroups alone: all others are
excluded. The same without any of them is measured in the same way and subtracted. Each number of containers gets the
same number of samples of containers, so a small number gets more ticks. The rounds go through all numbers by turns.
Prints CPU time per container: the median over all ticks, and between which values half of the ticks and the medians of
the rounds are. Needs root.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_PAUSE_S = 0.2  # between ticks, so that others use the caches meanwhile
_UNTIL_HELD_S = 6  # until the values of idle cgroups are held
_FEWEST, _MOST = 8, 200  # ticks of a round
_TICKS = "--ticks-of"


def ticks_us(ticks: int, parent: str, count: int) -> list[float]:
    """CPU time of each tick in µs. ``parent``: the cgroup whose ``count`` children are collected; empty for none."""
    from shipper.agent import loop  # noqa: PLC0415 – only the child needs them
    from shipper.agent.self_metrics import Report, SelfMetrics  # noqa: PLC0415
    from shipper.agent.tick import Ticker  # noqa: PLC0415
    from shipper.collect.cgroup.cgroups import Options  # noqa: PLC0415
    from shipper.kernel.hierarchy import detect  # noqa: PLC0415
    from shipper.kernel.source import Reader, Root  # noqa: PLC0415
    from shipper.settings.config import Collect, Config, Host  # noqa: PLC0415

    bases = detect(Reader(Root())).hierarchies.values()
    others = {name for base in bases for name, _ in Root().directories(base) if name != parent}
    options = Options(cgroup_exclude=tuple(f"/{name}" for name in others))
    collect = Collect(period_s=1, datasets=("cgroup",))
    config = Config(collect=collect, host=Host(verify=False), collectors=(options,))
    root, identity = loop.host(config)
    ticker = Ticker(config, root, identity, SelfMetrics(None, None))
    ticker.prime()
    took: list[float] = []
    start_ms = time.time_ns() // 1_000_000_000 * 1000
    for tick in range(_UNTIL_HELD_S + ticks):
        time.sleep(1 if tick < _UNTIL_HELD_S else _PAUSE_S)
        began_ns = time.process_time_ns()
        documents = len(ticker.tick(start_ms + tick * 1000, Report(1000)))
        if documents < count:
            raise SystemExit(f"{documents} documents of {count} containers")
        took.append((time.process_time_ns() - began_ns) / 1000)
    return took[_UNTIL_HELD_S:]


@dataclass
class Result:
    """µs per container: ``ticks`` of all rounds, ``rounds``: the median of each."""

    cgroups: int
    ticks: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)


def _child(ticks: int, parent: str, count: int) -> list[float]:
    from bench.bare import command  # noqa: PLC0415

    line = command(_TICKS, str(ticks), parent, str(count), module="bench.scaling")
    took: list[float] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return took


def measure(counts: Sequence[int], samples: int, rounds: int, *, busy: bool) -> list[Result]:
    """The results for each number of containers, with about ``samples`` of containers in each round."""
    from bench.cgroups import cgroups  # noqa: PLC0415

    results = [Result(count) for count in counts]
    for _ in range(rounds):
        without = statistics.median(_child(_MOST, "", 0))
        for result in results:
            with cgroups(result.cgroups, busy=busy) as parent:
                ticks = _child(min(max(samples // result.cgroups, _FEWEST), _MOST), parent, result.cgroups)
            each = [(tick - without) / result.cgroups for tick in ticks]
            result.ticks += each
            result.rounds.append(statistics.median(each))
    return results


def main() -> None:
    if sys.argv[1:2] == [_TICKS]:
        print(json.dumps(ticks_us(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cgroups", default="100,1000,3000", help="numbers of containers (%(default)s)")
    parser.add_argument("--samples", type=int, default=20_000, help="of containers, in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="by turns (%(default)s)")
    parser.add_argument("--busy", action="store_true", help="containers do some work, five times a second each")
    args = parser.parse_args()
    results = measure([int(count) for count in args.cgroups.split(",")], args.samples, args.rounds, busy=args.busy)
    _print(results, busy=args.busy)


def _print(results: Sequence[Result], *, busy: bool) -> None:
    from bench import table  # noqa: PLC0415 – its packages are not on a node

    first = statistics.median(results[0].ticks)
    rows = []
    for result in results:
        quarter, middle, three = statistics.quantiles(result.ticks, n=4)
        rows.append({
            "cgroups": result.cgroups,
            "ticks": len(result.ticks),
            "µs per container": middle,
            "25 %": quarter,
            "75 %": three,
            "lowest round": min(result.rounds),
            "highest round": max(result.rounds),
            "times the first": middle / first,
        })  # fmt: skip
    table.show(f"CPU per container, {'busy' if busy else 'idle'}", rows)
    table.line("scaling", {"busy": busy, "results": rows})


if __name__ == "__main__":
    main()
