"""Okabe and Ito's colours, which colour-blind people can distinguish: https://jfly.uni-koeln.de/color/."""

from typing import Final

GOOD, WARNING, BAD = "#0072B2", "#E69F00", "#D55E00"
COLOURS: Final = (GOOD, WARNING, "#009E73", "#CC79A7", "#56B4E9", BAD, "#F0E442", "#999999")
MARKS: Final = "#CC79A7"
