"""Pressure stall information of the host: ``proc/pressure/{cpu,memory,io,irq}``, parsed by ``parse.pressure``."""

from collections.abc import Iterable

from shipper.collect.contract import Collector, Need, Output, host_reading, plain
from shipper.fields.dataset import HOST
from shipper.fields.field import Field, counter, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import pressure
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


def values(prefix: str, parsed: dict[str, float | int]) -> dict[str, Value]:
    """``some.avg10`` → ``<prefix>.some.avg10.pct``, ``some.total`` → ``<prefix>.some.us``."""
    return {
        f"{prefix}.{key[:4]}.us" if key.endswith(".total") else f"{prefix}.{key}.pct": value
        for key, value in parsed.items()
    }


def collect(reader: Reader) -> Iterable[Reading]:
    """The reading of the host."""
    stalls: dict[str, Value] = {}
    for resource in RESOURCES:
        parsed = reader.parse(f"proc/pressure/{resource}", pressure)
        stalls |= values(f"system.pressure.{resource}", parsed or {})
    return host_reading(reader, stalls)


NEEDS = (
    Need(
        "stall times (system.pressure)",
        ("proc/pressure/cpu", "proc/pressure/memory", "proc/pressure/io"),
        "the kernel has none (Linux 4.20, CONFIG_PSI), or is booted with psi=0",
    ),
)

COLLECTOR = Collector("pressure", plain(collect), {HOST: Output(fields("system.pressure", "proc/pressure/{}"))}, NEEDS)
