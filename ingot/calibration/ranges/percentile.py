"""A range that leaves a fixed share of the values outside."""

from __future__ import annotations

import numpy as np

from ingot.calibration.histogram import Histogram
from ingot.calibration.ranges.base import Range, RangeMethod, magnitudes
from ingot.calibration.statistics import TensorStatistics
from ingot.errors import UsageError


class Percentile(RangeMethod):
    """The range that holds a given percentage of all values.

    McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for
    Efficient Embedded Inference", 2018, section 3.1; Wu et al., "Integer Quantization for Deep
    Learning Inference: Principles and Empirical Evaluation", 2020, section 5.2, who compare
    99.9, 99.99, 99.999 and 99.9999 %. A symmetric range takes the percentile of the magnitudes;
    otherwise what is left outside is shared by both ends, or lies at the one end that data of one
    sign has.

    Args:
        percentage: How many of the values lie within, in percent.

    Raises:
        UsageError: The percentage is not above 50 and at most 100.
    """

    def __init__(self, percentage: float = 99.99) -> None:
        if not 50.0 < percentage <= 100.0:
            raise UsageError(
                f"a percentile of {percentage:g} is not possible: give more than 50, at most 100"
            )
        self.percentage = percentage

    def choose(self, statistics: TensorStatistics, *, symmetric: bool, bits: int) -> Range:  # noqa: ARG002
        """See :meth:`RangeMethod.choose`; the same for any number of bits."""
        outside = 1.0 - self.percentage / 100.0
        low, high = statistics.minimum, statistics.maximum
        if symmetric:
            bound = min(quantile(magnitudes(statistics.histogram), 1.0 - outside), max(-low, high))
            return Range(-bound, bound)
        if low < 0.0 < high:
            outside /= 2.0
        return Range.around(
            max(low, quantile(statistics.histogram, outside)),
            min(high, quantile(statistics.histogram, 1.0 - outside)),
            symmetric=False,
        )


def quantile(histogram: Histogram, share: float) -> float:
    """The value below which a share of all values lies, evenly spread within each bin."""
    below = np.concatenate([[0], np.cumsum(histogram.counts)]) / histogram.total
    # Of equal entries (empty bins) the first is kept, so that no quantile lies behind a gap.
    known, positions = np.unique(below, return_index=True)
    return float(np.interp(share, known, histogram.edges[positions]))
