r"""The Prometheus text format and OpenMetrics, as endpoints and text files have them.

    # TYPE http_requests_total counter
    http_requests_total{method="post",code="200"} 1027 1395066363000
    # TYPE rpc_seconds histogram
    rpc_seconds_bucket{le="0.1"} 8 # {trace_id="3a"} 0.07

Times, exemplars, help and units are skipped: the time of a document is that of its tick. A line that is damaged costs
only itself. NaN and infinite values, which Elasticsearch cannot store, are skipped.
https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md, https://prometheus.io/docs/specs/om/

prometheus_client has a parser, too. It takes 14 MiB to import, and keeps all samples of a family, however many the text
has; the tests compare it with this one.
"""

import io
import math
import re
from collections.abc import Iterator
from typing import Final

from shipper.collect.metric.samples import Labels, Sample
from shipper.fields.dynamic import TOTAL

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_LINE: Final = re.compile(r'([a-zA-Z_:][\w:]*)?[ \t]*(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]*(\S+)', re.ASCII)
_LABEL: Final = re.compile(rf"\s*(?:([a-zA-Z_]\w*)|{_QUOTED})\s*(?:=\s*{_QUOTED})?\s*(?:,|$)", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(.)")
_LONGEST: Final = 1 << 14  # a line
_MOST_LABELINGS: Final = 1024  # label texts whose labels are remembered
# Type → endings of the names of its samples that are counters
_COUNTERS: Final = {
    "counter": ("", TOTAL),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
}
# Types whose samples are gauges, even with names that end in _total
_LEVELS: Final = frozenset({"gauge", "info", "stateset", "gaugehistogram"})


class Exposition:
    """The samples of a text. ``damaged``: lines that are not in the format; ``example``: the first of them."""

    def __init__(self, text: bytes) -> None:
        self._lines = io.BytesIO(text)  # without a copy
        self.damaged = 0
        self.example = ""
        self._counters: frozenset[str] = frozenset()
        self._family, self._type = "", ""
        self._labelings: dict[str, Labels | None] = {}

    def __iter__(self) -> Iterator[Sample]:
        for raw in self._lines:
            line = raw.decode("utf-8", "replace").strip()
            if line.startswith("#"):
                self._comment(line)
            elif line:
                sample = self._sample(line)
                if sample is None:
                    self.damaged += 1
                    self.example = self.example or line[:40]
                elif math.isfinite(sample.value):
                    yield sample

    def _comment(self, line: str) -> None:
        words = line.split(None, 3)
        if words[1:2] == ["TYPE"] and len(words) == 4:  # noqa: PLR2004 – # TYPE name type
            self._family, self._type = words[2].strip('"'), words[3]
            endings = _COUNTERS.get(self._type, ())
            self._counters = frozenset(self._family + ending for ending in endings)

    def _sample(self, line: str) -> Sample | None:
        match = _LINE.match(line) if len(line) <= _LONGEST else None
        if not match:
            return None
        name, text, number = match.groups()
        labels = self._labels(text) if text else ()
        if labels is None:
            return None
        if name is None:  # {"a.name", label="value"}
            if not labels or labels[0][1]:
                return None
            name, labels = labels[0][0], labels[1:]
        try:
            value = float(number)
        except ValueError:
            return None
        return Sample(name, labels, value, self._is_counter(name))

    def _is_counter(self, name: str) -> bool:
        if name in self._counters:
            return True
        return name.endswith(TOTAL) and not (name == self._family and self._type in _LEVELS)

    def _labels(self, text: str) -> Labels | None:
        """The labels in ``text``; None if it is not in the format. Many samples have the same text."""
        if text in self._labelings:
            return self._labelings[text]
        if len(self._labelings) >= _MOST_LABELINGS:
            self._labelings.clear()
        labels = self._labelings[text] = _parsed(text)
        return labels


def _parsed(text: str) -> Labels | None:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if not match:
            return None
        plain, quoted, value = match.groups()
        name = plain if plain is not None else _unescaped(quoted)
        if value is None and (plain is not None or found):  # only a metric's name has no value
            return None
        found.append((name, _unescaped(value or "")))
        at = match.end()
    return tuple(found)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text
