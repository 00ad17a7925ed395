"""Whether a value differs from earlier ones by more than their usual variation: median and MAD, without a server."""

from collections.abc import Sequence
from enum import StrEnum
from statistics import median
from typing import Final

from shipper.view.why.usual import TO_SIGMA

FEWEST: Final = 6  # values; with fewer, the MAD is often far too small
BOUND: Final = 5.0  # deviations; a dozen numbers are judged at once, and of noise 0.6 % of the values lie beyond
_LEAST: Final = 0.1  # of the median; less is not worth telling, however steady the values were


class Verdict(StrEnum):
    """How a value compares with earlier ones."""

    MORE = "more than usual"
    LESS = "less than usual"
    USUAL = "as usual"
    UNKNOWN = "unknown"


def verdict(earlier: Sequence[float], value: float | None, least: float) -> Verdict:
    """Compare ``value`` with ``earlier``. ``least``: the smallest difference that matters."""
    if value is None or len(earlier) < FEWEST:
        return Verdict.UNKNOWN
    middle = median(earlier)
    spread = median(abs(one - middle) for one in earlier) * TO_SIGMA
    if abs(value - middle) <= max(BOUND * spread, _LEAST * abs(middle), least):
        return Verdict.USUAL
    return Verdict.MORE if value > middle else Verdict.LESS
