"""Okabe and Ito's colours, which colour-blind people can distinguish: https://jfly.uni-koeln.de/color/."""

from typing import Final

from shipper.view.thresholds import Steps

GOOD, WARNING, BAD = "#0072B2", "#E69F00", "#D55E00"
COLOURS: Final = (GOOD, WARNING, "#009E73", "#CC79A7", "#56B4E9", BAD, "#F0E442", "#999999")
MARKS: Final = "#CC79A7"


def bands(steps: Steps | None) -> list[tuple[float | None, str]]:
    """The colours of a number, rising: from which value on each holds. The first begins at the lowest value, None."""
    if steps is None:
        return [(None, GOOD)]
    if steps.falling:
        return [(None, BAD), (steps.bad, WARNING), (steps.warning, GOOD)]
    return [(None, GOOD), (steps.warning, WARNING), (steps.bad, BAD)]
