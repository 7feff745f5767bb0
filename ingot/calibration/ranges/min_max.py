"""The range of all that was seen: nothing is clipped, an outlier costs resolution."""

from __future__ import annotations

from typing import ClassVar

from ingot.calibration.ranges.base import Range, RangeMethod
from ingot.calibration.statistics import TensorStatistics


class MinMax(RangeMethod):
    """The smallest and the largest value.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.
    """

    uses_histogram: ClassVar[bool] = False

    def choose(self, statistics: TensorStatistics, *, symmetric: bool, bits: int) -> Range:  # noqa: ARG002
        """See :meth:`RangeMethod.choose`; the same for any number of bits."""
        return Range.around(statistics.minimum, statistics.maximum, symmetric=symmetric)
