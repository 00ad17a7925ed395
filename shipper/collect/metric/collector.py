"""The collector of the user's own numbers, from the sources that the file configures (``settings.sources``).

What it needs is imported only if there is a source.
"""

from typing import Final

from shipper.collect.cgroup.entities import ENTITY
from shipper.collect.contract import Collect, Collector, Output
from shipper.fields import dynamic
from shipper.fields.dataset import METRIC
from shipper.fields.field import Field, Kind, Type, constant, counter, dimension, gauge
from shipper.kernel.source import Reader
from shipper.settings.config import Config

NAME: Final = "metricset.name"
SERIES: Final = "metricset.series"
_SOURCE: Final = "the source"
FIELDS: Final[tuple[Field, ...]] = (
    dimension(NAME, "Name of the source", "configuration: metrics.name"),
    dimension(
        SERIES, "Hash of the labels and the container, so that each label set has its own documents", "attributes"
    ),
    Field(
        dynamic.METRICS,
        Type.OBJECT,
        Kind.ATTRIBUTE,
        "",
        "The numbers, by the names that the source gives them; beside a counter NAME its rate NAME_per_s",
        _SOURCE,
    ),
    Field(dynamic.LABELS, Type.OBJECT, Kind.ATTRIBUTE, "", "The labels of the numbers", _SOURCE),
    dimension(
        "cgroup.path",
        "Cgroup that the numbers belong to, if the source knows it",
        "configuration: metrics.unit, or the source",
    ),
    ENTITY,
    constant("container.id", "Container or machine that the numbers belong to", "cgroup.path"),
    constant("container.runtime", "Runtime of that container", "cgroup.path"),
    gauge("metricset.duration.us", "us", "Time that one reading of the source took", _SOURCE),
    gauge("metricset.samples.count", "count", "Numbers in this tick", _SOURCE),
    gauge("metricset.label_sets.count", "count", "Label sets in this tick, one document each", _SOURCE),
    counter(
        "metricset.dropped.count", "count", "Numbers left out because they are beyond max_series or max_names", _SOURCE
    ),
    counter("metricset.received.count", "count", "Datagrams that a source of type statsd received", "recv(2)"),
    counter(
        "metricset.lost.count",
        "count",
        "Datagrams that the kernel dropped because the buffer was full",
        "SO_MEMINFO, as drops in proc/net/udp",
    ),
    counter("metricset.damaged.count", "count", "Lines that are not in the format of the source", _SOURCE),
)


def start(reader: Reader, config: Config) -> Collect:
    """The readings of all sources."""
    from shipper.collect.metric.sources import Sources  # noqa: PLC0415 – without a source it costs nothing

    return Sources(reader, config).readings


COLLECTOR: Final = Collector("metrics", start, {METRIC: Output(FIELDS)}, used=lambda config: bool(config.metrics))
