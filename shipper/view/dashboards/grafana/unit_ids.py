"""Our units → Grafana's ids of units: https://github.com/grafana/grafana, packages/grafana-data, valueFormats."""

from typing import Final

from shipper.view.dashboards.model import counted

UNITS: Final = {
    "": "none",
    "bytes": "bytes",
    "count": "short",
    "pct": "percentunit",
    "ns": "ns",
    "us": "µs",
    "ms": "ms",
    "s": "s",
    "per_s": "count:/s",
    "bytes/s": "binBps",
    "us/s": "short",
    "ms/s": "short",
    "cores": "suffix: CPU",
    "mbit/s": "Mbits",
    "bits": "bits",
    "hz": "hertz",
    "celsius": "celsius",
    "rpm": "rotrpm",
    "volts": "volt",
    "watts": "watt",
    "amperes": "amp",
    "ppm": "ppm",
    "load": "short",
    "date": "dateTimeAsIso",
}
_OF_RATES: Final = {"packets": "pps", "operations": "iops"}


def unit_id(unit: str, field: str) -> str:
    """Grafana's id for values of ``field``: packets and I/O operations per second have units of their own."""
    if unit == "per_s":
        return _OF_RATES.get(counted(field), UNITS[unit])
    return UNITS[unit]
