"""Which resources are short, since when and how badly: arithmetic over the signals, without a server."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Final

from shipper.view.thresholds import Level
from shipper.view.why.series import Line
from shipper.view.why.signals import Kind, Resource, Signal

_SHORTEST: Final = 3  # values; shorter episodes are ignored, unless something is full or errors occurred
_BRIDGED: Final = 2  # values below the threshold that do not end an episode
_CURRENT: Final = 3  # an episode that ended so many values ago is not over
_AT_ONCE: Final = (Kind.FULL, Kind.ERRORS)
_RANK: Final = {Level.OK: 0, Level.WARNING: 1, Level.BAD: 2}


@dataclass(frozen=True, slots=True)
class Episode:
    """A signal beyond its threshold. ``mean``: of the values there. ``cut``: the episode may have begun earlier.

    ``over``: the episode ended before the end of the range.
    """

    signal: Signal
    device: str
    first_ms: int
    last_ms: int
    mean: float
    level: Level
    cut: bool
    over: bool

    @property
    def rank(self) -> tuple[int, float]:
        """Severity: level first, then the mean as a multiple of the threshold."""
        return _RANK[self.level], self.mean / max(self.signal.steps.bad, 1e-6)


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource that is short. ``episodes``: the worst first. ``over``: no longer at the end of the range."""

    resource: Resource
    episodes: tuple[Episode, ...]
    over: bool

    @property
    def level(self) -> Level:
        """The level of the worst episode."""
        return self.episodes[0].level

    @property
    def first_ms(self) -> int:
        """When the first signal went beyond its threshold."""
        return min(episode.first_ms for episode in self.episodes)

    @property
    def last_ms(self) -> int:
        """When the last signal was beyond its threshold."""
        return max(episode.last_ms for episode in self.episodes)

    @property
    def cut(self) -> bool:
        """Whether the shortage may have begun before the range."""
        return any(episode.cut for episode in self.episodes if episode.first_ms == self.first_ms)


@dataclass(frozen=True, slots=True)
class Judgement:
    """``short``: cause before effect, the worst first. ``sound``: names of resources that are not short.

    ``unknown``: resources without any signal of saturation, with the fields that are missing.
    """

    short: tuple[Shortage, ...]
    sound: tuple[str, ...]
    unknown: dict[str, tuple[str, ...]]


def judge(
    resources: Sequence[Resource], lines: Iterable[Line], first_ms: int, last_ms: int, bucket_ms: int
) -> Judgement:
    """Judge the range from ``first_ms`` to ``last_ms``; ``lines`` may begin earlier, to find the onset."""
    by_signal: dict[Signal, list[Line]] = {}
    begin_ms = last_ms
    for line in lines:
        by_signal.setdefault(line.signal, []).append(line)
        begin_ms = min(begin_ms, *line.values)
    short, sound, unknown = [], [], {}
    for resource in resources:
        deciding = [signal for signal in resource.signals if signal.kind is not Kind.UTILISATION]
        known = [line for signal in deciding for line in by_signal.get(signal, ())]
        if not known:
            unknown[resource.name] = tuple(signal.field for signal in deciding)
            continue
        found = [episode for line in known if (episode := latest(line, begin_ms, first_ms, last_ms, bucket_ms))]
        if found:
            found.sort(key=lambda episode: episode.rank, reverse=True)
            short.append(Shortage(resource, tuple(found), all(episode.over for episode in found)))
        else:
            sound.append(resource.name)
    short.sort(key=lambda one: (one.over, -_RANK[one.level]))  # stable: causes stay before effects
    return Judgement(tuple(short), tuple(sound), unknown)


def latest(line: Line, begin_ms: int, first_ms: int, last_ms: int, bucket_ms: int) -> Episode | None:
    """The last episode of a line that reaches into the range. ``begin_ms``: of the first value of any line."""
    signal, values = line.signal, line.values
    spacing_ms = max(bucket_ms, _spacing_ms(values))  # some values come once a minute, whatever the period
    runs: list[list[int]] = []
    for at in (at for at, value in values.items() if at <= last_ms and signal.steps.level(value)):
        if runs and at - runs[-1][-1] <= (_BRIDGED + 1) * spacing_ms:
            runs[-1].append(at)
        else:
            runs.append([at])
    runs = [run for run in runs if signal.kind in _AT_ONCE or len(run) >= _SHORTEST]
    if not runs or runs[-1][-1] < first_ms:
        return None
    run = runs[-1]
    mean = fmean(values[at] for at in run)
    cut = run[0] - begin_ms < spacing_ms
    over = run[-1] < last_ms - _CURRENT * spacing_ms
    return Episode(signal, line.device, run[0], run[-1], mean, signal.steps.level(mean) or Level.WARNING, cut, over)


def _spacing_ms(values: Iterable[int]) -> float:
    times = list(values)
    return median(after - before for before, after in pairwise(times)) if len(times) > 1 else 0.0
