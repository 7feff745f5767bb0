"""The range of a typical sample: an outlier that a single sample has counts for little."""

from __future__ import annotations

from typing import ClassVar

from ingot.calibration.ranges.base import Range, RangeMethod
from ingot.calibration.statistics import TensorStatistics


class MovingAverage(RangeMethod):
    """Exponential moving averages of the samples' minima and maxima.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1; the weight of a sample is
    ``ingot.calibration.statistics.MOVING_AVERAGE_CONSTANT``.
    """

    uses_histogram: ClassVar[bool] = False

    def choose(self, statistics: TensorStatistics, *, symmetric: bool, bits: int) -> Range:  # noqa: ARG002
        """See :meth:`RangeMethod.choose`; the same for any number of bits."""
        return Range.around(
            statistics.moving_minimum, statistics.moving_maximum, symmetric=symmetric
        )
