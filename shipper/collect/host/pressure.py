"""Pressure stall information of the host: ``proc/pressure/{cpu,memory,io,irq}``, parsed by ``parse.pressure``."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import Field, counter, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import pressure, then
from shipper.kernel.source import Reader

RESOURCES = ("cpu", "memory", "io", "irq")


def fields(prefix: str, source: str) -> tuple[Field, ...]:
    """Fields of all four resources below ``prefix``, for the host or a cgroup; {} in ``source`` is the resource."""
    return tuple(field for resource in RESOURCES for field in _of_one(prefix, source.format(resource), resource))


def _of_one(prefix: str, source: str, resource: str) -> list[Field]:
    result: list[Field] = []
    for kind, who in (("some", "at least one task"), ("full", "all tasks")):
        name = f"{prefix}.{resource}.{kind}"
        result += [
            real(
                f"{name}.{span}.pct",
                "pct",
                f"Share of the last {span[3:]} s during which {who} stalled on {resource}",
                f"{source} {kind} {span}",
            )
            for span in ("avg10", "avg60", "avg300")
        ]
        result.append(
            counter(f"{name}.us", "us", f"Time during which {who} stalled on {resource}", f"{source} {kind} total")
        )
    return result


_SPANS: Final = ("avg10", "avg60", "avg300")
_AS_ALWAYS: Final = re.compile(
    rb"some avg10=([0-9.]{4,5}) avg60=([0-9.]{4,5}) avg300=([0-9.]{4,5}) total=([0-9]{1,18})\n"
    rb"full avg10=([0-9.]{4,5}) avg60=([0-9.]{4,5}) avg300=([0-9.]{4,5}) total=([0-9]{1,18})\n"
)


@lru_cache(maxsize=2048)
def _share(percent: bytes) -> float:
    """Percent as 0 to 1; more than 1, also for what is no number, makes the caller parse carefully."""
    try:
        return float(percent) / 100
    except ValueError:
        return math.inf


def parser(prefix: str) -> Callable[[bytes], Mapping[str, Value]]:
    """As ``parse.pressure``, but fast for the form that all kernels since 5.2 write: each container has three such files.

    The values are those of fields below ``prefix``, as of ``values``.
    """
    names = [f"{prefix}.{kind}.{span}.pct" for kind in ("some", "full") for span in _SPANS]
    totals = [f"{prefix}.{kind}.us" for kind in ("some", "full")]
    order = (*names[:3], totals[0], *names[3:], totals[1])
    carefully = then(pressure, lambda stalls: values(prefix, stalls))

    def parse(text: bytes) -> Mapping[str, Value]:
        match = _AS_ALWAYS.fullmatch(text)
        if match is None:
            return carefully(text)
        some10, some60, some300, some, full10, full60, full300, full = match.groups()
        shares = (
            _share(some10), _share(some60), _share(some300), int(some),
            _share(full10), _share(full60), _share(full300), int(full),
        )  # fmt: skip
        if max(shares[:3]) > 1 or max(shares[4:7]) > 1:
            return carefully(text)
        return dict(zip(order, shares, strict=True))

    return parse


def values(prefix: str, parsed: dict[str, float | int]) -> dict[str, Value]:
    """``some.avg10`` → ``<prefix>.some.avg10.pct``, ``some.total`` → ``<prefix>.some.us``."""
    return {
        f"{prefix}.{key[:4]}.us" if key.endswith(".total") else f"{prefix}.{key}.pct": value
        for key, value in parsed.items()
    }


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    stalls: dict[str, Value] = {}
    for file, parse in _FILES.items():
        stalls |= reader.parse_if_any(file, parse) or {}
    return host_reading(reader, stalls)


_FILES: Final = {f"proc/pressure/{resource}": parser(f"system.pressure.{resource}") for resource in RESOURCES}


NEEDS = (
    Need(
        "stall times (system.pressure)",
        ("proc/pressure/cpu", "proc/pressure/memory", "proc/pressure/io"),
        "the kernel has none (Linux 4.20, CONFIG_PSI), or is booted with psi=0",
    ),
)

COLLECTOR = Collector("pressure", plain(collect), {HOST: Output(fields("system.pressure", "proc/pressure/{}"))}, NEEDS)
