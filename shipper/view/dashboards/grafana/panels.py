"""Charts and numbers of Grafana."""

from collections.abc import Callable, Iterator
from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat as stat_builder
from grafana_foundation_sdk.builders import statushistory, timeseries
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Set

from shipper.view.dashboards.colours import COLOURS
from shipper.view.dashboards.grafana import query as grafana_query
from shipper.view.dashboards.grafana.tables import only_silent, own_thresholds, table
from shipper.view.dashboards.model import Board, Panel, Stat, View, label, steps

_FILL, _STACK_FILL = 8, 30  # opacity, %
_LEGEND_WIDTH: Final = 13  # pixels for each column of the panel: a quarter of it on a page of 1280 pixels
_OVER_WIDTH: Final = 2
_ROOM: Final = 2  # the axis behind a number is so many times as high as its values, so that the line stays below it

Builder = timeseries.Panel | stat_builder.Panel | table_builder.Panel | statushistory.Panel


def _lines(_board: Board, panel: Panel) -> timeseries.Panel:
    several = panel.split or len(panel.metrics) > 1
    made = timeseries.Panel().line_width(1).fill_opacity(_STACK_FILL if panel.stacked else 0 if several else _FILL)
    made.span_nulls(panel.joined_ms or False).show_points(common.VisibilityMode.NEVER).legend(_legend(panel))
    if panel.split:  # one entity has one colour in all panels
        made.color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    made.tooltip(tooltip.sort(common.SortOrder.DESCENDING))
    if not any(metric.mirrored for metric in panel.metrics):
        made.min(0)
    if panel.top is not None:
        made.axis_soft_max(panel.top)
    if panel.stacked:
        made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.steps:
        made.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    for i, metric in enumerate(panel.metrics):
        look, name = list(_line(panel, i)), label(panel, metric)
        if look and panel.split:
            made.override_by_regexp(f"/ {name}$/" if len(panel.metrics) > 1 else "/./", look)
        elif look:
            made.override_by_name(name, look)
    return made


def _legend(panel: Panel) -> common_builders.VizLegendOptions:
    """A list below; at the right, in a quarter of the panel, if there may be many lines."""
    made = common_builders.VizLegendOptions().show_legend(show_legend=True).calcs([])
    made.display_mode(common.LegendDisplayMode.LIST)
    if panel.split:
        return made.placement(common.LegendPlacement.RIGHT).width(_LEGEND_WIDTH * panel.width)
    return made.placement(common.LegendPlacement.BOTTOM)


def _line(panel: Panel, i: int) -> Iterator[Set]:
    if panel.split is None:
        yield Set(id_val="color", value={"mode": "fixed", "fixedColor": COLOURS[i % len(COLOURS)]})
    if panel.metrics[i].mirrored:
        yield Set(id_val="custom.transform", value="negative-Y")
    if panel.metrics[i].over:
        yield Set(id_val="custom.stacking", value={"mode": "none", "group": "over"})
        yield Set(id_val="custom.fillOpacity", value=0)
        yield Set(id_val="custom.lineWidth", value=_OVER_WIDTH)


def _stat(_board: Board, panel: Panel) -> stat_builder.Panel:
    made = stat_builder.Panel().color_mode(common.BigValueColorMode.VALUE)
    made.graph_mode(common.BigValueGraphMode.AREA if panel.trend else common.BigValueGraphMode.NONE)
    named = panel.split is not None
    made.text_mode(
        common.BigValueTextMode.VALUE_AND_NAME if named or len(panel.metrics) > 1 else common.BigValueTextMode.VALUE
    )
    made.reduce_options(_reduced(panel))
    if panel.metrics[0].stat is Stat.MISSING:
        for step in only_silent(panel.metrics[0].field):
            made.with_transformation(step)
    if panel.trend:
        for step in _course(panel):
            made.with_transformation(step)
        made.min(0)
        if panel.top is not None:
            made.max(_ROOM * panel.top)
    if len(panel.metrics) > 1:
        for i, metric in enumerate(panel.metrics):
            look = [Set(id_val="displayName", value=label(panel, metric)), own_thresholds(steps(panel, metric))]
            made.override_by_query(grafana_query.ref(i), look)
    return made


def _course(panel: Panel) -> Iterator[dashboard.DataTransformerConfig]:
    """The number of the last minutes, at the beginning of time, then the values of the range, which are drawn.

    The names of lines are those of their frames, which this transformation drops: the column keeps the field's name.
    """
    yield dashboard.DataTransformerConfig(id_val="merge", options={})
    if panel.top is None:  # a further column, which is not shown, stretches the axis of all
        stretched = {"left": grafana_query.VALUE, "operator": "*", "right": str(_ROOM)}
        options = {"mode": "binary", "binary": stretched, "alias": "axis"}
        yield dashboard.DataTransformerConfig(id_val="calculateField", options=options)


def _reduced(panel: Panel) -> common_builders.ReduceDataOptions:
    """How a stat makes one number of the frames."""
    made = common_builders.ReduceDataOptions().values(panel.split is not None).fields("")
    if panel.split:
        return made.calcs(["lastNotNull"]).limit(1)
    if panel.metrics[0].stat is Stat.MISSING:
        return made.calcs(["count"]).fields("/^Max$/")
    if panel.trend:
        made.fields(f"/^{grafana_query.VALUE}$/")
    return made.calcs(["first"])


def _heat(_board: Board, panel: Panel) -> statushistory.Panel:
    made = statushistory.Panel().show_value(common.VisibilityMode.NEVER).row_height(0.9).fill_opacity(90).line_width(0)
    made.color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.CONTINUOUS_BL_YL_RD))
    made.min(0)
    if panel.top is not None:
        made.max(panel.top)
    legend = common_builders.VizLegendOptions().show_legend(show_legend=False)
    legend.display_mode(common.LegendDisplayMode.LIST)
    return made.legend(legend.placement(common.LegendPlacement.BOTTOM).calcs([]))


VIEWS: Final[dict[View, Callable[[Board, Panel], Builder]]] = {
    View.LINES: _lines,
    View.STAT: _stat,
    View.TABLE: table,
    View.HEAT: _heat,
}
