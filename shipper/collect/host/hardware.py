"""CPU frequencies, thermal throttling and memory errors. All of these are absent in most virtual machines.

- ``sys/devices/system/cpu/cpuN/cpufreq/scaling_cur_freq`` in kHz (https://docs.kernel.org/admin-guide/pm/cpufreq.html)
- ``sys/devices/system/cpu/cpuN/thermal_throttle/{core,package}_throttle_count`` (x86)
- ``sys/devices/system/edac/mc/mcN/{ce,ue}_count`` (https://docs.kernel.org/driver-api/edac.html)

The kernel counts the throttling of a package on each of its CPUs: the largest count is taken.
"""

import re
from collections.abc import Iterable

from shipper.collect.contract import Collect, Collector, Need, Output, host_reading
from shipper.fields.dataset import HOST
from shipper.fields.field import counter, gauge
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import LARGEST, integer, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

_CPUS = "sys/devices/system/cpu"
_MEMORY = "sys/devices/system/edac/mc"
_CPU = re.compile(r"cpu\d+")
_CONTROLLER = re.compile(r"mc\d+")
_KHZ = 1000

FIELDS = (
    *(
        gauge(f"system.cpu.frequency.{name}.hz", "hz", f"{help_} frequency of a CPU", "cpufreq/scaling_cur_freq")
        for name, help_ in (("min", "Lowest"), ("avg", "Average"), ("max", "Highest"))
    ),
    counter("system.cpu.throttle.core.count", "count", "Times a core was throttled because of its temperature", "core_throttle_count"),
    counter("system.cpu.throttle.package.count", "count", "Times the most throttled CPU package was throttled because of its temperature", "package_throttle_count"),
    counter("system.edac.correctable.count", "count", "Corrected memory errors", f"{_MEMORY}/mcN/ce_count"),
    counter("system.edac.uncorrectable.count", "count", "Uncorrected memory errors", f"{_MEMORY}/mcN/ue_count"),
)  # fmt: skip


def start(reader: Reader, _config: Config) -> Collect:
    """The files are looked for once, at the start."""
    cpus = [name for name in reader.names(_CPUS) if _CPU.fullmatch(name)]
    controllers = [name for name in reader.names(_MEMORY) if _CONTROLLER.fullmatch(name)]
    frequencies = _existing(reader, _CPUS, cpus, "cpufreq/scaling_cur_freq")
    cores = _existing(reader, _CPUS, cpus, "thermal_throttle/core_throttle_count")
    packages = _existing(reader, _CPUS, cpus, "thermal_throttle/package_throttle_count")
    corrected = _existing(reader, _MEMORY, controllers, "ce_count")
    uncorrected = _existing(reader, _MEMORY, controllers, "ue_count")

    def collect() -> Iterable[Reading]:
        values: dict[str, Value] = {}
        speeds = [speed * _KHZ for speed in _numbers(reader, frequencies) if speed * _KHZ <= LARGEST]
        if speeds:
            values["system.cpu.frequency.min.hz"] = min(speeds)
            values["system.cpu.frequency.avg.hz"] = sum(speeds) // len(speeds)
            values["system.cpu.frequency.max.hz"] = max(speeds)
        for name, files, whole_of in (
            ("system.cpu.throttle.core.count", cores, sum),
            ("system.cpu.throttle.package.count", packages, max),
            ("system.edac.correctable.count", corrected, sum),
            ("system.edac.uncorrectable.count", uncorrected, sum),
        ):
            counts = _numbers(reader, files)
            # A part of the sum would look like the sum
            if files and len(counts) == len(files) and whole_of(counts) <= LARGEST:
                values[name] = whole_of(counts)
        return host_reading(reader, values)

    return collect


def _existing(reader: Reader, directory: str, names: Iterable[str], file: str) -> list[str]:
    paths = (f"{directory}/{name}/{file}" for name in names)
    return [path for path in paths if reader.exists(path)]


def _numbers(reader: Reader, paths: Iterable[str]) -> list[int]:
    numbers = (reader.parse(path, lambda text: integer(whole(text))) for path in paths)
    return [number for number in numbers if number is not None]


_VIRTUAL = "not reported by the hardware or its driver, as in most virtual machines"
NEEDS = (
    Need("CPU frequencies (system.cpu.frequency)", (f"{_CPUS}/cpu0/cpufreq/scaling_cur_freq",), _VIRTUAL),
    Need("thermal throttling (system.cpu.throttle)", (f"{_CPUS}/cpu0/thermal_throttle/core_throttle_count",), _VIRTUAL),
    Need("memory errors (system.edac)", (f"{_MEMORY}/mc0",), _VIRTUAL),
)

COLLECTOR = Collector("hardware", start, {HOST: Output(FIELDS)}, NEEDS)
