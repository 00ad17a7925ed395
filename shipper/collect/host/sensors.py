"""Temperatures, fans, voltages and power: ``sys/class/hwmon/hwmonN``, and thermal zones if no chip has a temperature.

    hwmon0/name coretemp · temp1_label Package id 0 · temp1_input 41000 (m°C) · fan1_input 1180 (rpm)

https://docs.kernel.org/hwmon/sysfs-interface.html, https://docs.kernel.org/driver-api/thermal/sysfs-api.html
"""

import re
from collections.abc import Iterable, Iterator

from shipper.collect.contract import Collect, Collector, Output
from shipper.fields.field import attribute, dimension, real
from shipper.fields.rates import Reading, Value
from shipper.kernel.parse import first_line, integer, signed, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

DATASET = "sensor"
_HWMON = "sys/class/hwmon"
_THERMAL = "sys/class/thermal"
_INPUT = re.compile(r"((temp|fan|in|power|curr)\d+)_input")
# kind: field, how many of the kernel's units make one of the field's, help
_KINDS = {
    "temp": ("system.sensor.temperature.celsius", 1000, "Temperature"),
    "fan": ("system.sensor.fan.rpm", 1, "Speed of a fan"),
    "in": ("system.sensor.voltage.volts", 1000, "Voltage"),
    "power": ("system.sensor.power.watts", 1_000_000, "Power"),
    "curr": ("system.sensor.current.amperes", 1000, "Current"),
}
_NAME = "system.sensor.name"
_LABEL = "system.sensor.label"

FIELDS = (
    dimension(_NAME, "Chip and input: coretemp-0/temp1, thermal_zone0/temp", f"{_HWMON}/hwmonN"),
    attribute(_LABEL, "Label that the driver gives it", "tempN_label, or a thermal zone's type"),
    *(real(field, field.rpartition(".")[2], help_, f"{kind}N_input") for kind, (field, _, help_) in _KINDS.items()),
)


def start(reader: Reader, _config: Config) -> Collect:
    """One reading per input of a chip."""

    def collect() -> list[Reading]:
        sensors = list(_collect(reader))
        reader.lacks = (
            {} if sensors else {"sensors (system.sensor)": "the kernel has none, as in most virtual machines"}
        )
        return sensors

    return collect


def _collect(reader: Reader) -> Iterator[Reading]:
    sensors = list(_chips(reader))
    if not any("temperature" in name for reading in sensors for name in reading.values):
        sensors += _zones(reader)
    yield from sensors


def _chips(reader: Reader) -> Iterator[Reading]:
    for chip in reader.names(_HWMON):
        driver = _text(reader, f"{_HWMON}/{chip}/name") or chip
        for file in reader.names(f"{_HWMON}/{chip}"):
            match = _INPUT.fullmatch(file)
            if match:
                sensor = f"{driver}-{chip.removeprefix('hwmon')}/{match[1]}"
                label = _text(reader, f"{_HWMON}/{chip}/{match[1]}_label")
                yield from _reading(reader, sensor, label, match[2], f"{_HWMON}/{chip}/{file}")


def _zones(reader: Reader) -> Iterator[Reading]:
    for zone in reader.names(_THERMAL):
        if zone.startswith("thermal_zone"):
            label = _text(reader, f"{_THERMAL}/{zone}/type")
            yield from _reading(reader, f"{zone}/temp", label, "temp", f"{_THERMAL}/{zone}/temp")


def _reading(reader: Reader, sensor: str, label: str, kind: str, path: str) -> Iterable[Reading]:
    field, scale, _ = _KINDS[kind]
    convert = integer if kind == "fan" else signed
    number = reader.parse(path, lambda text: convert(whole(text)))
    if number is None:
        return []
    values: dict[str, Value] = {_NAME: sensor, field: number / scale}
    return [Reading(DATASET, sensor, reader.now_ns(), {**values, _LABEL: label} if label else values)]


def _text(reader: Reader, path: str) -> str:
    return first_line(reader.read(path) or b"")


COLLECTOR = Collector("sensors", start, {DATASET: Output(FIELDS)}, every_s=60)
