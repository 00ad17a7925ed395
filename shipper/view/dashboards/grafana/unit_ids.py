"""Our units → Grafana's ids of units: https://github.com/grafana/grafana, packages/grafana-data, valueFormats."""

from typing import Final

UNITS: Final = {
    "": "none",
    "bytes": "bytes",
    "count": "short",
    "pct": "percentunit",
    "ns": "ns",
    "us": "µs",
    "ms": "ms",
    "s": "s",
    "per_s": "suffix: /s",
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
