"""The user's own numbers, by names that only the user knows: a board for Grafana, whose variables can name fields."""

from shipper.view.dashboards.model import (
    CLUSTER,
    HOSTS,
    NAMESPACE,
    TIME,
    Board,
    Metric,
    Row,
    Split,
    Stat,
    Variable,
    avg,
    lines,
    most,
    table,
    text,
)

_NAME = "metricset.name"
_METRIC, _SPLIT = "$metric", "$split"
_CHOICES = (
    Variable("source", "Source", _NAME, dataset="metric"),
    Variable("metric", "Metric", "", multi=False, dataset="metric", names=r"^metric\..*"),
    Variable(
        "split",
        "One line for each",
        "",
        multi=False,
        dataset="metric",
        names=r"^(attributes\..*|host\.name|cgroup\.entity|container\.id|metricset\.name)$",
    ),
)

_EXPLORE = Row(
    "Chosen metric",
    (
        lines("Mean", "Mean of the chosen metric.", "metric", avg(_METRIC), split=Split(_SPLIT, 25), width=12),
        lines(
            "Highest value", "Maximum of the chosen metric.", "metric", most(_METRIC), split=Split(_SPLIT, 25), width=12
        ),
        table(
            "Values",
            "The chosen metric in the time range, highest value first.",
            "metric",
            Split(_SPLIT, 300, most(_METRIC)),
            most(_METRIC, "maximum"),
            avg(_METRIC, "mean"),
            Metric(Stat.MIN, _METRIC, "minimum"),
            most(TIME, "last seen"),
            width=12,
        ),
        text(
            "A panel of your own",
            "Copy a panel of this row to a dashboard of your own: *Edit*, then replace `$metric` by a field such as "
            "`metric.jobs_total_per_s` and `$split` by a label such as `attributes.queue`. A counter has its rate beside "
            "it: `NAME_per_s`. Averages and rates can be added up over label sets only if each label set is one line.\n\n"
            "In Kibana: *Visualize Library*, *Lens*, data view *Shipper*, then the same fields.",
            width=12,
            height=8,
        ),
    ),
)

_SOURCES = Row(
    "Sources",
    (
        table(
            "Sources",
            "What each source gives in one tick, and what it left out since the agent started: highest values of the hosts.",
            "metric",
            Split(_NAME, 50, most("metricset.samples.count")),
            most("metricset.samples.count", "numbers"),
            most("metricset.label_sets.count", "label sets"),
            most("metricset.dropped.count", "beyond a limit"),
            most("metricset.damaged.count", "damaged lines"),
            most("metricset.lost.count", "lost datagrams"),
            most("metricset.duration.us", "duration"),
            width=24,
        ),
        lines(
            "Numbers in a tick",
            "Numbers of each source in one tick, mean of the hosts.",
            "metric",
            avg("metricset.samples.count"),
            split=Split(_NAME),
        ),
        lines(
            "Label sets in a tick",
            "Label sets of each source in one tick, mean of the hosts; each is one document.",
            "metric",
            avg("metricset.label_sets.count"),
            split=Split(_NAME),
        ),
        lines(
            "Duration of a reading",
            "Time that one reading of each source takes, mean of the hosts.",
            "metric",
            avg("metricset.duration.us"),
            split=Split(_NAME),
        ),
        lines(
            "Numbers beyond a limit",
            "Numbers per second that each source leaves out because of max_series or max_names, mean of the hosts.",
            "metric",
            avg("metricset.dropped.count_per_s"),
            split=Split(_NAME),
        ),
        lines(
            "Damaged lines",
            "Lines per second that are not in the format of the source, mean of the hosts.",
            "metric",
            avg("metricset.damaged.count_per_s"),
            split=Split(_NAME),
        ),
        lines(
            "Datagrams",
            "StatsD datagrams per second, received and dropped by the kernel, mean of the hosts.",
            "metric",
            avg("metricset.received.count_per_s", "received"),
            avg("metricset.lost.count_per_s", "lost"),
            split=Split(_NAME),
        ),
    ),
)

BOARD = Board(
    "shipper-own-metrics",
    "Own metrics",
    "The user's own numbers: choose a metric and what to split it by; below, the sources.",
    (NAMESPACE, CLUSTER, HOSTS, *_CHOICES),
    (_EXPLORE, _SOURCES),
)
